"""A stream's frames to bytes, in threads: pictures each by themselves and all at once, video one after the other."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from keepworld_runtime.families.family import FrameData
from keepworld_runtime.serving import pictures
from keepworld_runtime.serving.h264 import H264Encoder
from keepworld_runtime.serving.pictures import Encoded, Encoding, PictureFormat


class FrameEncoder:
    """One stream's. What it was asked to encode must be asked for in order; its answers may come in any.

    Args:
        threads: they do the work.
        fps: frames a second.
    """

    def __init__(self, threads: Executor, fps: float) -> None:
        self._threads = threads
        self._fps = fps
        self._video: H264Encoder | None = None
        self._format: PictureFormat | None = None
        self._last: asyncio.Future[Encoded] | None = None

    def begin(self, data: FrameData, wanted: PictureFormat) -> asyncio.Future[Encoded]:
        """Have a frame encoded; a video begins anew where the format changes."""
        if wanted != self._format:
            self._format, self._video, self._last = wanted, None, None
        if wanted.encoding is not Encoding.H264:
            return asyncio.get_running_loop().run_in_executor(self._threads, pictures.encode, data, wanted)
        if self._video is None:
            height, width = data.image.shape[:2]
            self._video = H264Encoder(width, height, fps=self._fps, quality=wanted.quality)
        self._last = asyncio.create_task(self._after(self._last, data, wanted, self._video))
        return self._last

    async def _after(
        self, earlier: asyncio.Future[Encoded] | None, data: FrameData, wanted: PictureFormat, video: H264Encoder
    ) -> Encoded:
        if earlier is not None:
            await asyncio.wait((earlier,))
            earlier.result()  # without the picture before it, this one is worth nothing
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, pictures.encode, data, wanted, video)
