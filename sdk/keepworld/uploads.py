"""What a world can begin with or go on from: a picture, or frames with their cameras, as it is sent to a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keepworld import paths, png
from keepworld.capture import Capture
from keepworld.frames import Encoding

MAX_PICTURE_BYTES = 4 * 2**20 - 2**12  # of a file: a message has 4 MB, and a little beside the picture
MAX_VIDEO_BYTES = 256 * 2**20
_PART_BYTES = 2**20
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": Encoding.PNG, b"\xff\xd8\xff": Encoding.JPEG}


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames that a world goes on from: its first frame follows the last of them.

    Attributes:
        frames: [N, H, W, 3] uint8 sRGB.
        c2ws: [N, 4, 4] camera to world, OpenCV axes, the family's units; None: the camera stands still.

    Raises:
        ValueError: the shapes are others, or a camera is no rigid motion.
    """

    frames: NDArray[np.uint8]
    c2ws: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        frames = self.frames
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
            raise ValueError(f"clip must be uint8 [N, H, W, 3], got {frames.dtype} {list(frames.shape)}")
        if self.c2ws is not None and len(paths.check(self.c2ws)) != len(frames):
            raise ValueError(f"c2ws must be one a frame, [{len(frames)}, 4, 4], got {list(self.c2ws.shape)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """What a server has been sent, and keeps for a while: `Limits.asset_s`.

    Attributes:
        id: a secret that names it.
        frames: how many it has.
        size: their width and height.
    """

    id: str
    frames: int
    size: tuple[int, int]


Image = str | Path | bytes | NDArray[np.uint8]
Frames = Capture | Clip | Asset | str | Path | NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture on its way: a PNG or JPEG file, and its camera to world [4, 4] if it has one."""

    encoding: Encoding
    data: bytes
    c2w: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a video's file."""

    data: bytes


Piece = Picture | Part


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """What is sent.

    Attributes:
        kind: a picture to begin with, or frames or a video to go on from.
        num_pieces: how many pictures or parts.
        has_cameras: whether each picture has its camera.
        pieces: gives them from a number on, each encoded or read when it is asked for.
    """

    kind: Literal["image", "clip", "video"]
    num_pieces: int
    has_cameras: bool
    pieces: Callable[[int], Iterator[Piece]]

    @property
    def words(self) -> str:
        """What its pieces are called."""
        return "parts of the video" if self.kind == "video" else "pictures"


def image(given: Image) -> Upload:
    """A picture to begin with: a PNG or JPEG file's path or bytes, or [H, W, 3] uint8 sRGB.

    Raises:
        ValueError: it is none of these, or too large.
        OSError: it cannot be read.
    """
    if isinstance(given, np.ndarray):
        if given.ndim != 3:
            raise ValueError(f"image must be uint8 [H, W, 3], got {given.dtype} {list(given.shape)}")
        given = png.encode(given)
    elif not isinstance(given, bytes):
        given = _read(Path(given))
    encoding = next((kind for signature, kind in _SIGNATURES.items() if given.startswith(signature)), None)
    if encoding is None:
        raise ValueError("image must be a PNG or JPEG file, or an array [H, W, 3] uint8")
    picture = Picture(encoding=encoding, data=_checked(given, "image"))
    return Upload(kind="image", num_pieces=1, has_cameras=False, pieces=lambda first: iter([picture][first:]))


def clip(given: Capture | Clip | str | Path | NDArray[np.uint8]) -> Upload:
    """Frames to go on from: a capture or its folder, a video's file, a `Clip`, or [N, H, W, 3] uint8 from a standing camera.

    Raises:
        ValueError: it is none of these, or too large.
        CaptureError: the folder is not a capture, or it is empty.
    """
    if isinstance(given, np.ndarray):
        given = Clip(given)
    if isinstance(given, Clip):
        there, has_cameras = given, given.c2ws is not None
        return Upload(
            kind="clip",
            num_pieces=len(there.frames),
            has_cameras=has_cameras,
            pieces=lambda first: _of_clip(there, first),
        )
    if isinstance(given, str | Path) and Path(given).is_file():
        return _video(Path(given))
    capture = given if isinstance(given, Capture) else Capture(given)
    if not len(capture):
        raise ValueError(f"{capture.folder} has no whole chunk to go on from")
    return Upload(
        kind="clip",
        num_pieces=len(capture),
        has_cameras=True,
        pieces=lambda first: _of_capture(capture, first),
    )


def _video(path: Path) -> Upload:
    num_bytes = path.stat().st_size
    if not 0 < num_bytes <= MAX_VIDEO_BYTES:
        raise ValueError(f"{path} must have 1 to {MAX_VIDEO_BYTES} bytes, got {num_bytes}; make the video shorter")
    return Upload(
        kind="video",
        num_pieces=-(-num_bytes // _PART_BYTES),
        has_cameras=False,
        pieces=lambda first: _of_file(path, first),
    )


def _of_clip(given: Clip, first: int) -> Iterator[Picture]:
    for i, frame in enumerate(given.frames[first:], first):
        data = _checked(png.encode(frame), f"clip[{i}]")
        yield Picture(encoding=Encoding.PNG, data=data, c2w=None if given.c2ws is None else given.c2ws[i])


def _of_capture(capture: Capture, first: int) -> Iterator[Picture]:
    for frame in capture.frames[first:]:
        path = frame.folder / f"frames/{frame.number:06d}.png"
        yield Picture(encoding=Encoding.PNG, data=_read(path), c2w=frame.camera.c2w)


def _of_file(path: Path, first: int) -> Iterator[Part]:
    with path.open("rb") as file:
        file.seek(first * _PART_BYTES)
        while data := file.read(_PART_BYTES):
            yield Part(data)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return _checked(file.read(MAX_PICTURE_BYTES + 1), str(path))


def _checked(data: bytes, what: str) -> bytes:
    if len(data) > MAX_PICTURE_BYTES:
        raise ValueError(f"{what} has more than {MAX_PICTURE_BYTES} bytes as a file; make the picture smaller")
    return data
