"""Frames that travelled as H.264: each is decoded from those before it in its chunk. Decoding needs PyAV."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from keepworld.errors import MissingExtraError

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

INSTALL = "pip install 'keepworld[video]'"
_MACROBLOCK = 16  # pixels; a decoder's pictures are made of whole ones
_IDR, _START_CODE = 5, b"\0\0\1"


class Run:
    """Pictures that follow from each other: an IDR picture, which needs none before it, and those up to the next.

    Any of them can be asked for, from any thread. In order each is decoded once; going back decodes from the beginning.

    Args:
        size: width and height of every picture.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._units: list[bytes] = []
        self._decoder: VideoCodecContext | None = None
        self._next = 0  # what the decoder takes next
        self._lock = threading.Lock()

    def add(self, data: bytes) -> int:
        """Take the next access unit; gives its place."""
        self._units.append(data)
        return len(self._units) - 1

    def picture(self, place: int) -> NDArray[np.uint8]:
        """The picture [H, W, 3] uint8 sRGB at a place.

        Raises:
            MissingExtraError: PyAV is not installed.
            ValueError: it is damaged, one before it is, or it is of another size.
        """
        try:
            import av
        except ImportError as error:
            raise MissingExtraError("decoding H.264 frames needs PyAV", install=INSTALL) from error
        with self._lock:
            if self._decoder is None or place < self._next:
                self._decoder, self._next = self._opened(), 0
            try:
                while self._next <= place:
                    frames = self._decoder.decode(av.Packet(self._units[self._next]))
                    self._next += 1
            except av.FFmpegError as error:
                self._decoder = None
                raise ValueError(f"the picture is damaged H.264: {error}") from error
        if len(frames) != 1 or frames[0].is_corrupt:
            raise ValueError("the picture is damaged H.264, or one before it is")
        return _rgb(frames[0], self._size)

    def _opened(self) -> VideoCodecContext:
        from av.codec import CodecContext
        from av.codec.context import Flags

        decoder = CodecContext.create("h264", "r")
        decoder.thread_count = 1  # threads take a picture each, and give it that much later
        decoder.flags |= Flags.low_delay
        # What it says of its size is believed no further than this.
        width, height = (-(-side // _MACROBLOCK) * _MACROBLOCK for side in self._size)
        decoder.options = {"max_pixels": str(width * height), "err_detect": "explode"}
        return decoder


class Video:
    """Sorts a stream's access units into runs."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._run: Run | None = None
        self._chunk = -1

    def add(self, data: bytes, chunk: int) -> tuple[Run, int]:
        """Take the next access unit, a picture of `chunk`; gives its run and its place there.

        Raises:
            ValueError: it follows from a picture of another chunk, or from none.
        """
        if is_idr(data):
            self._run, self._chunk = Run(self._size), chunk
        if self._run is None or self._chunk != chunk:
            raise ValueError("its chunk does not begin with an IDR picture")
        return self._run, self._run.add(data)


def is_idr(data: bytes) -> bool:
    """Whether an access unit, Annex B, has an IDR picture."""
    at = data.find(_START_CODE)
    while 0 <= at < len(data) - len(_START_CODE):
        kind = data[at + len(_START_CODE)] & 31
        if kind <= _IDR:  # a picture's slice; parameter sets and the like come before
            return kind == _IDR
        at = data.find(_START_CODE, at + len(_START_CODE))
    return False


def _rgb(frame: object, size: tuple[int, int]) -> NDArray[np.uint8]:
    from av.video.frame import VideoFrame
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    assert isinstance(frame, VideoFrame)
    if (frame.width, frame.height) != size:
        raise ValueError(f"the picture must be {size[0]}x{size[1]}, got {frame.width}x{frame.height}")
    rgb = frame.to_ndarray(
        format="rgb24",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        # Without these, swscale's shortcuts darken every picture by a level or two.
        interpolation=Interpolation.BICUBIC
        | Interpolation.ACCURATE_RND
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.FULL_CHR_H_INP,
        threads=1,
    )
    return np.asarray(rgb, np.uint8)
