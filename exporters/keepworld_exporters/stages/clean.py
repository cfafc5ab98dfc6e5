"""A raw surface made fit for use: crumbs removed, and no more triangles than it needs."""

from __future__ import annotations

import fast_simplification
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

CRUMB_FACES = 16  # a piece of fewer triangles than this is a crumb: four cells by two


def drop_crumbs(
    vertices: NDArray[np.float32], faces: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Leave out pieces of fewer than `CRUMB_FACES` triangles, from vertices [V, 3] and faces [F, 3]."""
    if not len(faces):
        return vertices, faces
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    links = coo_array((np.ones(len(edges), np.bool_), (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2)
    _, piece = connected_components(links, directed=False)
    sizes = np.bincount(piece[faces[:, 0]])
    return compact(vertices, faces[sizes[piece[faces[:, 0]]] >= CRUMB_FACES])


def decimate(
    vertices: NDArray[np.float32], faces: NDArray[np.int32], max_faces: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Merge triangles, flat places first, until at most about `max_faces` are left (quadric error metric)."""
    if len(faces) <= max_faces:
        return vertices, faces
    # Coordinates are made small first: the simplifier counts in single precision.
    middle = vertices.mean(0)
    fewer, merged = fast_simplification.simplify(
        np.ascontiguousarray(vertices - middle), faces, target_reduction=1 - max_faces / len(faces), agg=5
    )
    return compact((np.asarray(fewer) + middle).astype(np.float32), np.asarray(merged, np.int32))


def compact(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Leave out vertices that no face uses, and faces that have no area."""
    corners = vertices[faces].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    faces = faces[(across**2).sum(1) > 0]
    used = np.zeros(len(vertices), np.bool_)
    used[faces] = True
    renumbered = np.cumsum(used, dtype=np.int64).astype(np.int32) - 1
    return vertices[used], renumbered[faces]


def weld(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Make vertices at one place one again, as they were before a surface was cut for a texture."""
    places, index = np.unique(vertices, axis=0, return_inverse=True)
    return compact(places, index.reshape(-1)[faces].astype(np.int32))
