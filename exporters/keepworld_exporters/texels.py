"""What a texture shows at a place in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def texels(texture: NDArray[np.uint8], uvs: NDArray[np.float32]) -> NDArray[np.float32]:
    """A texture [H, W, 3] at places in it [..., 2], between its texels, [..., 3] in [0, 255]."""
    rows, columns = texture.shape[:2]
    a = np.clip(uvs[..., 0] * columns - np.float32(0.5), 0, columns - 1)
    b = np.clip(uvs[..., 1] * rows - np.float32(0.5), 0, rows - 1)
    u, v = a.astype(np.int32), b.astype(np.int32)
    s, t = (a - u)[..., None], (b - v)[..., None]
    right, below = np.minimum(u + 1, columns - 1), np.minimum(v + 1, rows - 1)
    upper = (1 - s) * texture[v, u] + s * texture[v, right]
    lower = (1 - s) * texture[below, u] + s * texture[below, right]
    return np.asarray((1 - t) * upper + t * lower, np.float32)
