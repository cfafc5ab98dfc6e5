"""Cameras from a file beside pictures: a path of ours, nerfstudio's, COLMAP's, or a TUM trajectory; laid on what they took."""

from __future__ import annotations

import math
from collections.abc import Sequence as Rows
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from keepworld.camera import rotation_from_quat
from keepworld.errors import ExportError
from numpy.typing import NDArray

from keepworld_exporters.formats.paths import PATHS, path_suffix
from keepworld_exporters.ingest import colmap, nerfstudio
from keepworld_exporters.ingest.lens import Lens, colmap_lens
from keepworld_exporters.ingest.sequence import MAX_PHOTOS, Photo

MAX_BYTES = 256 * 2**20
FURTHEST_S = 0.05  # between a picture's time and its camera's in a trajectory


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Waypoint:
    """A camera of a file: `name` of its picture, or its time; its lens where the file says."""

    c2w: NDArray[np.float64]
    name: str | None = None
    time_s: float | None = None
    lens: Lens | None = None


def read(path: Path) -> list[Waypoint]:
    """Read a file of cameras, or a folder with a COLMAP model.

    Raises:
        ExportError: it is none, or damaged.
    """
    if path.is_dir():
        return _colmap(path)
    if not path.is_file():
        raise ExportError(f"--cameras {path} does not exist")
    if path.stat().st_size > MAX_BYTES:
        raise ExportError(f"{path} has {path.stat().st_size} bytes; at most {MAX_BYTES} are read")
    if path.suffix.lower() in (".txt", ".tum"):
        return tum(path.read_text(errors="replace"), str(path))
    suffix = path_suffix(path.name)
    if suffix == "transforms.json":
        return _transforms(path)
    if suffix is None or suffix not in PATHS:
        raise ExportError(f"cameras are read from {', '.join(PATHS)}, a TUM .txt, or a COLMAP folder, got {path.name}")
    try:
        views = PATHS[suffix].read(path.read_bytes())
    except ValueError as error:
        raise ExportError(f"{path}: {error}") from error
    waypoints = []
    for shot in views.shots:
        K, camera = shot.camera.K, shot.camera
        lens = Lens(fx=K[0, 0], fy=K[1, 1], cx=K[0, 2], cy=K[1, 2], width=camera.width, height=camera.height)
        waypoints.append(Waypoint(c2w=camera.c2w, name=shot.name, time_s=shot.time_s, lens=lens))
    return waypoints


def tum(text: str, where: str) -> list[Waypoint]:
    """A trajectory as the TUM RGB-D benchmark has it: ``time x y z qx qy qz qw`` a line, camera to world, OpenCV axes.

    Raises:
        ExportError: a line has something else.
    """
    waypoints: list[Waypoint] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) != 8 or not np.isfinite(values).all() or not np.linalg.norm(values[4:]) > 1e-9:
            raise ExportError(f"{where}, line {number}: wanted time x y z qx qy qz qw, got {line[:80]!r}")
        if len(waypoints) >= MAX_PHOTOS:
            raise ExportError(f"{where} has more than {MAX_PHOTOS} cameras")
        c2w = np.eye(4)
        c2w[:3, :3], c2w[:3, 3] = rotation_from_quat([values[7], *values[4:7]]), values[1:4]
        waypoints.append(Waypoint(c2w=c2w, time_s=values[0]))
    if not waypoints:
        raise ExportError(f"{where} holds no cameras")
    return waypoints


def lay(photos: Rows[Photo], waypoints: Rows[Waypoint], where: Path) -> tuple[Photo, ...]:
    """Give photos the cameras of a file: by name, by time, or one to one in order. Photos without one are left out.

    Raises:
        ExportError: it is not clear which camera is whose, or a lens does not fit.
    """
    named = {PurePosixPath(point.name).name: point for point in waypoints if point.name}
    stems = {PurePosixPath(name).stem: point for name, point in named.items()}
    by_name = [named.get(photo.name) or stems.get(PurePosixPath(photo.name).stem) for photo in photos]
    if sum(point is not None for point in by_name) >= max(2, len(waypoints) // 2):
        chosen = by_name
    elif len(photos) == len(waypoints):
        chosen = list(waypoints)
    else:
        chosen = _by_time(photos, waypoints)
    laid = []
    for photo, point in zip(photos, chosen, strict=True):
        if point is None:
            continue
        lens = photo.lens
        if point.lens is not None and lens is not None:
            try:
                lens = point.lens.resized(lens.width, lens.height)
            except ValueError as error:
                raise ExportError(f"{where}: {photo.name}: {error}") from error
        laid.append(replace(photo, c2w=point.c2w, lens=lens))
    if len(laid) < 2:
        raise ExportError(
            f"{where} has {len(waypoints)} cameras and there are {len(photos)} pictures: neither their names, nor their "
            "number, nor their times fit together"
        )
    return tuple(laid)


def _by_time(photos: Rows[Photo], waypoints: Rows[Waypoint]) -> list[Waypoint | None]:
    times = np.array([math.nan if point.time_s is None else point.time_s for point in waypoints])
    if not np.isfinite(times).all():
        return [None] * len(photos)
    stamps = np.array([_stamp(photo) for photo in photos])
    apart = np.abs(stamps[:, None] - times[None, :])
    # Only those that are nearest to each other: a frame between two cameras has neither's.
    nearest, back = apart.argmin(1), apart.argmin(0)
    return [
        waypoints[int(point)] if back[point] == number and apart[number, point] < FURTHEST_S else None
        for number, point in enumerate(nearest)
    ]


def _stamp(photo: Photo) -> float:
    """A picture's time: its name, where that is one (as in the TUM data sets: 1305031102.175304.png), else its source's."""
    stem = PurePosixPath(photo.name).stem
    try:
        return float(stem) if "." in stem else photo.time_s
    except ValueError:
        return photo.time_s


def _colmap(folder: Path) -> list[Waypoint]:
    from keepworld_exporters.formats import colmap as format_

    place = colmap.find(folder)
    if place is None:
        raise ExportError(f"{folder} holds no COLMAP model")
    names = (*format_.BINARY, *format_.TEXT)
    try:
        files = {name: (place / name).read_bytes() for name in names if (place / name).is_file()}
        model = format_.decode_model({name: data for name, data in files.items() if not name.startswith("points")})
        return [
            Waypoint(
                c2w=image.c2w,
                name=image.name,
                lens=colmap_lens(camera.model, camera.width, camera.height, camera.numbers),
            )
            for image in model.images
            for camera in [image.camera]
        ]
    except ValueError as error:
        raise ExportError(f"{folder}: {error}") from error


def _transforms(path: Path) -> list[Waypoint]:
    content = nerfstudio.load(path)
    frames = content.get("frames")
    if not isinstance(frames, list) or not 0 < len(frames) <= MAX_PHOTOS:
        raise ExportError(f"{path}: frames must be a list of 1 to {MAX_PHOTOS}")
    waypoints = []
    for entry in frames:
        if not isinstance(entry, dict):
            raise ExportError(f"{path}: every frame must be an object")
        merged = {**content, **entry}
        try:
            c2w = nerfstudio.camera_of(merged, path)
            lens = nerfstudio.lens_of(merged, None) if "w" in merged and "h" in merged else None
        except (ValueError, TypeError, OverflowError) as error:
            raise ExportError(f"{path}: {error}") from error
        name = merged.get("file_path")
        time_s = merged.get("time")
        waypoints.append(
            Waypoint(
                c2w=c2w, lens=lens, name=name if isinstance(name, str) else None,
                time_s=float(time_s) if isinstance(time_s, int | float) else None,
            )
        )  # fmt: skip
    return waypoints
