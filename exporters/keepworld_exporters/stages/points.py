"""The point cloud: every pixel of the lasting world, averaged in cells that grow with the distance they were seen from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from keepworld.camera import invert_rigid
from keepworld.errors import ExportError
from numba import njit
from numpy.typing import NDArray

from keepworld_exporters.scene import Points
from keepworld_exporters.stages.depth import LOW_TRUST, View
from keepworld_exporters.stages.hashgrid import LIMIT, HashGrid, find, find_or_add, pack
from keepworld_exporters.stages.isolated import isolated

MAX_LEVEL = 12
FINER = 1.5  # how much finer the cloud's finest cells are than a mesh's
SHARPNESS = 1.5  # cells are this many pixel footprints wide, where that is more than the finest cell
_SUMS = 11  # weight; position; normal; colour; and the best trust that any pixel had
_WEIGHT, _POSITION, _NORMAL, _COLOUR, _TRUST = 0, 1, 4, 7, 10


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cloud:
    """A point cloud with the size of the cell each point stands for: `sizes` [N] float32, the capture's units."""

    points: Points
    sizes: NDArray[np.float32]


def gather_points(
    views: Callable[[], Iterable[View]], voxel: float, *, max_points: int, on_view: Callable[[], None]
) -> Cloud:
    """Make a cloud of at most about `max_points`, in coarser cells than `voxel` if it must be.

    Args:
        views: gives the views from the start each time it is called.
        voxel: the finest cell, the capture's units.
        max_points: how many points there may be.
        on_view: called once a view.

    Raises:
        ExportError: not even coarse cells would fit.
    """
    fall = (
        1.0  # the number's power in the size of the finest cells; less where most is far away, in larger cells anyhow
    )
    before: tuple[float, int] | None = None
    for _ in range(8):
        cloud = _gather_at(views(), voxel, 8 * max_points, on_view)
        count = 0 if cloud is None else len(cloud.points.positions)
        if cloud is not None and count <= max_points:
            return _without_isolated(cloud)
        if before is not None and count:
            fall = min(2.0, max(0.25, math.log(before[1] / count) / math.log(voxel / before[0])))
        before = (voxel, count) if count else None
        voxel *= 2.0 if cloud is None else (1.05 * count / max_points) ** (1 / fall)
    raise ExportError(
        f"the capture is too large for a cloud of {max_points} points; try a larger --voxel than {voxel:.2g}"
    )


def _without_isolated(cloud: Cloud) -> Cloud:
    return part_of(cloud, ~isolated(cloud.points.positions, cloud.sizes, cloud.points.confidence))


def part_of(cloud: Cloud, chosen: NDArray[np.bool_] | NDArray[np.integer]) -> Cloud:
    """The points of a cloud that are chosen, by a mask or by their places."""
    points = Points(**{field.name: getattr(cloud.points, field.name)[chosen] for field in fields(Points)})
    return Cloud(points=points, sizes=cloud.sizes[chosen])


def count_points(views: Sequence[View], voxel: float) -> int:
    """How many points these views make."""
    cloud = _gather_at(views, voxel, 1 << 40, lambda: None)
    assert cloud is not None
    return len(cloud.points.positions)


def _gather_at(views: Iterable[View], voxel: float, max_cells: int, on_view: Callable[[], None]) -> Cloud | None:
    """Average the pixels of all views in cells; None if more than `max_cells` would be needed.

    A cell is `voxel` wide, doubled until it is no smaller than what a pixel covers at that distance: the landscape far
    away costs few points. Where a place was seen from near as well, the coarse point gives way to the fine ones.
    """
    grid = HashGrid()
    sums = np.zeros((1 << 16, _SUMS))
    cells = np.zeros((1 << 16, 4), np.int32)
    seen, last = np.zeros(1 << 16, np.int32), np.full(1 << 16, -1, np.int32)
    for number, view in enumerate(views):
        room = len(grid) + int(np.count_nonzero(view.depth))
        if room > len(sums):
            more = max(room, 2 * len(sums)) - len(sums)
            sums, cells = np.pad(sums, ((0, more), (0, 0))), np.pad(cells, ((0, more), (0, 0)))
            seen, last = np.pad(seen, (0, more)), np.pad(last, (0, more), constant_values=-1)
        grid.reserve(len(sums) - len(grid))
        c2w = invert_rigid(view.viewmat)
        _gather(
            view.depth, view.normals, view.trust, view.image, c2w, view.K, voxel, number,
            grid.keys, grid.rows, grid.count, sums, cells, seen, last,
        )  # fmt: skip
        if len(grid) > max_cells:
            return None
        on_view()
    count = len(grid)
    sums, cells, seen = sums[:count], cells[:count], seen[:count]
    # A cell that only saw edges holds a mixture of two surfaces; keep it only where it was seen again and again.
    keep = _uncovered(grid.keys, grid.rows, cells) & ((sums[:, _TRUST] > LOW_TRUST) | (seen >= 3))
    sums, seen = sums[keep], seen[keep]
    mean = sums[:, _POSITION:_TRUST] / sums[:, _WEIGHT, None]
    normals = mean[:, 3:6] / np.maximum(np.linalg.norm(mean[:, 3:6], axis=1, keepdims=True), 1e-9)
    points = Points(
        positions=mean[:, :3].astype(np.float32),
        normals=normals.astype(np.float32),
        colours=np.clip(np.round(mean[:, 6:9]), 0, 255).astype(np.uint8),
        confidence=np.minimum(seen, 65535).astype(np.uint16),
    )
    return Cloud(points=points, sizes=(voxel * np.exp2(cells[keep, 3])).astype(np.float32))


@njit(cache=True)
def _gather(
    depth: NDArray[np.float32],
    normals: NDArray[np.float32],
    trust: NDArray[np.float32],
    image: NDArray[np.uint8],
    c2w: NDArray[np.float64],
    K: NDArray[np.float64],
    voxel: float,
    number: int,
    keys: NDArray[np.int64],
    rows: NDArray[np.int32],
    count: NDArray[np.int64],
    sums: NDArray[np.float64],
    cells: NDArray[np.int32],
    seen: NDArray[np.int32],
    last: NDArray[np.int32],
) -> None:
    height, width = depth.shape
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    for v in range(height):
        for u in range(width):
            d = np.float64(depth[v, u])
            if d <= 0 or d == np.inf:
                continue
            level = 0
            size = voxel
            while size < SHARPNESS * d / fx and level < MAX_LEVEL:
                size *= 2
                level += 1
            x, y = (u + 0.5 - cx) / fx * d, (v + 0.5 - cy) / fy * d
            px = c2w[0, 0] * x + c2w[0, 1] * y + c2w[0, 2] * d + c2w[0, 3]
            py = c2w[1, 0] * x + c2w[1, 1] * y + c2w[1, 2] * d + c2w[1, 3]
            pz = c2w[2, 0] * x + c2w[2, 1] * y + c2w[2, 2] * d + c2w[2, 3]
            ix, iy, iz = np.int64(np.floor(px / size)), np.int64(np.floor(py / size)), np.int64(np.floor(pz / size))
            if max(abs(ix), abs(iy), abs(iz)) >= LIMIT - 2:
                continue
            row = find_or_add(keys, rows, count, pack(ix, iy, iz, level))
            w = np.float64(trust[v, u]) / (d * d)
            nx, ny, nz = normals[v, u, 0], normals[v, u, 1], normals[v, u, 2]
            sums[row, 0] += w
            sums[row, 1] += w * px
            sums[row, 2] += w * py
            sums[row, 3] += w * pz
            for k in range(3):
                sums[row, 4 + k] += w * (c2w[k, 0] * nx + c2w[k, 1] * ny + c2w[k, 2] * nz)
                sums[row, 7 + k] += w * image[v, u, k]
            sums[row, 10] = max(sums[row, 10], np.float64(trust[v, u]))
            cells[row, 0], cells[row, 1], cells[row, 2], cells[row, 3] = ix, iy, iz, level
            if last[row] != number:
                last[row] = number
                seen[row] += 1


@njit(cache=True)
def _uncovered(keys: NDArray[np.int64], rows: NDArray[np.int32], cells: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which cells [N, 4] (x, y, z, level) hold no finer cell."""
    keep = np.ones(len(cells), np.bool_)
    for row in range(len(cells)):
        x, y, z = np.int64(cells[row, 0]), np.int64(cells[row, 1]), np.int64(cells[row, 2])
        for level in range(cells[row, 3] + 1, MAX_LEVEL + 1):
            x, y, z = x >> 1, y >> 1, z >> 1
            coarse = find(keys, rows, pack(x, y, z, level))
            if coarse >= 0:
                keep[coarse] = False
    return keep
