"""A video as pictures: of every stretch of it the sharpest frame, written as it is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from keepworld import png
from keepworld.errors import ExportError
from numpy.typing import NDArray

from keepworld_exporters.ingest.lens import MAX_SIDE
from keepworld_exporters.stages.sharpness import sharpness

# Which of ffmpeg's readers takes a file, by how it begins; no other is used, so that playlists and the like are no videos.
STARTS: tuple[tuple[int, bytes, str], ...] = ((4, b"ftyp", "mov"), (0, b"\x1a\x45\xdf\xa3", "matroska"))
MAX_PIXELS = 36_000_000
MAX_FRAMES = 200_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Still:
    """A frame of a film on disk: its file, its number and time there."""

    path: Path
    number: int
    time_s: float


def is_film(path: Path) -> bool:
    """Whether a file begins as a video does that is read here."""
    return _demuxer(path) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reel:
    """What a film's header says: about how many frames, how large, and how many a second."""

    frames: int
    width: int
    height: int
    rate: float


def stills(path: Path, folder: Path, *, limit: int, on_still: Callable[[], None]) -> tuple[list[Still], float]:
    """Write frames of a film as pictures: at most `limit`, evenly, of each stretch the sharpest.

    Returns:
        The frames, and how many the film shows a second.

    Raises:
        ExportError: it cannot be decoded, or is too large.
    """
    reel = measure(path)
    every = max(1, -(-reel.frames // limit))
    kept: list[Still] = []
    best: tuple[float, int, float, NDArray[np.uint8]] | None = None
    for number, time_s, image in _decode(path):
        score = sharpness(image)
        if best is None or score > best[0]:
            best = (score, number, time_s, image)
        if (number + 1) % every == 0:
            kept.append(_write(best, folder))
            best = None
            on_still()
    if best is not None and len(kept) < limit:
        kept.append(_write(best, folder))
    if not kept:
        raise ExportError(f"{path}: the video has no frames")
    return kept, reel.rate


def numbered(path: Path, folder: Path, *, count: int) -> tuple[list[Still], float]:
    """Write all frames of a film that must have `count` of them.

    Raises:
        ExportError: it has another number, or cannot be decoded.
    """
    rate = measure(path).rate
    kept = []
    for number, time_s, image in _decode(path):
        if number >= count:
            raise ExportError(f"{path} has more frames than there are cameras: {count}")
        kept.append(_write((0.0, number, time_s, image), folder))
    if len(kept) != count:
        raise ExportError(f"{path} has {len(kept)} frames, but there are {count} cameras")
    return kept, rate


def near(path: Path, folder: Path, times: NDArray[np.float64], *, within: float) -> tuple[list[Still], float]:
    """Write the frames of a film that lie within so many seconds of any of some times [N]."""
    rate = measure(path).rate
    kept = []
    for number, time_s, image in _decode(path):
        if np.abs(times - time_s).min() < within:
            kept.append(_write((0.0, number, time_s, image), folder))
    if not kept:
        raise ExportError(f"{path} has no frame at any of the {len(times)} cameras' times")
    return kept, rate


def _write(still: tuple[float, int, float, NDArray[np.uint8]], folder: Path) -> Still:
    _, number, time_s, image = still
    path = folder / f"{number:06d}.png"
    path.write_bytes(png.encode(image))
    return Still(path=path, number=number, time_s=time_s)


def _demuxer(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(16)
    return next((name for at, start, name in STARTS if head[at : at + len(start)] == start), None)


def measure(path: Path) -> Reel:
    """What a film is, from its header alone.

    Raises:
        ExportError: it cannot be read as a video, or is too large.
    """
    try:
        with path.open("rb") as file, av.open(file, "r", format=_demuxer(path)) as container:
            stream = container.streams.video[0]
            width, height = stream.codec_context.width, stream.codec_context.height
            _check(path, width, height)
            rate = float(stream.average_rate or stream.guessed_rate or Fraction(24))
            count = stream.frames or int(max(1, float(container.duration or 0) / av.time_base * rate))
            return Reel(frames=min(count, MAX_FRAMES), width=width, height=height, rate=rate)
    except (av.FFmpegError, IndexError, OverflowError, ZeroDivisionError) as error:
        raise ExportError(f"{path} cannot be read as a video: {error}") from error


def _decode(path: Path) -> Iterator[tuple[int, float, NDArray[np.uint8]]]:
    try:
        # As an open file: nothing that the video names, on disk or on a network, is opened.
        with path.open("rb") as file, av.open(file, "r", format=_demuxer(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 2
            start = None
            for number, frame in enumerate(container.decode(stream)):
                if number >= MAX_FRAMES:
                    raise ExportError(f"{path} has more than {MAX_FRAMES} frames; cut it into pieces")
                _check(path, frame.width, frame.height)
                image = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                time_s = float(frame.time if frame.time is not None else number / 24)
                start = time_s if start is None else start
                yield number, time_s - start, np.ascontiguousarray(image)
    except (av.FFmpegError, IndexError, OverflowError) as error:
        raise ExportError(f"{path} cannot be decoded: {error}") from error


def _check(path: Path, width: int, height: int) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise ExportError(f"{path} is {width} x {height}; at most {MAX_PIXELS} pixels are read")
