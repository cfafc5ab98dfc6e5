"""``.points.ply``: a point cloud with normals, colours and the number of frames that saw each point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keepworld_exporters.formats import ply
from keepworld_exporters.formats.checks import checked_points
from keepworld_exporters.scene import Points

_PLACES, _NORMALS, _COLOURS = ("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue")
DTYPE = np.dtype(
    [(name, "<f4") for name in (*_PLACES, *_NORMALS)] + [(name, "u1") for name in _COLOURS] + [("confidence", "<u2")]
)


def encode(points: Points, comments: Sequence[str] = ()) -> bytes:
    """Turn a cloud into a file."""
    table = np.empty(len(points.positions), DTYPE)
    for k in range(3):
        table[_PLACES[k]], table[_NORMALS[k]] = points.positions[:, k], points.normals[:, k]
        table[_COLOURS[k]] = points.colours[:, k]
    table["confidence"] = points.confidence
    return ply.encode_vertices(table, comments)


def decode(data: bytes) -> Points:
    """Read a cloud with any properties; x y z have to be there, normals, colours in bytes and confidence are taken.

    Raises:
        ValueError: damaged, or without places.
    """
    data = ply.as_binary(data)
    header = ply.read_header(data)
    if [element.name for element in header.elements] != ["vertex"]:
        raise ValueError("a point cloud has one element, 'vertex'")
    table, end = ply.read_table(data, header.elements[0], header.size)
    names = set(table.dtype.names or ())
    if not names >= set(_PLACES):
        raise ValueError("the PLY file's vertices have no x, y, z")
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes too many after the points")

    def columns(wanted: tuple[str, ...], kind: str) -> np.ndarray | None:
        there = names >= set(wanted) and all(table.dtype[name].kind == kind for name in wanted)
        return np.stack([table[name] for name in wanted], 1) if there else None

    positions = np.stack([table[name] for name in _PLACES], 1)
    colours = columns(_COLOURS, "u")
    counted = "confidence" in names and table.dtype["confidence"].kind == "u"
    return checked_points(
        positions,
        normals=columns(_NORMALS, "f"),
        colours=None if colours is None or colours.dtype != np.uint8 else colours,
        confidence=np.minimum(table["confidence"], 65535) if counted else None,
    )
