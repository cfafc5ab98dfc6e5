"""Whether a picture shows a place, by its own depth."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

THROUGH = (
    10  # tolerances that a place may lie behind or before what its pixel's middle shows, on a plane seen at a slant
)


@njit(cache=True, inline="always")
def shown_at(
    place: NDArray[np.float32],
    depth: NDArray[np.float32],
    normals: NDArray[np.float32],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    tolerance: float,
) -> tuple[bool, float, float, float, float, float]:
    """Find where a view with depth [H, W] and normals [H, W, 3] shows a place [3], and whether it does.

    It does if the place lies within `tolerance` of the plane at its pixel.

    Returns:
        Whether it does; where in the picture, in pixels across and down; and where before the camera, x, y and z.
    """
    height, width = depth.shape
    z = viewmat[2, 0] * place[0] + viewmat[2, 1] * place[1] + viewmat[2, 2] * place[2] + viewmat[2, 3]
    if z < 1e-3:
        return False, 0.0, 0.0, 0.0, 0.0, z
    x = viewmat[0, 0] * place[0] + viewmat[0, 1] * place[1] + viewmat[0, 2] * place[2] + viewmat[0, 3]
    y = viewmat[1, 0] * place[0] + viewmat[1, 1] * place[1] + viewmat[1, 2] * place[2] + viewmat[1, 3]
    a, b = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    u, v = np.int64(np.floor(a)), np.int64(np.floor(b))
    if u < 0 or v < 0 or u >= width or v >= height:
        return False, a, b, x, y, z
    d = np.float64(depth[v, u])
    if d <= 0 or d == np.inf:
        return False, a, b, x, y, z
    ray_x, ray_y = (u + 0.5 - K[0, 2]) / K[0, 0], (v + 0.5 - K[1, 2]) / K[1, 1]
    off = normals[v, u, 0] * (x - ray_x * d) + normals[v, u, 1] * (y - ray_y * d) + normals[v, u, 2] * (z - d)
    return abs(off) <= tolerance and abs(z - d) <= THROUGH * tolerance, a, b, x, y, z
