"""From pixels whose depth is sure to those beside them on the same surface that are merely likely."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

STEP = 0.02  # of 1 / depth, by which neighbouring pixels of one surface may differ
JUMP = 0.2  # of 1 / depth, within a window, that is an edge
WINDOW = 9  # pixels


def spread(inverse: NDArray[np.float32], sure: NDArray[np.bool_], likely: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pixels [H, W] are sure, or likely and joined to sure ones by likely ones on a surface without a jump.

    Args:
        inverse: [H, W] 1 / depth, above 0 where a pixel is sure or likely.
        sure: [H, W], where to begin.
        likely: [H, W], where to go on.
    """
    reached = sure.copy()
    _flood(inverse, likely, reached)
    return reached


def inner(inverse: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where no edge is as near as a window reaches in which pictures are compared: beside one what is in front looks wider."""
    around = maximum_filter(inverse, WINDOW) - minimum_filter(inverse, WINDOW)
    return np.asarray(around < JUMP * inverse)


@njit(cache=True)
def _flood(inverse: NDArray[np.float32], likely: NDArray[np.bool_], reached: NDArray[np.bool_]) -> None:
    height, width = inverse.shape
    waiting = np.empty(height * width, np.int64)
    count = 0
    for v in range(height):
        for u in range(width):
            if reached[v, u]:
                waiting[count] = v * width + u
                count += 1
    while count:
        count -= 1
        v, u = waiting[count] // width, waiting[count] % width
        for k in range(4):
            j, i = v + (k == 0) - (k == 1), u + (k == 2) - (k == 3)
            if j < 0 or i < 0 or j >= height or i >= width or reached[j, i] or not likely[j, i]:
                continue
            a, b = inverse[v, u], inverse[j, i]
            if abs(a - b) <= STEP * max(a, b):
                reached[j, i] = True
                waiting[count] = j * width + i
                count += 1
