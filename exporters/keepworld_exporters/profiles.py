"""Where a scene is going: the axes, the units and the kinds of file that a program takes in as they are.

A profile decides where a format leaves its axes open (PLY, .splat, PCD, XYZ, LAZ, STL): such a file holds the program's own
numbers, left-handed where the program is. Formats whose every reader takes their axes for granted (glTF, SPZ, USD, OBJ) keep
them: the program's importer turns them, and turning them here as well would turn them twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """A program that scenes are made for.

    Attributes:
        convention: its axes and units, one of `keepworld.camera.CONVENTIONS`.
        suffixes: the kind of file it takes best, by what is in it: "splats", "points", "mesh".
        readers: what reads them there.
    """

    convention: str
    suffixes: Mapping[str, str]
    readers: str


def _files(splats: str, points: str, mesh: str) -> Mapping[str, str]:
    return MappingProxyType({"splats": splats, "points": points, "mesh": mesh})


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "unity": Profile(
            convention="unity",
            suffixes=_files(".splat.ply", ".points.ply", ".glb"),
            readers="UnityGaussianSplatting (PLY), glTFast (GLB); y up, left-handed, metres",
        ),
        "unreal": Profile(
            convention="unreal",
            suffixes=_files(".splat.ply", ".points.ply", ".glb"),
            readers="splat plug-ins (PLY), Interchange (GLB); z up, left-handed, centimetres",
        ),
        "blender": Profile(
            convention="blender",
            suffixes=_files(".splat.ply", ".points.ply", ".glb"),
            readers="splat add-ons and the PLY importer with its default axes, the glTF importer; z up, metres",
        ),
        "godot": Profile(
            convention="gltf",
            suffixes=_files(".splat.ply", ".points.ply", ".glb"),
            readers="splat add-ons (PLY), the scene importer (GLB); y up, metres",
        ),
        "web": Profile(
            convention="gltf",
            suffixes=_files(".spz", ".points.ply", ".glb"),
            readers="three.js with Spark (SPZ), any glTF viewer; y up, metres",
        ),
        "houdini": Profile(
            convention="gltf",
            suffixes=_files(".splat.ply", ".points.ply", ".usdc"),
            readers="GSOPs (PLY), the File node (PLY), Solaris (USD); y up, metres",
        ),
    }
)
