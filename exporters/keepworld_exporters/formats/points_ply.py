"""``.points.ply``: a point cloud with normals, colours and the number of frames that saw each point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keepworld_exporters.formats import ply
from keepworld_exporters.scene import Points

DTYPE = np.dtype(
    [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    + [(name, "u1") for name in ("red", "green", "blue")]
    + [("confidence", "<u2")]
)


def encode(points: Points, comments: Sequence[str] = ()) -> bytes:
    """Turn a cloud into a file, in the session's own frame: x right, y down, z forward."""
    table = np.empty(len(points.positions), DTYPE)
    for k, axis in enumerate("xyz"):
        table[axis], table[f"n{axis}"] = points.positions[:, k], points.normals[:, k]
    for k, name in enumerate(("red", "green", "blue")):
        table[name] = points.colours[:, k]
    table["confidence"] = points.confidence
    return ply.encode_vertices(table, comments)


def decode(data: bytes) -> Points:
    """Read a file that `encode` made.

    Raises:
        ValueError: damaged, or with other properties.
    """
    header = ply.read_header(data)
    if [element.name for element in header.elements] != ["vertex"]:
        raise ValueError("a point cloud has one element, 'vertex'")
    table, end = ply.read_table(data, header.elements[0], header.size)
    if table.dtype != DTYPE:
        raise ValueError(f"a keepworld point cloud has the properties {', '.join(DTYPE.names or ())}")
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes too many after the points")
    return Points(
        positions=np.stack([table[axis] for axis in "xyz"], 1),
        normals=np.stack([table[f"n{axis}"] for axis in "xyz"], 1),
        colours=np.stack([table[name] for name in ("red", "green", "blue")], 1),
        confidence=table["confidence"].astype(np.uint16),
    )
