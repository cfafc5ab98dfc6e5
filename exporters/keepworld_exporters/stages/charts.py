"""A surface cut into charts: pieces flat enough to be looked at from one side without hiding anything of themselves."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float64)
ROUNDS = 6  # of asking the neighbours
AGREE = 0.45  # what a neighbour on a side counts, compared to facing it
STEEPEST = 0.17  # the least cosine that a face may have with the direction its chart is seen from
TILE = 0.25  # of the picture's side: larger charts are cut, because small ones are packed more tightly
TRIES = 4  # of taking out what hides behind other parts of its chart


def cut(
    vertices: NDArray[np.float64], faces: NDArray[np.int32], side: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cut a surface into charts and lay each flat.

    Args:
        vertices: [V, 3], in texels.
        faces: [F, 3].
        side: of the picture, texels, about.

    Returns:
        Each face's chart [F], from 0 on, and where in its chart each of its corners lies [F, 3, 2], texels, to the right and
        down from the chart's upper left corner.
    """
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(across, axis=1)
    normals = across / np.maximum(areas, 1e-30)[:, None]
    pairs = _neighbours(faces)
    chart = _pieces(_facing(normals, pairs), pairs)
    flat = _flatten(corners, normals, areas, chart)
    tiles = np.floor(flat.mean(1) / (TILE * side)).astype(np.int64)
    chart = _pieces(_numbered(np.column_stack([chart, tiles])), pairs)
    for _ in range(TRIES):
        flat = _flatten(corners, normals, areas, chart)
        hidden = _hidden(flat, chart, np.argsort(chart, kind="stable"))
        if not hidden.any():
            return chart, flat
        chart = _pieces(2 * chart + hidden, pairs)
    # What is left are a few crossed faces: each lies alone.
    chart[hidden] = chart.max() + 1 + np.arange(hidden.sum())
    chart = _numbered(chart[:, None])
    return chart, _flatten(corners, normals, areas, chart)


def _neighbours(faces: NDArray[np.int32]) -> NDArray[np.int64]:
    """The pairs of faces [N, 2] that share an edge which no third one has."""
    edges = np.sort(np.concatenate([faces[:, :2], faces[:, 1:], faces[:, ::2]]).astype(np.int64), axis=1)
    owner = np.tile(np.arange(len(faces)), 3)
    key = edges[:, 0] * (int(edges.max()) + 1) + edges[:, 1]
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(key[order]) > 0]))
    twice = starts[np.diff(np.concatenate([starts, [len(order)]])) == 2]
    return np.column_stack([owner[order[twice]], owner[order[twice + 1]]])


def _facing(normals: NDArray[np.float64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of `SIDES` each face is seen from: the one it faces, unless its neighbours are seen from another it faces too."""
    straight = normals @ SIDES.T
    seen_from = straight.argmax(1)
    for _ in range(ROUNDS):
        votes = np.zeros_like(straight)
        np.add.at(votes, (pairs[:, 0], seen_from[pairs[:, 1]]), AGREE)
        np.add.at(votes, (pairs[:, 1], seen_from[pairs[:, 0]]), AGREE)
        seen_from = np.where(straight > 2 * STEEPEST, straight + votes, straight - 9).argmax(1)
    return seen_from


def _pieces(kinds: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the connected pieces [F] of faces of one kind [F]."""
    alike = pairs[kinds[pairs[:, 0]] == kinds[pairs[:, 1]]]
    links = coo_array((np.ones(len(alike), np.bool_), (alike[:, 0], alike[:, 1])), shape=(len(kinds),) * 2)
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


def _numbered(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _flatten(
    corners: NDArray[np.float64], normals: NDArray[np.float64], areas: NDArray[np.float64], chart: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Look at each chart along its mean normal, or where that hides a face of it the axis next to it: [F, 3, 2]."""
    count = int(chart.max()) + 1
    mean = np.zeros((count, 3))
    for axis in range(3):
        mean[:, axis] = np.bincount(chart, normals[:, axis] * areas, minlength=count)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-30)
    worst = np.full(count, 1.0)
    np.minimum.at(worst, chart, (normals * mean[chart]).sum(1))
    mean[worst < STEEPEST] = SIDES[(mean @ SIDES.T).argmax(1)][worst < STEEPEST]
    # The picture's axes: as upright as the chart allows, or walls would be stored lying down.
    upright = np.where(np.abs(mean[:, 1:2]) < 0.9, [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]])
    right = np.cross(upright, mean)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(mean, right)
    flat = np.stack([(corners * axis[chart][:, None]).sum(-1) for axis in (-right, down)], -1)
    low = np.full((count, 2), np.inf)
    np.minimum.at(low, chart, flat.min(1))
    return flat - low[chart][:, None]


@njit(cache=True)
def _hidden(flat: NDArray[np.float64], chart: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which faces [F] want the middle of a texel that another face of their chart has already."""
    hidden = np.zeros(len(flat), np.bool_)
    first = 0
    while first < len(order):
        last = first
        width, height = 0.0, 0.0
        while last < len(order) and chart[order[last]] == chart[order[first]]:
            for k in range(3):
                width, height = max(width, flat[order[last], k, 0]), max(height, flat[order[last], k, 1])
            last += 1
        taken = np.zeros((int(height) + 2, int(width) + 2), np.bool_)
        for place in range(first, last):
            hidden[order[place]] = _claim(flat[order[place]], taken)
        first = last
    return hidden


@njit(cache=True)
def _claim(corners: NDArray[np.float64], taken: NDArray[np.bool_]) -> bool:
    """Take the texels whose middles lie within a triangle, if nobody has them; whether somebody had."""
    (ui, vi), (uj, vj), (uk, vk) = corners[0], corners[1], corners[2]
    area = (uj - ui) * (vk - vi) - (uk - ui) * (vj - vi)
    if area == 0:
        return False
    left, right = max(0, int(min(ui, uj, uk) - 0.5)), int(max(ui, uj, uk) + 0.5)
    top, bottom = max(0, int(min(vi, vj, vk) - 0.5)), int(max(vi, vj, vk) + 0.5)
    for claim in range(2):
        for v in range(top, min(bottom, taken.shape[0] - 1) + 1):
            for u in range(left, min(right, taken.shape[1] - 1) + 1):
                du, dv = u + 0.5 - ui, v + 0.5 - vi
                b = (du * (vk - vi) - (uk - ui) * dv) / area
                c = ((uj - ui) * dv - du * (vj - vi)) / area
                if b < 1e-9 or c < 1e-9 or b + c > 1 - 1e-9:
                    continue
                if claim:
                    taken[v, u] = True
                elif taken[v, u]:
                    return True
    return False
