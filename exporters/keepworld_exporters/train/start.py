"""Splats to begin a training with, from a cloud of points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from keepworld_exporters.rasterize.harmonics import SH_C0
from keepworld_exporters.scene import Splats

OPACITY = 0.3
_NEIGHBOURS = 3


def splats_from_points(
    positions: NDArray[np.float32], colours: NDArray[np.uint8], *, most: int, seed: int = 0
) -> Splats:
    """Round splats at positions [N, 3], as wide as their neighbours are far, coloured as the points are.

    Args:
        positions: the capture's units.
        colours: [N, 3] uint8 sRGB.
        most: how many there may be; of more points some are drawn.
        seed: of the draw.
    """
    if len(positions) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(positions), most, replace=False))
        positions, colours = positions[chosen], colours[chosen]
    count = len(positions)
    near = min(_NEIGHBOURS + 1, count)
    distances = cKDTree(positions).query(positions, k=near)[0].reshape(count, near)[:, 1:]
    width = np.sqrt((distances**2).mean(1)) if near > 1 else np.ones(count)
    typical = float(np.median(width))
    width = np.clip(width, 0.05 * typical + 1e-9, 10 * typical + 1e-9)
    return Splats(
        means=positions.astype(np.float32),
        quats=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        scales=np.repeat(width[:, None], 3, 1).astype(np.float32),
        opacities=np.full(count, OPACITY, np.float32),
        sh0=((colours / 255.0 - 0.5) / SH_C0).astype(np.float32),
        shN=np.zeros((count, 0, 3), np.float32),
    )
