"""Files of a scene: one module a format, each with `encode` (scene -> bytes) and `decode` (bytes -> scene).

The modules write numbers as they are; the axes and units they are in are the table's business. `FORMATS` is the whole list; a
file's suffix chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from keepworld_exporters.formats import (
    compressed_ply,
    e57,
    frames,
    glb,
    laz,
    mesh_ply,
    mesh_usd,
    obj,
    pcd,
    points_ply,
    sog,
    splat,
    splat_glb,
    splat_ply,
    splat_usd,
    spz,
    stl,
    usd_crate,
    xyz,
)
from keepworld_exporters.formats.ply import comments
from keepworld_exporters.scene import Mesh, Points, Scene, Splats


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """A kind of file.

    Attributes:
        holds: what of the scene is in it: "splats", "points" or "mesh".
        write: makes one of a scene and what the file says about itself, numbers as they are.
        read: the inverse, numbers as they are.
        convention: the axes it is written in, one of `keepworld.camera.CONVENTIONS`.
        fixed: whether every reader takes those axes for granted, so that no profile changes them.
    """

    holds: str
    write: Callable[[Scene, Mapping[str, object]], bytes]
    read: Callable[[bytes], Scene]
    convention: str
    fixed: bool = False


def _splats(
    write: Callable[[Splats, Mapping[str, object]], bytes],
    read: Callable[[bytes], Splats],
    convention: str,
    *,
    fixed: bool = False,
) -> Format:
    return Format(holds="splats", write=write, read=read, convention=convention, fixed=fixed)  # type: ignore[arg-type]


def _points(
    write: Callable[[Points, Mapping[str, object]], bytes], read: Callable[[bytes], Points], convention: str
) -> Format:
    return Format(holds="points", write=write, read=read, convention=convention)  # type: ignore[arg-type]


def _mesh(
    write: Callable[[Mesh, Mapping[str, object]], bytes],
    read: Callable[[bytes], Mesh],
    convention: str,
    *,
    fixed: bool = False,
) -> Format:
    return Format(holds="mesh", write=write, read=read, convention=convention, fixed=fixed)  # type: ignore[arg-type]


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        ".splat.ply": _splats(lambda s, about: splat_ply.encode(s, comments(about)), splat_ply.decode, "opencv"),
        ".compressed.ply": _splats(
            lambda s, about: compressed_ply.encode(s, comments(about)), compressed_ply.decode, "opencv"
        ),
        ".spz": _splats(spz.encode, spz.decode, "gltf", fixed=True),
        ".v4.spz": _splats(partial(spz.encode, version=4), spz.decode, "gltf", fixed=True),
        ".sog": _splats(sog.encode, sog.decode, "opencv"),
        ".splat": _splats(lambda s, about: splat.encode(s), splat.decode, "opencv"),
        ".splat.glb": _splats(splat_glb.encode, splat_glb.decode, "gltf", fixed=True),
        ".splat.usda": _splats(splat_usd.encode, splat_usd.decode, "gltf", fixed=True),
        ".splat.usdc": _splats(
            lambda s, about: usd_crate.pack(splat_usd.encode(s, about)), splat_usd.decode, "gltf", fixed=True
        ),
        ".points.ply": _points(lambda s, about: points_ply.encode(s, comments(about)), points_ply.decode, "opencv"),
        ".pcd": _points(lambda s, about: pcd.encode(s, comments(about)), pcd.decode, "opencv"),
        ".xyz": _points(lambda s, about: xyz.encode(s), xyz.decode, "blender"),
        ".laz": _points(laz.encode, laz.decode, "blender"),
        ".e57": _points(e57.encode, e57.decode, "blender"),
        ".glb": _mesh(glb.encode, glb.decode, "gltf", fixed=True),
        ".obj": _mesh(obj.encode, obj.decode, "gltf", fixed=True),
        ".mesh.ply": _mesh(lambda s, about: mesh_ply.encode(s, comments(about)), mesh_ply.decode, "opencv"),
        ".stl": _mesh(lambda s, about: stl.encode(s), stl.decode, "blender"),
        ".usda": _mesh(mesh_usd.encode, mesh_usd.decode, "gltf", fixed=True),
        ".usdc": _mesh(lambda s, about: usd_crate.pack(mesh_usd.encode(s, about)), mesh_usd.decode, "gltf", fixed=True),
        ".usdz": _mesh(mesh_usd.encode_archive, mesh_usd.decode_archive, "gltf", fixed=True),
    }
)
VIDEO = ".mp4"
SUFFIXES = (*FORMATS, VIDEO)


def suffix_of(name: str) -> str:
    """The suffix of a file name that says what to write.

    Raises:
        ValueError: it has none of `SUFFIXES`.
    """
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return suffix
    raise ValueError(f"the name of {name!r} must end in one of {', '.join(SUFFIXES)}")


def encode(scene: Scene, suffix: str, about: Mapping[str, object], *, convention: str | None = None) -> bytes:
    """Turn a scene of the session's frame into a file, in the format's own axes or, where it leaves them open, in others."""
    kind = FORMATS[suffix]
    return kind.write(frames.to_convention(scene, axes_of(kind, convention)), about)


def encode_files(
    scene: Scene,
    name: str,
    about: Mapping[str, object],
    *,
    suffix: str | None = None,
    convention: str | None = None,
) -> Mapping[str, bytes]:
    """Turn a scene into a file of that name, and those that lie beside it: an OBJ's material and texture.

    Raises:
        ValueError: the name has no suffix of a scene's file, and none was given.
    """
    suffix = suffix or suffix_of(name)
    if suffix == ".obj" and isinstance(scene, Mesh):
        return obj.encode_files(frames.to_convention(scene, FORMATS[suffix].convention), name, about)
    return {name: encode(scene, suffix, about, convention=convention)}


def decode(data: bytes, suffix: str, *, convention: str | None = None) -> Scene:
    """Read a file back into the session's frame; from the axes that it is said to be in, else from its format's.

    Raises:
        ValueError: damaged, or not of that kind.
    """
    kind = FORMATS[suffix]
    return frames.from_convention(kind.read(data), convention or kind.convention)


def axes_of(kind: Format, wanted: str | None) -> str:
    """The convention a file is written in when another is wanted: that one, unless the format has fixed axes."""
    return kind.convention if kind.fixed or wanted is None else wanted
