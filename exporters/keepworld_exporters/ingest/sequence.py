"""What every source becomes first: photos in order, each with its lens and, where it is known, its camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keepworld.camera import PoseSource, Units
from keepworld.errors import ExportError
from numpy.typing import NDArray

from keepworld_exporters.ingest.lens import Lens

MAX_PHOTOS = 20_000
_SKEW = 0.02  # how far the columns of a rotation may be from right angles, and from each other's length, relative


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Photo:
    """A picture of a sequence, read when asked for.

    Attributes:
        name: in its source.
        image: gives the picture, [H, W, 3] uint8, of the lens's size.
        lens: it was taken through; None if nothing is known of it.
        c2w: [4, 4] camera to world, OpenCV axes; None if it is not known.
        time_s: from the first picture on.
        mask: gives where the lasting world is, [H, W] bool; None if nothing says so.
        depth: gives depth along +z, [H, W] float32 in units of the poses, 0 where unknown; None if there is none.
    """

    name: str
    image: Callable[[], NDArray[np.uint8]]
    lens: Lens | None
    c2w: NDArray[np.float64] | None = None
    time_s: float = 0.0
    mask: Callable[[], NDArray[np.bool_]] | None = None
    depth: Callable[[], NDArray[np.float32]] | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sequence:
    """Photos from one source.

    Attributes:
        kind: of the source, in a word or two.
        title: what a report may call it.
        photos: in order.
        fps: photos a second, where they are a film's; else a number to play them by.
        units: of the poses.
        pose_source: where the poses come from.
    """

    kind: str
    title: str
    photos: tuple[Photo, ...]
    fps: float = 4.0
    units: Units = Units.MODEL
    pose_source: PoseSource = PoseSource.GIVEN


def inside(folder: Path, name: str) -> Path:
    """The file of a name that a stranger gave, which must lie within a folder.

    Raises:
        ExportError: it leads elsewhere, or there is no such file.
    """
    if not name or len(name) > 1024 or "\0" in name or "\\" in name:
        raise ExportError(f"{folder}: a file's name must be a plain relative path, got {name[:80]!r}")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ExportError(f"{folder}: {name[:80]!r} leads out of the folder")
    if not path.is_file():
        raise ExportError(f"{folder / name} is missing")
    return path


def rigid(name: str, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """A camera-to-world matrix [3 or 4, 4] as a rigid motion [4, 4]; rounding, and one scale of all axes, are taken out.

    Raises:
        ExportError: it is not one.
    """
    if matrix.shape not in ((3, 4), (4, 4)) or not np.isfinite(matrix).all():
        raise ExportError(f"{name}: its camera must be a finite [4, 4] matrix, got {list(matrix.shape)}")
    scale = float(np.linalg.norm(matrix[:3, :3], axis=0).mean())
    axes = matrix[:3, :3] / max(scale, 1e-12)
    U, _, Vt = np.linalg.svd(axes)
    if np.linalg.det(axes) <= 0 or np.abs(U @ Vt - axes).max() > _SKEW:
        raise ExportError(f"{name}: its camera must hold a rotation: axes at right angles, of one length, not mirrored")
    c2w = np.eye(4)
    c2w[:3, :3], c2w[:3, 3] = U @ Vt, matrix[:3, 3]
    return c2w
