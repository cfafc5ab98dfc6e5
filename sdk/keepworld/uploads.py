"""What a world can begin with or go on from: a picture, or frames with their cameras, as it is sent to a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keepworld import paths, png
from keepworld.capture import Capture
from keepworld.frames import Encoding

MAX_PICTURE_BYTES = 4 * 2**20 - 2**12  # of a file: a message has 4 MB, and a little beside the picture
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


Image = str | Path | bytes | NDArray[np.uint8]
Frames = Capture | Clip | str | Path | NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture on its way: a PNG or JPEG file, and its camera to world [4, 4] if it has one."""

    encoding: Encoding
    data: bytes
    c2w: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """What is sent.

    Attributes:
        is_clip: frames to go on from; else a picture to begin with.
        num_frames: how many.
        has_cameras: whether each has its camera.
        pictures: gives them one by one, each encoded or read when it is asked for.
    """

    is_clip: bool
    num_frames: int
    has_cameras: bool
    pictures: Callable[[], Iterator[Picture]]


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
    return Upload(is_clip=False, num_frames=1, has_cameras=False, pictures=lambda: iter([picture]))


def clip(given: Frames) -> Upload:
    """Frames to go on from: a capture or its folder, a `Clip`, or [N, H, W, 3] uint8 from a camera that stands still.

    Raises:
        ValueError: it is none of these.
        CaptureError: the folder is not a capture, or it is empty.
    """
    if isinstance(given, np.ndarray):
        given = Clip(given)
    if isinstance(given, Clip):
        there = given
        return Upload(
            is_clip=True,
            num_frames=len(there.frames),
            has_cameras=there.c2ws is not None,
            pictures=lambda: _of_clip(there),
        )
    capture = given if isinstance(given, Capture) else Capture(given)
    if not len(capture):
        raise ValueError(f"{capture.folder} has no whole chunk to go on from")
    return Upload(is_clip=True, num_frames=len(capture), has_cameras=True, pictures=lambda: _of_capture(capture))


def _of_clip(given: Clip) -> Iterator[Picture]:
    for i, frame in enumerate(given.frames):
        data = _checked(png.encode(frame), f"clip[{i}]")
        yield Picture(encoding=Encoding.PNG, data=data, c2w=None if given.c2ws is None else given.c2ws[i])


def _of_capture(capture: Capture) -> Iterator[Picture]:
    for frame in capture.frames:
        path = frame.folder / f"frames/{frame.number:06d}.png"
        yield Picture(encoding=Encoding.PNG, data=_read(path), c2w=frame.camera.c2w)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return _checked(file.read(MAX_PICTURE_BYTES + 1), str(path))


def _checked(data: bytes, what: str) -> bytes:
    if len(data) > MAX_PICTURE_BYTES:
        raise ValueError(f"{what} has more than {MAX_PICTURE_BYTES} bytes as a file; make the picture smaller")
    return data
