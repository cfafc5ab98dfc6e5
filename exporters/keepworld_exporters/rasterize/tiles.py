"""Which Gaussians each tile of a picture has to look at, from front to back."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

TILE = 16  # pixels; rows of 16 become one vector instruction


def depth_order(depths: NDArray[np.float32], boxes: NDArray[np.int32]) -> NDArray[np.int64]:
    """The Gaussians that are seen, front to back; those at one depth in the order they came."""
    seen = np.flatnonzero(boxes[:, 2] > boxes[:, 0])
    return seen[np.argsort(depths[seen], kind="stable")]


@njit(cache=True)
def bin_tiles(
    order: NDArray[np.int64], boxes: NDArray[np.int32], width: int, height: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Sort Gaussians, given front to back, into tiles: where each tile starts [T + 1], and its members."""
    across, down = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    starts = np.zeros(across * down + 1, np.int64)
    for i in order:
        for ty in range(boxes[i, 1] // TILE, (boxes[i, 3] - 1) // TILE + 1):
            for tx in range(boxes[i, 0] // TILE, (boxes[i, 2] - 1) // TILE + 1):
                starts[ty * across + tx + 1] += 1
    starts = np.cumsum(starts)
    members = np.empty(starts[-1], np.int32)
    ends = starts[:-1].copy()
    for i in order:
        for ty in range(boxes[i, 1] // TILE, (boxes[i, 3] - 1) // TILE + 1):
            for tx in range(boxes[i, 0] // TILE, (boxes[i, 2] - 1) // TILE + 1):
                tile = ty * across + tx
                members[ends[tile]] = i
                ends[tile] += 1
    return starts, members
