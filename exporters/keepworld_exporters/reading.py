"""A written file, read back into the session's frame."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from keepworld.errors import ExportError

from keepworld_exporters.formats import FORMATS, axes_of, decode, frames, obj, suffix_of
from keepworld_exporters.placement import Placement
from keepworld_exporters.scene import Scene


def read_back(
    path: Path, *, suffix: str | None = None, convention: str | None = None, placement: Placement | None = None
) -> Scene:
    """Read a written file.

    Args:
        path: of the file.
        suffix: of its format, one of `FORMATS`; None: as its name says.
        convention: the axes it was written in, where its format leaves them open.
        placement: how it was moved, or None.

    Raises:
        ExportError: it does not come back.
    """
    suffix = suffix or suffix_of(path.name)
    try:
        if suffix == ".obj":
            read = obj.decode_files(path.read_bytes(), partial(_beside, path))
            scene: Scene = frames.from_convention(read, axes_of(FORMATS[suffix], convention))
        else:
            scene = decode(path.read_bytes(), suffix, convention=convention)
    except ValueError as error:
        raise ExportError(f"{path} was written but does not read back: {error}") from error
    return scene if placement is None else placement.undo(scene)


def _beside(path: Path, name: str) -> bytes | None:
    """A file that was written beside another, of a plain name."""
    beside = path.with_name(name) if Path(name).name == name else path
    return beside.read_bytes() if beside != path and beside.is_file() else None
