"""Points that stand alone: what one or two views saw where nothing else is, which is hardly ever a surface.

A surface fills cell after cell. A point with next to nothing about it is a mismatch, an edge, or too small to matter, unless
several views saw it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

NEAR = 3.0  # cells round a point in which others are looked for: a plane has some 28 there
FEW = 5  # others: fewer leave a point alone
SEEN_WELL = 3  # views from which on a point is believed, however alone it stands


def isolated(
    positions: NDArray[np.float32], sizes: NDArray[np.float32], seen: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Which points [N] stand alone.

    Args:
        positions: [N, 3].
        sizes: [N], the cell that each stands for.
        seen: [N], how many views saw each.
    """
    alone = np.zeros(len(positions), np.bool_)
    doubtful = np.flatnonzero(seen < SEEN_WELL)
    if doubtful.size:
        tree = cKDTree(positions)
        near = tree.query_ball_point(
            positions[doubtful], NEAR * sizes[doubtful].astype(np.float64), return_length=True, workers=-1
        )
        alone[doubtful] = near - 1 < FEW
    return alone
