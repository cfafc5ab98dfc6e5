"""Which Gaussians each tile of a picture has to look at, from front to back."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

TILE = 16  # pixels; rows of 16 become one vector instruction


def depth_order(depths: NDArray[np.float32], boxes: NDArray[np.int32]) -> NDArray[np.int64]:
    """The Gaussians that are seen, front to back; those at one depth in the order they came."""
    return _order(depths.view(np.uint32), boxes)


@njit(cache=True)
def _order(keys: NDArray[np.uint32], boxes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Sort by keys, eleven bits at a time: floats above 0 are ordered as their bits are."""
    seen = np.flatnonzero(boxes[:, 2] > boxes[:, 0])
    spare = np.empty_like(seen)
    for shift in (0, 11, 22):
        ends = np.zeros((1 << 11) + 1, np.int64)
        for i in seen:
            ends[((keys[i] >> np.uint32(shift)) & np.uint32(0x7FF)) + 1] += 1
        ends = np.cumsum(ends)
        for i in seen:
            digit = (keys[i] >> np.uint32(shift)) & np.uint32(0x7FF)
            spare[ends[digit]] = i
            ends[digit] += 1
        seen, spare = spare, seen
    return seen


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
