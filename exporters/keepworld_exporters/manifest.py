"""What a file has to say about itself: who made it, from what, under which licence, in which units and axes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from keepworld.camera import CONVENTIONS
from keepworld.capture_writer import Provenance
from keepworld.files import write_atomically
from keepworld.frames import EventRecord

from keepworld_exporters.formats import Format, axes_of
from keepworld_exporters.stages.depth import Resolution

_AXES = {
    "opencv": "x right, y down, z forward (as models trained on COLMAP cameras lie)",
    "colmap": "x right, y down, z forward",
    "gltf": "x right, y up, z back (glTF)",
    "opengl": "x right, y up, z back",
    "blender": "x right, y forward, z up (Blender)",
    "nerfstudio": "x right, y forward, z up",
    "unity": "x right, y up, z forward, left-handed (Unity)",
    "unreal": "x forward, y right, z up, left-handed, centimetres (Unreal)",
}


def manifest(
    about: Provenance,
    resolution: Resolution,
    num_frames: int,
    num_used: int,
    events: Sequence[tuple[int, EventRecord]] = (),
) -> dict[str, object]:
    """All that holds for every file of an export."""
    return {
        **of_walk(about, events),
        "frames": num_frames,
        "frames_used": num_used,
        "voxel": resolution.voxel,
        "mesh_max_depth": resolution.max_depth,
    }


def of_walk(about: Provenance, events: Sequence[tuple[int, EventRecord]] = ()) -> dict[str, object]:
    """What a walk was made by and from, its licence with the countries it leaves out among it."""
    return {
        "generator": f"keepworld {version('keepworld')}",
        "family": about.family,
        "family_version": about.version,
        "weights_sha256": about.weights or None,
        "licence": about.licence,
        "prompt": about.prompt,
        "events": [{"chunk": chunk, "text": event.text} for chunk, event in events],
        "seed": about.seed,
        "units": str(about.units),
        "poses": str(about.pose_source),
    }


def for_file(common: Mapping[str, object], kind: Format, convention: str | None = None) -> dict[str, object]:
    """The manifest of one file: with its axes, and the transform that took the session's frame to them.

    Args:
        common: what holds for every file.
        kind: the file's.
        convention: the axes it was written in, where the format leaves them open; None for the format's own.
    """
    name = axes_of(kind, convention)
    there = CONVENTIONS[name]
    return {
        **common,
        "convention": name,
        "axes": _AXES[name],
        "transform_from_session": (there.world * there.scale).tolist(),
    }


def write_beside(path: Path, told: Mapping[str, object]) -> None:
    """Write a file's manifest beside it."""
    write_atomically(beside(path), json.dumps(told, indent=1).encode())


def beside(path: Path) -> Path:
    """Where a file's manifest lies."""
    return path.with_name(f"{path.name}.manifest.json")
