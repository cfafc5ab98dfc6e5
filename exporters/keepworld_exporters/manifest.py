"""What a file has to say about itself: who made it, from what, under which licence, in which units and axes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from keepworld.camera import CONVENTIONS
from keepworld.capture import Provenance

from keepworld_exporters.formats import Format
from keepworld_exporters.stages.depth import Resolution

_AXES = {
    "opencv": "x right, y down, z forward (as models trained on COLMAP cameras lie)",
    "gltf": "x right, y up, z back (glTF)",
}


def manifest(about: Provenance, resolution: Resolution, num_frames: int, num_used: int) -> dict[str, object]:
    """All that holds for every file of an export."""
    return {
        "generator": f"keepworld {version('keepworld')}",
        "family": about.family,
        "family_version": about.version,
        "licence": about.licence,
        "prompt": about.prompt,
        "seed": about.seed,
        "units": str(about.units),
        "poses": str(about.pose_source),
        "frames": num_frames,
        "frames_used": num_used,
        "voxel": resolution.voxel,
        "mesh_max_depth": resolution.max_depth,
    }


def for_file(common: Mapping[str, object], kind: Format) -> dict[str, object]:
    """The manifest of one file: with its axes, and the transform that took the session's frame to them."""
    there = CONVENTIONS[kind.convention]
    return {**common, "axes": _AXES[kind.convention], "transform_from_session": (there.world * there.scale).tolist()}


def comments(entries: Mapping[str, object]) -> list[str]:
    """A manifest as lines for a file that has comments."""
    return [f"{name}: {value}" for name, value in entries.items()]
