"""The zero surface of a distance field as triangles: naive surface nets.

Source: Gibson 1998, "Constrained elastic surface nets". One vertex in every cell that the surface passes through, at the
mean of where it crosses the cell's edges; one quad across every edge it crosses. No case tables, evenly shaped faces, and
exact on planes.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.stages.tsdf import SIDE, Volume, neighbours

CELLS = SIDE**3


def extract_surface(volume: Volume) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Vertices [V, 3] and faces [F, 3], anticlockwise seen from outside, of where the field is zero."""
    around = neighbours(volume.grid.keys, volume.grid.rows, volume.blocks)
    num_blocks = len(volume.blocks)
    index = np.full((num_blocks, CELLS), -1, np.int32)
    counts = np.zeros(num_blocks, np.int64)
    _count_vertices(volume.distance, volume.weight, around, index, counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    vertices = np.empty((int(starts[-1]), 3), np.float32)
    _place_vertices(volume.distance, volume.weight, around, volume.blocks, volume.voxel, starts, index, vertices)
    _count_quads(volume.distance, volume.weight, around, index, counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    faces = np.empty((2 * int(starts[-1]), 3), np.int32)
    _place_quads(volume.distance, volume.weight, around, index, vertices, starts, faces)
    return vertices, faces


@njit(cache=True, inline="always")
def _at(around: NDArray[np.int32], row: int, x: int, y: int, z: int) -> tuple[np.int64, np.int64]:
    """The block row and cell of lattice place x, y, z in -8..15 counted from a block's corner; row -1 if there is none."""
    k = ((x + SIDE) // SIDE * 3 + (y + SIDE) // SIDE) * 3 + (z + SIDE) // SIDE
    cell = ((x & (SIDE - 1)) * SIDE + (y & (SIDE - 1))) * SIDE + (z & (SIDE - 1))
    return np.int64(around[row, k]), np.int64(cell)


@njit(cache=True, inline="always")
def _corners(
    distance: NDArray[np.float32],
    weight: NDArray[np.float32],
    around: NDArray[np.int32],
    row: int,
    cell: int,
    corners: NDArray[np.float64],
) -> bool:
    """Read a cell's eight corner distances; whether all were seen and the surface passes between them."""
    x, y, z = cell // (SIDE * SIDE), cell // SIDE % SIDE, cell % SIDE
    inside = 0
    for k in range(8):
        block, place = _at(around, row, x + (k >> 2), y + (k >> 1 & 1), z + (k & 1))
        if block < 0 or weight[block, place] <= 0:
            return False
        corners[k] = distance[block, place]
        inside += corners[k] < 0
    return 0 < inside < 8


@njit(cache=True, parallel=True)
def _count_vertices(
    distance: NDArray[np.float32],
    weight: NDArray[np.float32],
    around: NDArray[np.int32],
    index: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    for row in prange(len(around)):
        corners = np.empty(8)
        count = 0
        for cell in range(CELLS):
            if weight[row, cell] > 0 and _corners(distance, weight, around, row, cell, corners):
                index[row, cell] = count  # within its block, until `_place_vertices`
                count += 1
        counts[row] = count


@njit(cache=True, parallel=True)
def _place_vertices(
    distance: NDArray[np.float32],
    weight: NDArray[np.float32],
    around: NDArray[np.int32],
    blocks: NDArray[np.int32],
    voxel: float,
    starts: NDArray[np.int64],
    index: NDArray[np.int32],
    vertices: NDArray[np.float32],
) -> None:
    for row in prange(len(around)):
        corners = np.empty(8)
        for cell in range(CELLS):
            if index[row, cell] < 0:
                continue
            _corners(distance, weight, around, row, cell, corners)
            total = np.zeros(3)
            crossings = 0
            for a in range(8):
                for axis in range(3):
                    bit = 4 >> axis
                    if a & bit or (corners[a] < 0) == (corners[a | bit] < 0):
                        continue
                    total[0] += a >> 2
                    total[1] += a >> 1 & 1
                    total[2] += a & 1
                    total[axis] += corners[a] / (corners[a] - corners[a | bit])
                    crossings += 1
            vertex = starts[row] + index[row, cell]
            index[row, cell] = vertex
            vertices[vertex, 0] = (blocks[row, 0] * SIDE + cell // (SIDE * SIDE) + total[0] / crossings) * voxel
            vertices[vertex, 1] = (blocks[row, 1] * SIDE + cell // SIDE % SIDE + total[1] / crossings) * voxel
            vertices[vertex, 2] = (blocks[row, 2] * SIDE + cell % SIDE + total[2] / crossings) * voxel


@njit(cache=True, inline="always")
def _quad(
    distance: NDArray[np.float32],
    weight: NDArray[np.float32],
    around: NDArray[np.int32],
    index: NDArray[np.int32],
    row: int,
    cell: int,
    axis: int,
    quad: NDArray[np.int64],
) -> bool:
    """The four vertices round the lattice edge that starts at a cell and runs along `axis`; whether there is a face."""
    x, y, z = cell // (SIDE * SIDE), cell // SIDE % SIDE, cell % SIDE
    block, place = _at(around, row, x + (axis == 0), y + (axis == 1), z + (axis == 2))
    if block < 0 or weight[row, cell] <= 0 or weight[block, place] <= 0:
        return False
    starts_inside = distance[row, cell] < 0
    if starts_inside == (distance[block, place] < 0):
        return False
    for k in range(4):
        b = -1 if k in (1, 2) else 0  # round the edge: (0, 0), (-1, 0), (-1, -1), (0, -1) along the two other axes
        c = -1 if k in (2, 3) else 0
        if axis == 0:
            block, place = _at(around, row, x, y + b, z + c)
        elif axis == 1:
            block, place = _at(around, row, x + c, y, z + b)
        else:
            block, place = _at(around, row, x + b, y + c, z)
        if block < 0 or index[block, place] < 0:
            return False
        quad[k if starts_inside else 3 - k] = index[block, place]
    return True


@njit(cache=True, parallel=True)
def _count_quads(
    distance: NDArray[np.float32],
    weight: NDArray[np.float32],
    around: NDArray[np.int32],
    index: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    for row in prange(len(around)):
        quad = np.empty(4, np.int64)
        count = 0
        for cell in range(CELLS):
            for axis in range(3):
                count += _quad(distance, weight, around, index, row, cell, axis, quad)
        counts[row] = count


@njit(cache=True, parallel=True)
def _place_quads(
    distance: NDArray[np.float32],
    weight: NDArray[np.float32],
    around: NDArray[np.int32],
    index: NDArray[np.int32],
    vertices: NDArray[np.float32],
    starts: NDArray[np.int64],
    faces: NDArray[np.int32],
) -> None:
    """Write two triangles a quad, split along the shorter diagonal."""
    for row in prange(len(around)):
        quad = np.empty(4, np.int64)
        face = 2 * starts[row]
        for cell in range(CELLS):
            for axis in range(3):
                if not _quad(distance, weight, around, index, row, cell, axis, quad):
                    continue
                first, second = 0.0, 0.0
                for k in range(3):
                    first += (vertices[quad[0], k] - vertices[quad[2], k]) ** 2
                    second += (vertices[quad[1], k] - vertices[quad[3], k]) ** 2
                turn = 0 if first <= second else 1
                for k in range(3):
                    faces[face, k] = quad[(turn + k) % 4]
                    faces[face + 1, k] = quad[(turn + (k + 2)) % 4]
                face += 2
