"""Pictures of textured meshes: a z-buffer, without light."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from keepworld_exporters.scene import Mesh

NEAR = 0.05


def render_textured(
    mesh: Mesh, viewmat: NDArray[np.float64], K: NDArray[np.float64], width: int, height: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw a mesh with its texture, both sides of it: picture [H, W, 3] in [0, 1] and depth [H, W], 0 where there is nothing.

    The texture is read between its texels. Triangles that reach nearer than `NEAR` are left out.

    Raises:
        ValueError: the mesh has no texture.
    """
    if mesh.texture is None or mesh.uvs is None:
        raise ValueError("mesh must have a texture and uvs")
    depth = np.zeros((height, width), np.float32)
    places = np.zeros((height, width, 2), np.float32)
    seen = mesh.vertices.astype(np.float64) @ viewmat[:3, :3].T + viewmat[:3, 3]
    _fill(seen, mesh.faces, mesh.uvs.astype(np.float64), K, places, depth)
    rows, columns = mesh.texture.shape[:2]
    a = np.clip(places[..., 0] * columns - 0.5, 0, columns - 1)
    b = np.clip(places[..., 1] * rows - 0.5, 0, rows - 1)
    u, v = a.astype(np.int64), b.astype(np.int64)
    s, t = (a - u)[..., None], (b - v)[..., None]
    right, below = np.minimum(u + 1, columns - 1), np.minimum(v + 1, rows - 1)
    texels = mesh.texture.astype(np.float32) / np.float32(255)
    upper = (1 - s) * texels[v, u] + s * texels[v, right]
    lower = (1 - s) * texels[below, u] + s * texels[below, right]
    image = np.where(depth[..., None] > 0, (1 - t) * upper + t * lower, 0)
    return image.astype(np.float32), depth


@njit(cache=True)
def _fill(
    seen: NDArray[np.float64],
    faces: NDArray[np.int32],
    uvs: NDArray[np.float64],
    K: NDArray[np.float64],
    places: NDArray[np.float32],
    depth: NDArray[np.float32],
) -> None:
    height, width = depth.shape
    for face in range(len(faces)):
        i, j, k = faces[face]
        if seen[i, 2] < NEAR or seen[j, 2] < NEAR or seen[k, 2] < NEAR:
            continue
        ai, aj, ak = 1 / seen[i, 2], 1 / seen[j, 2], 1 / seen[k, 2]
        ui, vi = K[0, 0] * seen[i, 0] * ai + K[0, 2], K[1, 1] * seen[i, 1] * ai + K[1, 2]
        uj, vj = K[0, 0] * seen[j, 0] * aj + K[0, 2], K[1, 1] * seen[j, 1] * aj + K[1, 2]
        uk, vk = K[0, 0] * seen[k, 0] * ak + K[0, 2], K[1, 1] * seen[k, 1] * ak + K[1, 2]
        area = (uj - ui) * (vk - vi) - (uk - ui) * (vj - vi)
        if area == 0:
            continue
        left, right = max(0, int(min(ui, uj, uk) - 0.5)), min(width - 1, int(max(ui, uj, uk) + 0.5))
        top, bottom = max(0, int(min(vi, vj, vk) - 0.5)), min(height - 1, int(max(vi, vj, vk) + 0.5))
        for v in range(top, bottom + 1):
            for u in range(left, right + 1):
                du, dv = u + 0.5 - ui, v + 0.5 - vi
                b = (du * (vk - vi) - (uk - ui) * dv) / area
                c = ((uj - ui) * dv - du * (vj - vi)) / area
                a = 1 - b - c
                if a < 0 or b < 0 or c < 0:
                    continue
                z = 1 / (a * ai + b * aj + c * ak)  # 1 / z is linear on the picture
                if depth[v, u] != 0 and z >= depth[v, u]:
                    continue
                depth[v, u] = z
                for axis in range(2):
                    places[v, u, axis] = z * (a * ai * uvs[i, axis] + b * aj * uvs[j, axis] + c * ak * uvs[k, axis])
