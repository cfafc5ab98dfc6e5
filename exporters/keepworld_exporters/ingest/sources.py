"""What a path is, and how it becomes a sequence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from keepworld.camera import PoseSource, Units
from keepworld.errors import ExportError

from keepworld_exporters.ingest import colmap, film, nerfstudio, path, pictures
from keepworld_exporters.ingest.sequence import Photo, Sequence

MAX_STILLS = 240
READ = (
    "a capture, a nerfstudio data set (transforms.json), a COLMAP model (cameras and images, .bin or .txt), "
    "a folder of pictures, or a video (mp4, mov, webm, mkv)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a user may say about a source.

    Attributes:
        cameras: a file of cameras for pictures or a video, or None.
        images: where the pictures of a COLMAP model lie, or None.
        axes: the convention of a transforms.json's matrices, where it is not nerfstudio's.
        fov: degrees from left to right of the pictures, where nothing else says it.
        units: of the given cameras.
        max_side: pixels; larger pictures are made smaller. 0: none are.
    """

    cameras: Path | None = None
    images: Path | None = None
    axes: str | None = None
    fov: float | None = None
    units: Units = Units.MODEL
    max_side: int = 960

    def __post_init__(self) -> None:
        if self.fov is not None and not 1 <= self.fov <= 170:
            raise ValueError(f"fov must be 1 to 170 degrees, got {self.fov}")
        if self.max_side and not 64 <= self.max_side <= 8192:
            raise ValueError(f"max_side must be 0 or 64 to 8192 pixels, got {self.max_side}")


def is_capture(source: Path) -> bool:
    """Whether it is a capture, which needs nothing done."""
    return (source / "capture.json").is_file()


def read(source: Path, asked: Asked, work: Path, *, on_step: Callable[[], None]) -> Sequence:
    """Read what is not a capture.

    Args:
        source: anything of `READ`.
        asked: what the user said of it.
        work: an empty folder for files on the way, needed for as long as the sequence is.
        on_step: called now and then.

    Raises:
        ExportError: nothing that is read here, or damaged.
    """
    found = listed(source, asked)
    if found is None:
        return _from_film(source, asked, work, on_step)
    if isinstance(found, Sequence):
        return _units(found, asked)
    return _posed("pictures", source, found, asked, work, on_step, in_order=False, fps=4.0)


def listed(source: Path, asked: Asked) -> Sequence | tuple[Photo, ...] | None:
    """What a source holds, before any picture is decoded: photos with cameras, or without; None for a video.

    Raises:
        ExportError: nothing that is read here, or damaged.
    """
    if not source.exists():
        raise ExportError(
            f"{source} is not a capture, and nothing else that is read here: it does not exist; wanted is {READ}"
        )
    if source.is_file() and source.name.endswith(".json"):
        return nerfstudio.read(source, axes=asked.axes)
    if source.is_file():
        if not film.is_film(source):
            raise ExportError(f"{source} is not a capture, and nothing else that is read here: {READ}")
        return None
    if asked.cameras is None:
        for name in nerfstudio.NAMES:
            if (source / name).is_file():
                return nerfstudio.read(source / name, axes=asked.axes)
        if colmap.find(source) is not None:
            return colmap.read(source, images=asked.images)
    folder = next((place for place in (source, source / "images") if _has_pictures(place)), None)
    if folder is None:
        raise ExportError(f"{source} is not a capture, and nothing else that is read here: {READ}")
    return pictures.photos_in(folder, fov=_radians(asked.fov))


def _from_film(source: Path, asked: Asked, work: Path, on_step: Callable[[], None]) -> Sequence:
    frames = work / "film"
    frames.mkdir()
    waypoints = path.read(asked.cameras) if asked.cameras else []
    times = [point.time_s for point in waypoints if point.time_s is not None]
    if not waypoints:
        found, rate = film.stills(source, frames, limit=MAX_STILLS, on_still=on_step)
    elif len(times) == len(waypoints):
        found, rate = film.near(source, frames, np.array(times), within=path.FURTHEST_S)
    else:
        found, rate = film.numbered(source, frames, count=len(waypoints))
    photos = tuple(
        pictures.photo_at(still.path, k, fov=_radians(asked.fov), time_s=still.time_s) for k, still in enumerate(found)
    )
    return _posed("video", source, photos, asked, work, on_step, in_order=True, fps=rate)


def _posed(
    kind: str, source: Path, photos: tuple[Photo, ...], asked: Asked, work: Path, on_step: Callable[[], None], *,
    in_order: bool, fps: float,
) -> Sequence:  # fmt: skip
    title = source.resolve().stem if source.is_file() else source.resolve().name
    if asked.cameras is not None:
        laid = path.lay(photos, path.read(asked.cameras), asked.cameras)
        return _units(Sequence(kind=f"{kind} with cameras", title=title, photos=laid, fps=fps), asked)
    from keepworld_exporters.ingest.sfm import solve

    solved = solve(photos, work, in_order=in_order, on_step=on_step)
    return Sequence(kind=f"{kind}, cameras found", title=title, photos=solved, fps=fps, pose_source=PoseSource.REFINED)


def _units(sequence: Sequence, asked: Asked) -> Sequence:
    return replace(sequence, units=asked.units)


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(entry.suffix.lower() in pictures.SUFFIXES for entry in folder.iterdir())


def _radians(degrees: float | None) -> float | None:
    return None if degrees is None else math.radians(degrees)
