"""A sparse truncated signed distance field: what many depth maps agree on, in cells near the surface only.

Source: Curless and Levoy 1996, "A volumetric method for building complex models from range images". Departs from it: the
distance is measured across the plane seen at a pixel, not along the ray, which is what lets ground seen at a grazing
angle come out whole; and cells are kept in blocks of 8 x 8 x 8 that a hash table finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from keepworld.errors import ExportError
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.stages.depth import Resolution, View
from keepworld_exporters.stages.hashgrid import LIMIT, HashGrid, find, find_or_add, pack

SIDE = 8  # cells along a block's edge
BLOCK_BYTES = SIDE**3 * (4 + 4 + 4) + 27 * 4 + 64  # distance, weight, vertex index, neighbours, the table's share
TRUNCATION = 3.0  # cells on either side of the surface in which distance is kept
BEHIND = 12.0  # cells behind the surface, along the ray, beyond which a pixel says nothing, unless it is longer itself
GRAZING = 0.01  # cosine of the flattest angle that is still told from none
MAX_STEPS = 32  # places along a pixel that are looked at for blocks


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Volume:
    """A signed distance field on blocks of cells; positive outside.

    Attributes:
        voxel: the edge of a cell.
        grid: block coordinates -> row.
        blocks: [B, 3] int32, block coordinates; a block's first cell corner is at ``blocks * 8 * voxel``.
        distance: [B, 512] float32, at cell corners, in the capture's units.
        weight: [B, 512] float32, 0 where nothing was seen.
    """

    voxel: float
    grid: HashGrid
    blocks: NDArray[np.int32]
    distance: NDArray[np.float32]
    weight: NDArray[np.float32]


def build_volume(
    views: Callable[[], Iterable[View]], resolution: Resolution, *, budget_bytes: int, on_view: Callable[[], None]
) -> Volume:
    """Fuse the views into a field.

    The views are gone through twice: first to find which blocks are needed, then to fill them. So what the field will cost
    is known before it is made.

    Args:
        views: gives the views from the start each time it is called.
        resolution: cell size and range.
        budget_bytes: how much memory the field may take.
        on_view: called once a view and pass.

    Raises:
        ExportError: the field would not fit the budget; the message names a cell size that would.
    """
    grid, blocks, touched = _find_blocks(views(), resolution, budget_bytes // BLOCK_BYTES, on_view)
    count = len(grid)
    volume = Volume(
        voxel=resolution.voxel,
        grid=grid,
        blocks=blocks[:count].copy(),
        distance=np.zeros((count, SIDE**3), np.float32),
        weight=np.zeros((count, SIDE**3), np.float32),
    )
    for view, rows in zip(views(), touched, strict=True):
        _integrate(
            view.depth, view.normals, view.trust, view.viewmat, view.K, resolution.voxel, resolution.max_depth,
            rows, volume.blocks, volume.distance, volume.weight,
        )  # fmt: skip
        on_view()
    return volume


def blocks_needed(views: Sequence[View], resolution: Resolution, *, budget_bytes: int) -> int:
    """How many blocks a field of these views has.

    Raises:
        ExportError: more than the budget.
    """
    return len(_find_blocks(views, resolution, budget_bytes // BLOCK_BYTES, lambda: None)[0])


def _find_blocks(
    views: Iterable[View], resolution: Resolution, limit: int, on_view: Callable[[], None]
) -> tuple[HashGrid, NDArray[np.int32], list[NDArray[np.int32]]]:
    """The blocks near the surface: the grid of them, where they are [B, 3] (and room for more), and which each view needs."""
    grid = HashGrid()
    blocks, stamps = np.zeros((1 << 12, 3), np.int32), np.full(1 << 12, -1, np.int32)
    touched = []
    for number, view in enumerate(views):
        found = -1
        while found < 0:
            if len(grid) == len(blocks):
                blocks, stamps = np.concatenate([blocks, blocks * 0]), np.concatenate([stamps, stamps * 0 - 1])
            grid.reserve(len(blocks) - len(grid))
            found = _touch(
                view.depth, view.normals, view.viewmat, view.K, resolution.voxel, resolution.max_depth,
                grid.keys, grid.rows, grid.count, blocks, stamps, number,
            )  # fmt: skip
            if len(grid) > limit:
                coarser = resolution.voxel * max(1.25, 1.1 * (len(grid) / limit) ** 0.5)
                raise ExportError(
                    f"a surface with cells of {resolution.voxel:g} out to {resolution.max_depth:g} needs more than the "
                    f"{limit * BLOCK_BYTES / 2**30:.1f} GB it may use; try --voxel {coarser:.2g} or a smaller --max-depth"
                )
        touched.append(np.flatnonzero(stamps == number).astype(np.int32))
        on_view()
    return grid, blocks, touched


@njit(cache=True, inline="always")
def _stretch(footprint: float, slant: float, facing: float) -> float:
    """How long a pixel as wide as `footprint` lies on its plane, along an axis in which the plane's normal has `slant`."""
    return footprint * np.sqrt(1 + (slant / max(facing, GRAZING)) ** 2)


@njit(cache=True)
def _touch(
    depth: NDArray[np.float32],
    normals: NDArray[np.float32],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    voxel: float,
    max_depth: float,
    keys: NDArray[np.int64],
    rows: NDArray[np.int32],
    count: NDArray[np.int64],
    blocks: NDArray[np.int32],
    stamps: NDArray[np.int32],
    stamp: int,
) -> int:
    """Stamp the blocks near the surface of a depth map, making those that are new; -1 if there was no room for one."""
    height, width = depth.shape
    R, t = viewmat[:3, :3], viewmat[:3, 3]
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    edge = SIDE * voxel
    reach = TRUNCATION * voxel
    for v in range(height):
        for u in range(width):
            d = np.float64(depth[v, u])
            if d <= 0 or d > max_depth:
                continue
            nx, ny, nz = normals[v, u, 0], normals[v, u, 1], normals[v, u, 2]
            ray_x, ray_y = (u + 0.5 - cx) / fx, (v + 0.5 - cy) / fy
            facing = -(nx * ray_x + ny * ray_y + nz)
            wide, tall = _stretch(d / fx, nx, facing), _stretch(d / fy, ny, facing)
            across, down = min(MAX_STEPS, 1 + int(2 * wide / edge)), min(MAX_STEPS, 1 + int(2 * tall / edge))
            stride = max(1, int(edge / 4 / max(wide, tall, 1e-9)))
            if stride > 1 and (u % min(stride, 8) or v % min(stride, 8)):
                continue
            behind = max(BEHIND * voxel, max(wide, tall))
            for i in range(across * down):
                du, dv = (i % across + 0.5) / across - 0.5, (i // across + 0.5) / down - 0.5
                rx, ry = ray_x + du / fx, ray_y + dv / fy
                # The plane n . p = -facing d, met by the ray (rx, ry, 1)
                along = -(nx * rx + ny * ry + nz)
                if along < 0.02 * facing or along <= 0:
                    continue
                z = min(facing * d / along, d + behind)
                for side in range(-1, 2):
                    px = rx * z + side * reach * nx - t[0]
                    py = ry * z + side * reach * ny - t[1]
                    pz = z + side * reach * nz - t[2]
                    bx = np.int64(np.floor((R[0, 0] * px + R[1, 0] * py + R[2, 0] * pz) / edge))
                    by = np.int64(np.floor((R[0, 1] * px + R[1, 1] * py + R[2, 1] * pz) / edge))
                    bz = np.int64(np.floor((R[0, 2] * px + R[1, 2] * py + R[2, 2] * pz) / edge))
                    if max(abs(bx), abs(by), abs(bz)) >= LIMIT - 2:
                        continue
                    if count[0] >= blocks.shape[0]:
                        return -1
                    row = find_or_add(keys, rows, count, pack(bx, by, bz, 0))
                    blocks[row, 0], blocks[row, 1], blocks[row, 2] = bx, by, bz
                    stamps[row] = stamp
    return 0


@njit(cache=True, parallel=True)
def _integrate(
    depth: NDArray[np.float32],
    normals: NDArray[np.float32],
    trust: NDArray[np.float32],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    voxel: float,
    max_depth: float,
    touched: NDArray[np.int32],
    blocks: NDArray[np.int32],
    distance: NDArray[np.float32],
    weight: NDArray[np.float32],
) -> None:
    """Average a view's distances into the blocks it touched."""
    height, width = depth.shape
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    truncation = TRUNCATION * voxel
    behind = BEHIND * voxel
    for k in prange(touched.size):
        row = touched[k]
        for cell in range(SIDE * SIDE * SIDE):
            wx = (blocks[row, 0] * SIDE + cell // (SIDE * SIDE)) * voxel
            wy = (blocks[row, 1] * SIDE + cell // SIDE % SIDE) * voxel
            wz = (blocks[row, 2] * SIDE + cell % SIDE) * voxel
            z = viewmat[2, 0] * wx + viewmat[2, 1] * wy + viewmat[2, 2] * wz + viewmat[2, 3]
            if z < 1e-3:
                continue
            x = viewmat[0, 0] * wx + viewmat[0, 1] * wy + viewmat[0, 2] * wz + viewmat[0, 3]
            y = viewmat[1, 0] * wx + viewmat[1, 1] * wy + viewmat[1, 2] * wz + viewmat[1, 3]
            u, v = np.int64(np.floor(fx * x / z + cx)), np.int64(np.floor(fy * y / z + cy))
            if u < 0 or v < 0 or u >= width or v >= height:
                continue
            d = np.float64(depth[v, u])
            if d == 0 or z > max_depth:
                continue
            vote = np.float64(trust[v, u]) / (z * z)
            if d == np.inf:
                away = truncation
            else:
                nx, ny, nz = normals[v, u, 0], normals[v, u, 1], normals[v, u, 2]
                qx, qy = (u + 0.5 - cx) / fx * d, (v + 0.5 - cy) / fy * d
                if z > d + behind:
                    # Ground seen at a grazing angle lies far behind its pixel's middle, and still in the pixel.
                    facing = -(nx * qx + ny * qy + nz * d) / d
                    if z > d + max(_stretch(d / fx, nx, facing), _stretch(d / fy, ny, facing)):
                        continue
                away = nx * (x - qx) + ny * (y - qy) + nz * (z - d)
                if away < -truncation:
                    continue
                # Deep behind the surface the other side of something thin may be: it counts less and less.
                if away < -voxel:
                    vote *= max(0.02, (away + truncation) / (truncation - voxel))
                away = min(away, truncation)
            old = np.float64(weight[row, cell])
            new = old + vote
            distance[row, cell] = (distance[row, cell] * old + away * vote) / new
            weight[row, cell] = new


@njit(cache=True, parallel=True)
def neighbours(keys: NDArray[np.int64], rows: NDArray[np.int32], blocks: NDArray[np.int32]) -> NDArray[np.int32]:
    """The rows of the 27 blocks around each of `blocks` [B, 3] and itself, [B, 27], -1 where there is none; z fastest."""
    around = np.empty((len(blocks), 27), np.int32)
    for row in prange(len(blocks)):
        for k in range(27):
            x, y, z = blocks[row, 0] + k // 9 - 1, blocks[row, 1] + k // 3 % 3 - 1, blocks[row, 2] + k % 3 - 1
            around[row, k] = find(keys, rows, pack(np.int64(x), np.int64(y), np.int64(z), 0))
    return around
