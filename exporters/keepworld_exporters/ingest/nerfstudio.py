"""A nerfstudio dataset: ``transforms.json`` and the pictures, masks and depth it names. Also what instant-ngp and Blender write.

Where the file says what was done to the cameras (`applied_transform`, `applied_scale`), it is undone: a scene then lies where
its first cameras were, in COLMAP's axes if they came from there. Sources: nerfstudio's "Data conventions" page and its
nerfstudio_dataparser.py; instant-ngp's docs on its transforms.json.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from keepworld.camera import convention, restore_c2w
from keepworld.errors import ExportError
from numpy.typing import NDArray

from keepworld_exporters.ingest import pictures
from keepworld_exporters.ingest.lens import Bend, Lens
from keepworld_exporters.ingest.sequence import MAX_PHOTOS, Photo, Sequence, inside, rigid

NAMES = ("transforms.json", "transforms_train.json")
MAX_BYTES = 256 * 2**20
_DEPTH_UNIT = 1e-3  # nerfstudio's, of 16-bit depth
_FISHEYE = ("OPENCV_FISHEYE", "FISHEYE")
_PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV", "PERSPECTIVE")
_Entry = Mapping[str, object]


def read(path: Path, *, axes: str | None = None) -> Sequence:
    """Read a dataset from its file.

    Args:
        path: the JSON file; what it names lies beside it.
        axes: the convention its matrices are in, where it is not nerfstudio's.

    Raises:
        ExportError: damaged, or what it names is not there.
    """
    content = load(path)
    frames = content.get("frames")
    if not isinstance(frames, list) or not 0 < len(frames) <= MAX_PHOTOS:
        count = len(frames) if isinstance(frames, list) else type(frames).__name__
        raise ExportError(f"{path}: frames must be a list of 1 to {MAX_PHOTOS}, got {count}")
    if not all(isinstance(entry, dict) for entry in frames):
        raise ExportError(f"{path}: every frame must be an object")
    undo = _undo(content, path)
    entries = sorted(({**content, **entry} for entry in frames), key=lambda entry: str(entry.get("file_path")))
    photos = []
    for number, entry in enumerate(entries):
        try:
            photos.append(_photo(path.parent, entry, number, axes, undo))
        except (ValueError, TypeError, OverflowError) as error:
            raise ExportError(f"{path}: {str(entry.get('file_path'))[:80]}: {error}") from error
    return Sequence(kind="nerfstudio dataset", title=path.parent.resolve().name, photos=tuple(photos))


def load(path: Path) -> dict[str, object]:
    """A JSON file's object.

    Raises:
        ExportError: it is none.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ExportError(f"{path} has {path.stat().st_size} bytes; at most {MAX_BYTES} are read")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ExportError(f"{path} must hold an object, got {type(content).__name__}")
    return content


def _photo(folder: Path, entry: _Entry, number: int, axes: str | None, undo: _Undo) -> Photo:
    name = entry.get("file_path")
    if not isinstance(name, str):
        raise ValueError(f"file_path must be text, got {name!r}")
    path = _picture(folder, name)
    lens = lens_of(entry, pictures.measure(path))
    size = (lens.width, lens.height)
    masks = []
    if isinstance(entry.get("mask_path"), str):
        masks.append(partial(pictures.read_mask, inside(folder, str(entry["mask_path"])), size))
    if pictures.has_alpha(path):
        masks.append(partial(pictures.read_alpha, path, size))
    depth = None
    if isinstance(entry.get("depth_file_path"), str):
        unit = _number(entry, "depth_unit_scale_factor", _DEPTH_UNIT) / undo.scale
        depth = partial(pictures.read_depth, inside(folder, str(entry["depth_file_path"])), size, unit)
    return Photo(
        name=name, image=pictures.reader(path, size), lens=lens,
        c2w=_c2w(name, entry.get("transform_matrix"), axes, undo), time_s=_number(entry, "time", number / 4),
        mask=(lambda: np.logical_and.reduce([mask() for mask in masks])) if masks else None, depth=depth,
    )  # fmt: skip


def _picture(folder: Path, name: str) -> Path:
    """A picture's file; its suffix may be left out, as Blender's data sets do."""
    try:
        return inside(folder, name)
    except ExportError:
        for suffix in (".png", ".jpg"):
            if not Path(name).suffix and (folder / f"{name}{suffix}").is_file():
                return inside(folder, f"{name}{suffix}")
        raise


def camera_of(entry: _Entry, path: Path) -> NDArray[np.float64]:
    """Our camera to world of a frame's entry, with what holds for all frames in it.

    Raises:
        ExportError: it has none.
    """
    c2w = _c2w(str(entry.get("file_path", "a frame")), entry.get("transform_matrix"), None, _undo(entry, path))
    if c2w is None:
        raise ExportError(f"{path}: a frame has no transform_matrix")
    return c2w


def lens_of(entry: _Entry, stored: tuple[int, int] | None) -> Lens:
    """The lens of a frame's entry, for its picture as it is stored (width, height), or of the size the entry says.

    Raises:
        ValueError: numbers are missing, make no lens, or speak of a picture of another shape.
    """
    model = str(entry.get("camera_model", "OPENCV")).upper()
    width, height = (int(_number(entry, name, stored[k] if stored else None)) for k, name in enumerate("wh"))
    if "fl_x" in entry:
        fx = _number(entry, "fl_x")
    elif "camera_angle_x" in entry:
        fx = 0.5 * width / math.tan(0.5 * _number(entry, "camera_angle_x"))
    else:
        raise ValueError("it needs fl_x or camera_angle_x, and has neither")
    fy = _number(entry, "fl_y", fx)
    if "fl_y" not in entry and "camera_angle_y" in entry:
        fy = 0.5 * height / math.tan(0.5 * _number(entry, "camera_angle_y"))
    k = [_number(entry, f"k{n}", 0.0) for n in range(1, 7)]
    bend, radial = Bend.BROWN, tuple(k[:3])
    below: tuple[float, ...] = ()
    if model in _FISHEYE or entry.get("is_fisheye") is True:
        bend, radial = Bend.FISHEYE, tuple(k[:4])
    elif model not in _PERSPECTIVE:
        raise ValueError(f"cameras are {', '.join((*_PERSPECTIVE, *_FISHEYE))}, got {model[:40]}")
    elif k[4] or k[5] or model == "FULL_OPENCV":
        below = tuple(k[3:])
    elif k[3]:
        radial = tuple(k[:4])
    tangential = (_number(entry, "p1", 0.0), _number(entry, "p2", 0.0))
    lens = Lens(
        fx=fx, fy=fy, cx=_number(entry, "cx", width / 2), cy=_number(entry, "cy", height / 2), width=width, height=height,
        bend=bend, radial=radial, below=below, tangential=tangential if bend is Bend.BROWN else (0.0, 0.0),
    )  # fmt: skip
    # Pictures that were made smaller since the file was written, and those whose EXIF lays them on their side.
    return lens if stored in (None, (height, width)) else lens.resized(*stored)


def _number(entry: _Entry, name: str, default: float | None = None) -> float:
    value = entry.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return float(value)


class _Undo:
    """What was done to all cameras of a file, and has to be undone: a rigid motion and a scale."""

    def __init__(self, world: NDArray[np.float64] | None, scale: float) -> None:
        self.world, self.scale = world, scale


def _undo(content: _Entry, path: Path) -> _Undo:
    scale = content.get("applied_scale", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not (math.isfinite(scale) and scale > 0):
        raise ExportError(f"{path}: applied_scale must be a number above 0, got {scale!r}")
    applied = content.get("applied_transform")
    if applied is None:
        return _Undo(None, float(scale))
    try:
        matrix = np.asarray(applied, np.float64)
    except (ValueError, TypeError) as error:
        raise ExportError(f"{path}: applied_transform must be numbers: {error}") from error
    motion = rigid(f"{path}: applied_transform", matrix)
    return _Undo(None if np.allclose(motion, np.eye(4), atol=1e-9) else motion, float(scale))


def _c2w(name: str, matrix: object, axes: str | None, undo: _Undo) -> NDArray[np.float64] | None:
    """Our camera to world of a frame's matrix; None where it has none."""
    if matrix is None:
        return None
    theirs = rigid(name, np.asarray(matrix, np.float64))
    theirs[:3, 3] /= undo.scale
    if axes is not None:
        return restore_c2w(theirs, source=axes)
    if undo.world is None:
        return restore_c2w(theirs, source="nerfstudio")
    camera = convention("nerfstudio").camera
    ours = np.linalg.inv(undo.world) @ theirs
    ours[:3, :3] = ours[:3, :3] @ camera
    return np.asarray(ours)
