"""The true surface of a captured world, as a PLY file: what an export of that capture is measured against."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from keepworld.files import write_atomically

from keepworld_runtime.families import load_family
from keepworld_runtime.families.family import Place, Surface, WorldSpec


def ply_bytes(surface: Surface) -> bytes:
    """A surface as a binary little-endian PLY file: float vertices, triangles, the session's frame."""
    vertices = np.ascontiguousarray(surface.vertices, "<f4")
    faces = np.empty(len(surface.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, surface.faces
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        "comment keepworld true surface; metres unless the family says otherwise; x right, y down, z forward\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    return header.encode() + vertices.tobytes() + faces.tobytes()


def surface_of(capture: Path) -> Surface:
    """The lasting geometry of the world that a capture folder was taken in, as it is before any event.

    Raises:
        ValueError: the folder is not a capture, its family is of another version or has no true surface.
    """
    try:
        told = json.loads((capture / "capture.json").read_text())
        spec = WorldSpec(
            prompt=str(told["prompt"]),
            seed=int(told["seed"]),
            width=int(told["width"]),
            height=int(told["height"]),
            mode=str(told["mode"]),
        )
        name, version = str(told["family"]), str(told["version"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{capture} is not a capture folder: {error}") from error
    family = load_family(name)
    if version != family.capabilities.version:
        raise ValueError(f"the capture is of {name} version {version}, this is version {family.capabilities.version}")
    surface = family.load(Place(num_threads=1)).open(spec).surface()
    if surface is None:
        raise ValueError(f"worlds of the family {name} have no true surface")
    return surface


def main() -> int:
    """Run `python -m keepworld_runtime.truth`; the exit status is 0, or 1 with a line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="keepworld truth",
        description=__doc__,
        epilog="example:\n  keepworld truth abbey truth.ply && keepworld export abbey abbey-3d --truth truth.ply",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "capture", type=Path, metavar="CAPTURE_DIR", help="the folder of a capture, with capture.json in it"
    )
    parser.add_argument("out", type=Path, metavar="OUT.ply", help="where to write the triangles")
    arguments = parser.parse_args()
    try:
        surface = surface_of(arguments.capture)
        write_atomically(arguments.out, ply_bytes(surface))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.out}: {len(surface.vertices)} vertices, {len(surface.faces)} triangles")
    return 0


if __name__ == "__main__":
    sys.exit(main())
