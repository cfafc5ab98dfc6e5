"""Files of cameras, and folders of them: what a walk's path can be read from and written to.

`PATHS` is the list of single files. A COLMAP model is a folder of three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from keepworld_exporters.formats import camera_glb, camera_json, camera_usd, colmap, nerfstudio
from keepworld_exporters.scene import Views


@dataclass(frozen=True, kw_only=True, slots=True)
class PathFormat:
    """A kind of camera file: both ways in the session's frame, as its axes are part of the format."""

    write: Callable[[Views, Mapping[str, object]], bytes]
    read: Callable[[bytes], Views]


PATHS: Mapping[str, PathFormat] = MappingProxyType(
    {
        ".cameras.json": PathFormat(write=camera_json.encode, read=camera_json.decode),
        ".cameras.glb": PathFormat(write=camera_glb.encode, read=camera_glb.decode),
        ".cameras.usda": PathFormat(write=camera_usd.encode, read=camera_usd.decode),
        "transforms.json": PathFormat(write=nerfstudio.encode, read=nerfstudio.decode),
    }
)
MODELS: Mapping[str, Callable[[Views, Mapping[str, object]], Mapping[str, bytes]]] = MappingProxyType(
    {".colmap": lambda views, about: colmap.encode_binary(views), ".colmap.txt": colmap.encode_text}
)


def path_suffix(name: str) -> str | None:
    """The suffix of a file, or of a folder, of cameras; None if the name is of something else."""
    known = sorted((*PATHS, *MODELS), key=len, reverse=True)
    return next((suffix for suffix in known if name.lower().endswith(suffix)), None)
