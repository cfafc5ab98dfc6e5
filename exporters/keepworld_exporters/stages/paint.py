"""Colours for a surface from the pictures that saw it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from keepworld_exporters.stages.depth import View
from keepworld_exporters.stages.shown import shown_at


def paint(
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    views: Iterable[View],
    *,
    tolerance: NDArray[np.float32],
    on_view: Callable[[], None],
) -> NDArray[np.uint8]:
    """Find the colour of each vertex [V, 3]: the mean of where it is seen, near and straight views counting most.

    Args:
        vertices: [V, 3].
        faces: [F, 3], for the direction each vertex faces.
        views: the pictures and their depth, which decides what is hidden.
        tolerance: [V], how far off the surface of a picture each vertex may lie, the capture's units.
        on_view: called once a view.

    Returns:
        [V, 3] uint8 sRGB; vertices that no picture shows get the colour of the nearest that one does.
    """
    sums = np.zeros((len(vertices), 4))
    normals = vertex_normals(vertices, faces)
    for view in views:
        _collect(
            vertices, normals, view.depth, view.normals, view.trust, view.image, view.viewmat, view.K, tolerance, sums
        )
        on_view()
    seen = sums[:, 3] > 0
    colours = np.full((len(vertices), 3), 128, np.uint8)
    if seen.any():
        colours[seen] = np.clip(np.round(sums[seen, :3] / sums[seen, 3:]), 0, 255)
        if not seen.all():
            nearest = cKDTree(vertices[seen]).query(vertices[~seen])[1]
            colours[~seen] = colours[seen][nearest]
    return colours


def vertex_normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit normals [V, 3] of a mesh's vertices, each face counting by its area; [0, -1, 0] (up) where there is no face."""
    corners = vertices[faces].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((len(vertices), 3))
    for k in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, k], across[:, axis], minlength=len(vertices))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-20, total / np.maximum(length, 1e-20), [0.0, -1.0, 0.0]).astype(np.float32)


@njit(cache=True, parallel=True)
def _collect(
    vertices: NDArray[np.float32],
    facing: NDArray[np.float32],
    depth: NDArray[np.float32],
    normals: NDArray[np.float32],
    trust: NDArray[np.float32],
    image: NDArray[np.uint8],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    tolerance: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None:
    """Add a picture's colours to `sums` [V, 4]: weighted red, green, blue, and the weight."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    for i in prange(len(vertices)):
        is_shown, a, b, _, _, z = shown_at(vertices[i], depth, normals, viewmat, K, tolerance[i])
        if not is_shown:
            continue
        u, v = np.int64(np.floor(a)), np.int64(np.floor(b))
        nx, ny, nz = normals[v, u, 0], normals[v, u, 1], normals[v, u, 2]
        ray_x, ray_y = (u + 0.5 - cx) / fx, (v + 0.5 - cy) / fy
        cosine = -(nx * ray_x + ny * ray_y + nz) / np.sqrt(ray_x * ray_x + ray_y * ray_y + 1)
        f = facing[i]
        towards = 0.0
        for k in range(3):
            towards -= f[k] * (viewmat[0, k] * ray_x + viewmat[1, k] * ray_y + viewmat[2, k])
        if towards <= 0:
            continue
        w = (cosine / (z * z)) ** 2 * trust[v, u] + 1e-12
        for k in range(3):
            sums[i, k] += w * image[v, u, k]
        sums[i, 3] += w
