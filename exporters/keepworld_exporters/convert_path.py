"""Cameras from one file to another: a capture, a COLMAP model or a path becomes what another program plays or trains on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from keepworld.capture import Capture
from keepworld.errors import ExportError
from keepworld.files import write_atomically

from keepworld_exporters.formats import colmap
from keepworld_exporters.formats.checks import checked_points
from keepworld_exporters.formats.paths import MODELS, PATHS, path_suffix
from keepworld_exporters.scene import Points, Shot, Views

MAX_BYTES = 2 * 2**30
MOST_POINTS = 100_000  # that a dataset begins with: as many as trainers are used to from COLMAP itself


def convert_path(source: Path, target: Path, about: Mapping[str, object]) -> Path:
    """Write a path of cameras, from whatever holds one, as the target's name says.

    Raises:
        ExportError: the source holds no cameras, or the target is there and is a folder's.
        ValueError: the target's name says nothing.
    """
    suffix = path_suffix(target.name)
    if suffix is None:
        raise ValueError(f"cameras are written as {', '.join((*PATHS, *MODELS))}, got {target.name!r}")
    views = read_path(source)
    pictures: dict[str, Path] = {}
    if suffix in MODELS and (source / "capture.json").is_file():
        views, pictures = _dataset(Capture(source))
    try:
        if suffix in PATHS:
            write_atomically(target, PATHS[suffix].write(views, about))
        else:
            _write_folder(target, MODELS[suffix](views, about), pictures)
    except ValueError as error:
        raise ExportError(f"{target}: {error}") from error
    return target


def read_path(source: Path) -> Views:
    """Read the cameras of a capture, a COLMAP model's folder, or a camera file.

    Raises:
        ExportError: there are none, or they are damaged.
    """
    if (source / "capture.json").is_file():
        return Views(
            shots=tuple(
                Shot(name=f"frames/{frame.number:06d}.png", camera=frame.camera, time_s=frame.time_s)
                for frame in Capture(source).frames
            )
        )
    try:
        if source.is_dir():
            folders = (source, source / "sparse" / "0", source / "sparse")
            for folder in folders:
                files = {
                    name: _read(folder / name) for name in (*colmap.BINARY, *colmap.TEXT) if (folder / name).is_file()
                }
                if files:
                    return colmap.decode(files)
            source = source / "transforms.json"
        suffix = path_suffix(source.name)
        if suffix is None or suffix not in PATHS:
            raise ValueError(f"cameras are read from captures, COLMAP models and {', '.join(PATHS)}")
        return PATHS[suffix].read(_read(source))
    except ValueError as error:
        raise ExportError(f"{source}: {error}") from error


def _dataset(capture: Capture) -> tuple[Views, dict[str, Path]]:
    """A capture's cameras with what its frames see as points, and its pictures by the names they have in a dataset.

    COLMAP's readers look for pictures by their plain names, so that none lies in a folder of its own.
    """
    named = [(f"{frame.number:06d}.png", frame) for frame in capture.frames]
    shots = tuple(Shot(name=name, camera=frame.camera, time_s=frame.time_s) for name, frame in named)
    pictures = {name: frame.folder / f"frames/{name}" for name, frame in named}
    return Views(shots=shots, points=_seen(capture)), pictures


def _seen(capture: Capture) -> Points | None:
    """Some points of the lasting world, evenly from all frames, by their own depth; None where they have none."""
    rng = np.random.default_rng(0)
    each = -(-MOST_POINTS // max(len(capture.frames), 1))
    positions, colours = [], []
    for frame in capture.frames:
        depth = frame.depth()
        if depth is None:
            return None
        there = np.flatnonzero((depth > 0) & frame.lasting())
        rows, columns = np.unravel_index(np.sort(rng.permutation(there)[:each]), depth.shape)
        places = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], 1) @ np.linalg.inv(frame.camera.K).T
        seen = places * depth[rows, columns, None].astype(np.float64)
        positions.append(seen @ frame.camera.c2w[:3, :3].T + frame.camera.centre)
        colours.append(frame.image()[rows, columns])
    return checked_points(np.concatenate(positions), colours=np.concatenate(colours)) if positions else None


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes; at most {MAX_BYTES} are read")
    return path.read_bytes()


def _write_folder(folder: Path, files: Mapping[str, bytes], pictures: Mapping[str, Path]) -> None:
    """Write a model's folder whole or not at all; with pictures as a dataset: `images`, and the model in `sparse/0`."""
    if folder.exists():
        raise ExportError(f"{folder} already exists; choose another name or remove it")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        model = unfinished / "sparse" / "0" if pictures else unfinished
        model.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (model / name).write_bytes(data)
        if pictures:
            (unfinished / "images").mkdir()
        for name, picture in pictures.items():
            shutil.copyfile(picture, unfinished / "images" / name)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
