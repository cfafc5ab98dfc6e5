"""Videos from strangers as frames: decoded in a process of their own, which the system limits."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.serving.assets import AssetLimits

_CHILD = Path(__file__).with_name("decode_child.py")
_WITHIN_S = 120.0
_MAX_SAID_BYTES = 4096
# Which of ffmpeg's readers takes a file, by how it begins; no other is used, so that playlists and the like are no videos.
_STARTS: tuple[tuple[int, bytes, str], ...] = ((4, b"ftyp", "mov"), (0, b"\x1a\x45\xdf\xa3", "matroska"))


def is_available() -> bool:
    """Whether this installation can decode videos."""
    return importlib.util.find_spec("av") is not None


async def video(
    data: bytes | bytearray, limits: AssetLimits, room: Callable[[int], AbstractContextManager[None]]
) -> NDArray[np.uint8]:
    """Decode an MP4, MOV, WebM or Matroska file: all frames of its first video, [N, H, W, 3], turned as they were taken.

    Args:
        data: the file.
        limits: bounds on what may come out.
        room: holds room in memory for so many bytes.

    Raises:
        ValueError: it is no such file, it is damaged, or there is too much in it.
    """
    demuxer = next((name for at, start, name in _STARTS if data[at : at + len(start)] == start), None)
    if demuxer is None:
        raise ValueError("a video must be an MP4, MOV, WebM or Matroska file")
    bounds = (limits.max_frames, limits.max_pixels, limits.max_bytes)
    with tempfile.TemporaryFile() as frames:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(_CHILD), demuxer, *map(str, bounds),
            stdin=asyncio.subprocess.PIPE, stdout=frames, stderr=asyncio.subprocess.PIPE,
            env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_WITHIN_S):
                _, said = await process.communicate(data)
        except TimeoutError:
            raise ValueError(f"it was not decoded within {_WITHIN_S:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        width, height = _size(said, process.returncode)
        frames.seek(0, 2)
        with room(frames.tell()):
            frames.seek(0)
            pixels = await asyncio.to_thread(np.fromfile, frames, np.uint8)
            return pixels.reshape(-1, height, width, 3)


def _size(said: bytes, status: int | None) -> tuple[int, int]:
    """Width and height as the process said them; a process that was ended by a limit has said nothing."""
    try:
        answer = json.loads(said[:_MAX_SAID_BYTES])
    except ValueError:
        answer = {}
    if "error" in answer:
        raise ValueError(answer["error"])
    if status != 0 or "width" not in answer:
        raise ValueError("it takes more memory or time to decode than there is")
    return answer["width"], answer["height"]
