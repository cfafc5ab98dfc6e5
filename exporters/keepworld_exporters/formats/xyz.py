"""``.xyz``: a cloud as text, a point a line: x y z, and red green blue as whole numbers.

Nobody wrote it down; these six columns are what most programs read (CloudCompare, Houdini, Unreal, three.js), and more of them
what some do not. Places keep six digits behind the point, which at a metre is a micrometre.
"""

from __future__ import annotations

import io

import numpy as np

from keepworld_exporters.formats.checks import checked_points
from keepworld_exporters.scene import Points

_FORM = "%.6f %.6f %.6f %d %d %d"


def encode(points: Points) -> bytes:
    """Turn a cloud into a file."""
    rows = zip(*points.positions.T.tolist(), *points.colours.T.tolist(), strict=True)
    return "".join([f"{_FORM % row}\n" for row in rows]).encode("ascii")


def decode(data: bytes) -> Points:
    """Read lines of 3 numbers (places), 6 (and colours) or 9 (and normals); '#' and '//' begin a remark.

    Raises:
        ValueError: not numbers, or not so many a line.
    """
    if not data.strip():
        raise ValueError("the XYZ file is empty")
    with io.BytesIO(data) as lines:
        try:
            table = np.loadtxt(lines, np.float64, comments=["#", "//"], ndmin=2)
        except (ValueError, UnicodeDecodeError) as error:
            raise ValueError(f"the XYZ file's lines must hold numbers, as many in each: {error}") from error
    if table.shape[1] not in (3, 6, 9) or not len(table):
        raise ValueError(f"an XYZ file has 3, 6 or 9 numbers a line, this one {table.shape[1]}")
    colours = table[:, 3:6] if table.shape[1] > 3 else None
    if colours is not None and not ((colours >= 0) & (colours <= 255)).all():
        raise ValueError("the XYZ file's fourth to sixth numbers must be colours in [0, 255]")
    return checked_points(
        table[:, :3],
        colours=None if colours is None else np.round(colours),
        normals=table[:, 6:9] if table.shape[1] == 9 else None,
    )
