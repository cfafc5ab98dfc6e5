"""What a texture shows at a place in it."""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray


def texels(texture: NDArray[np.uint8], uvs: NDArray[np.float32]) -> NDArray[np.float32]:
    """A texture [H, W, 3] at places in it [..., 2], between its texels, [..., 3] in [0, 255]."""
    places = np.ascontiguousarray(uvs, np.float32).reshape(-1, 2)
    return np.asarray(_between(np.ascontiguousarray(texture), places).reshape(*uvs.shape[:-1], 3))


@njit(cache=True, parallel=True)
def _between(texture: NDArray[np.uint8], places: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = texture.shape[:2]
    out = np.empty((len(places), 3), np.float32)
    half, zero = np.float32(0.5), np.float32(0)
    for i in prange(len(places)):
        a = min(max(places[i, 0] * np.float32(columns) - half, zero), np.float32(columns - 1))
        b = min(max(places[i, 1] * np.float32(rows) - half, zero), np.float32(rows - 1))
        u, v = int(a), int(b)
        s, t = np.float64(a) - u, np.float64(b) - v
        right, below = min(u + 1, columns - 1), min(v + 1, rows - 1)
        for k in range(3):
            upper = (1 - s) * texture[v, u, k] + s * texture[v, right, k]
            lower = (1 - s) * texture[below, u, k] + s * texture[below, right, k]
            out[i, k] = (1 - t) * upper + t * lower
    return out
