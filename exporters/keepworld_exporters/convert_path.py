"""Cameras from one file to another: a capture, a COLMAP model or a path becomes what another program plays or trains on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from keepworld.capture import Capture
from keepworld.errors import ExportError
from keepworld.files import write_atomically

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
    views = read_path(source)
    try:
        if suffix in PATHS:
            write_atomically(target, PATHS[suffix].write(views, about))
        else:
            _write_folder(target, MODELS[suffix](views, about))
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


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder whole or not at all."""
    if folder.exists():
        raise ExportError(f"{folder} already exists; choose another name or remove it")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, data in files.items():
            (unfinished / name).write_bytes(data)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
