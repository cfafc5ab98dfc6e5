"""Cameras from one file to another: a capture, a COLMAP model or a path becomes what another program plays or trains on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from keepworld.capture import Capture
from keepworld.errors import ExportError
from keepworld.files import whole_folder, write_atomically

from keepworld_exporters.dataset import Dataset, make_dataset, write_model
from keepworld_exporters.formats import colmap
from keepworld_exporters.formats.paths import MODELS, PATHS, path_suffix
from keepworld_exporters.scene import Shot, Views

MAX_BYTES = 2 * 2**30


def convert_path(source: Path, target: Path, about: Mapping[str, object]) -> Path:
    """Write a path of cameras, from whatever holds one, as the target's name says.

    Raises:
        ExportError: the source holds no cameras, or the target is there and is a folder's.
        ValueError: the target's name says nothing.
    """
    suffix = path_suffix(target.name)
    if suffix is None:
        raise ValueError(f"cameras are written as {', '.join((*PATHS, *MODELS))}, got {target.name!r}")
    if suffix in MODELS and (source / "capture.json").is_file():
        make_dataset(Capture(source), Dataset(folder=target, suffix=suffix), about)
        return target
    views = read_path(source)
    try:
        if suffix in PATHS:
            write_atomically(target, PATHS[suffix].write(views, about))
        elif target.exists():
            raise ExportError(f"{target} already exists; choose another name or remove it")
        else:
            with whole_folder(target) as unfinished:
                write_model(unfinished, MODELS[suffix](views, about))
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


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes; at most {MAX_BYTES} are read")
    return path.read_bytes()
