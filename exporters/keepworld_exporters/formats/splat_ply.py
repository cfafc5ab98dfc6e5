"""``.splat.ply``: Gaussian splats as the first implementation (INRIA) writes them, which every viewer reads.

62 floats a splat, 248 bytes: x y z, nx ny nz (unused, zero), f_dc_0..2, f_rest_0..44 (all of red's, then green's, then
blue's), opacity before the sigmoid, scale_0..2 as logarithms, rot_0..3 as w x y z. The frame is the session's own, x right,
y down, z forward, which is how models trained on COLMAP cameras lie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keepworld_exporters.formats import ply
from keepworld_exporters.scene import Splats

NAMES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
    *(f"f_rest_{k}" for k in range(45)),
    *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
DTYPE = np.dtype([(name, "<f4") for name in NAMES])
MIN_SCALE = 1e-9
MARGIN = 1e-6  # opacities are kept this far from 0 and 1, where the logit has no end


def encode(splats: Splats, comments: Sequence[str] = ()) -> bytes:
    """Turn splats of degree 0 to 3 into a file."""
    count, bands = splats.shN.shape[:2]
    rows = np.zeros((count, len(NAMES)), "<f4")
    rows[:, 0:3] = splats.means
    rows[:, 6:9] = splats.sh0
    rest = np.zeros((count, 3, 15), np.float32)
    rest[:, :, :bands] = splats.shN.transpose(0, 2, 1)
    rows[:, 9:54] = rest.reshape(count, 45)
    opacity = np.clip(splats.opacities.astype(np.float64), MARGIN, 1 - MARGIN)
    rows[:, 54] = np.log(opacity / (1 - opacity))
    rows[:, 55:58] = np.log(np.maximum(splats.scales, MIN_SCALE))
    rows[:, 58:62] = splats.quats
    return ply.encode_vertices(rows.view(DTYPE).reshape(count), comments)


def decode(data: bytes) -> Splats:
    """Read a file of this layout; harmonics whose every coefficient is 0 are left out.

    Raises:
        ValueError: damaged, or of another layout.
    """
    header = ply.read_header(data)
    if [element.name for element in header.elements] != ["vertex"]:
        raise ValueError("a splat file has one element, 'vertex'")
    table, end = ply.read_table(data, header.elements[0], header.size)
    if table.dtype != DTYPE:
        raise ValueError(
            "a splat file has the 62 float properties x y z nx ny nz f_dc f_rest opacity scale rot, in this order"
        )
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes too many after the splats")
    count = len(table)
    rows = np.frombuffer(data, "<f4", count * len(NAMES), header.size).reshape(count, len(NAMES))
    if not np.isfinite(rows).all():
        raise ValueError("the splats hold values that are not finite")
    rest = rows[:, 9:54].reshape(count, 3, 15).transpose(0, 2, 1)
    used = np.flatnonzero(rest.any(axis=(0, 2))) if count else np.empty(0, np.int64)
    bands = next(size for size in (0, 3, 8, 15) if not used.size or used[-1] < size)
    return Splats(
        means=rows[:, 0:3].copy(),
        quats=rows[:, 58:62].copy(),
        scales=np.exp(rows[:, 55:58]),
        opacities=(1 / (1 + np.exp(-rows[:, 54].astype(np.float64)))).astype(np.float32),
        sh0=rows[:, 6:9].copy(),
        shN=np.ascontiguousarray(rest[:, :bands]),
    )
