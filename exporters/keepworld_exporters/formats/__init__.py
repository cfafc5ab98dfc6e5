"""Files of a scene: one module a format, each with `encode` (scene -> bytes) and `decode` (bytes -> scene).

`FORMATS` is the whole list; a file's suffix chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from keepworld_exporters.formats import glb, points_ply, splat_ply
from keepworld_exporters.scene import Scene


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """A kind of file.

    Attributes:
        holds: what of the scene is in it: "splats", "points" or "mesh".
        decode: reads one back, for the report.
        convention: the axes it is written in, one of `keepworld.camera.CONVENTIONS`.
    """

    holds: str
    decode: Callable[[bytes], Scene]
    convention: str


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        ".splat.ply": Format(holds="splats", decode=splat_ply.decode, convention="opencv"),
        ".points.ply": Format(holds="points", decode=points_ply.decode, convention="opencv"),
        ".glb": Format(holds="mesh", decode=glb.decode, convention="gltf"),
    }
)
VIDEO = ".mp4"
SUFFIXES = (*FORMATS, VIDEO)


def suffix_of(name: str) -> str:
    """The suffix of a file name that says what to write.

    Raises:
        ValueError: it has none of `SUFFIXES`.
    """
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return suffix
    raise ValueError(f"the name of {name!r} must end in one of {', '.join(SUFFIXES)}")
