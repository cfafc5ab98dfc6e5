"""``.splat.ply``: Gaussian splats as the first implementation (INRIA) writes them, which every viewer reads.

62 floats a splat, 248 bytes: x y z, nx ny nz (unused, zero), f_dc_0..2, f_rest_0..44 (all of red's, then green's, then
blue's), opacity before the sigmoid, scale_0..2 as logarithms, rot_0..3 as w x y z. Always of degree 3, as some readers know no
other; lower ones are filled up with zeros. A comment tells of antialiased training (gsplat, Brush and splat-transform read it).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keepworld_exporters.formats import ply
from keepworld_exporters.formats.checks import checked_splats
from keepworld_exporters.formats.harmonics import BANDS
from keepworld_exporters.scene import Splats

_PLACES = ("x", "y", "z")
_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_SHAPE = ("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")
NAMES = (*_PLACES, "nx", "ny", "nz", *_DC, *(f"f_rest_{k}" for k in range(45)), *_SHAPE)
DTYPE = np.dtype([(name, "<f4") for name in NAMES])
ANTIALIASED = "SplatRenderMode: mip"
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
    told = [ANTIALIASED, *comments] if splats.antialiased else comments
    return ply.encode_vertices(rows.view(DTYPE).reshape(count), told)


def decode(data: bytes) -> Splats:
    """Read a file with these properties, in any order, of any degree; harmonics that are all 0 are left out.

    Raises:
        ValueError: damaged, or without a property that splats need.
    """
    data = ply.as_binary(data)
    header = ply.read_header(data)
    if [element.name for element in header.elements] != ["vertex"]:
        raise ValueError("a splat file has one element, 'vertex'")
    table, end = ply.read_table(data, header.elements[0], header.size)
    names = table.dtype.names or ()
    missing = [name for name in (*_PLACES, *_DC, *_SHAPE) if name not in names]
    if missing:
        raise ValueError(f"not a splat file: its vertices have no {', '.join(missing)}")
    num_rest = sum(name.startswith("f_rest_") for name in names)
    if num_rest not in (3 * bands for bands in BANDS) or any(f"f_rest_{k}" not in names for k in range(num_rest)):
        raise ValueError(f"splats have 0, 9, 24 or 45 properties f_rest_0, f_rest_1 …; this file has {num_rest}")
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes too many after the splats")
    count = len(table)
    rest = np.zeros((count, 3, num_rest // 3), np.float32)
    for k in range(num_rest):
        rest[:, k // (num_rest // 3), k % (num_rest // 3)] = table[f"f_rest_{k}"]
    used = np.flatnonzero(rest.any(axis=(0, 1)))
    bands = next(size for size in BANDS if not used.size or used[-1] < size)
    with np.errstate(over="ignore"):
        scales = np.exp(np.stack([table[f"scale_{k}"] for k in range(3)], 1))
        opacities = 1 / (1 + np.exp(-table["opacity"].astype(np.float64)))
    return checked_splats(
        means=np.stack([table[name] for name in _PLACES], 1),
        quats=np.stack([table[f"rot_{k}"] for k in range(4)], 1),
        scales=scales,
        opacities=opacities,
        sh0=np.stack([table[name] for name in _DC], 1),
        shN=rest[:, :, :bands].transpose(0, 2, 1),
        antialiased=ANTIALIASED in header.comments,
    )
