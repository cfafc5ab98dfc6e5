"""Pictures of meshes and point clouds: a z-buffer, without light."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from keepworld_exporters.scene import Mesh, Points

NEAR = 0.05


def render_mesh(
    mesh: Mesh,
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    width: int,
    height: int,
    *,
    background: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw a mesh in its own colours, both sides of it: picture [H, W, 3] and depth [H, W], 0 where there is nothing.

    Triangles that reach nearer than `NEAR` are left out.
    """
    image = np.broadcast_to(background, (height, width, 3)).copy()
    depth = np.zeros((height, width), np.float32)
    seen = mesh.vertices.astype(np.float64) @ viewmat[:3, :3].T + viewmat[:3, 3]
    _fill(seen, mesh.faces, mesh.colours, K, image, depth)
    return image, depth


def render_points(
    points: Points,
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    width: int,
    height: int,
    *,
    background: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Draw each point as a small square, the nearest in front: [H, W, 3]."""
    image = np.broadcast_to(background, (height, width, 3)).copy()
    depth = np.zeros((height, width), np.float32)
    seen = points.positions.astype(np.float64) @ viewmat[:3, :3].T + viewmat[:3, 3]
    _stamp(seen, points.colours, K, image, depth)
    return image


@njit(cache=True)
def _fill(
    seen: NDArray[np.float64],
    faces: NDArray[np.int32],
    colours: NDArray[np.uint8],
    K: NDArray[np.float64],
    image: NDArray[np.uint8],
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
                for channel in range(3):
                    value = a * ai * colours[i, channel] + b * aj * colours[j, channel] + c * ak * colours[k, channel]
                    image[v, u, channel] = np.uint8(min(255.0, max(0.0, z * value + 0.5)))


@njit(cache=True)
def _stamp(
    seen: NDArray[np.float64],
    colours: NDArray[np.uint8],
    K: NDArray[np.float64],
    image: NDArray[np.uint8],
    depth: NDArray[np.float32],
) -> None:
    height, width = depth.shape
    for i in range(len(seen)):
        z = seen[i, 2]
        if z < NEAR:
            continue
        u = int(np.floor(K[0, 0] * seen[i, 0] / z + K[0, 2] - 0.5))
        v = int(np.floor(K[1, 1] * seen[i, 1] / z + K[1, 2] - 0.5))
        for y in range(max(0, v), min(height, v + 2)):
            for x in range(max(0, u), min(width, u + 2)):
                if depth[y, x] == 0 or z < depth[y, x]:
                    depth[y, x] = z
                    for channel in range(3):
                        image[y, x, channel] = colours[i, channel]
