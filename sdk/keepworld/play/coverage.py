"""From how many sides each place of a walk has been seen: what a reconstruction needs to know, seen from above.

The ground is cut into square cells. A camera sees the cells within its horizontal field of view and reach, and each of them
from one of `SECTORS` directions. What stands in between is not known here: a cell behind a wall counts as seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

SECTORS = 12
ENOUGH = 3  # directions: two rays meet in a point, a third one tells whether they were right
MAX_CELLS = 40_000
_STEEPEST = math.radians(60)  # looking further up or down than this says nothing of what lies ahead


class Coverage:
    """The cells seen so far.

    Args:
        fov_x: horizontal field of view, radians.
        cell: edge of a cell, the world's units.
        reach: how far a camera sees, the world's units.
    """

    def __init__(self, *, fov_x: float, cell: float, reach: float) -> None:
        self._half_fov = fov_x / 2
        self.cell = cell
        self._reach = reach
        steps = np.arange(-math.ceil(reach / cell), math.ceil(reach / cell) + 1)
        self._around = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
        self._seen: dict[tuple[int, int], int] = {}

    @property
    def cells(self) -> Mapping[tuple[int, int], int]:
        """(column along x, row along z) of each cell seen -> a bit for each direction it was seen from."""
        return MappingProxyType(self._seen)

    @property
    def share(self) -> float:
        """How much of what was seen was seen from `ENOUGH` directions, in [0, 1]."""
        if not self._seen:
            return 0.0
        return sum(bits.bit_count() >= ENOUGH for bits in self._seen.values()) / len(self._seen)

    def see(self, c2w: NDArray[np.float64]) -> dict[tuple[int, int], int]:
        """Look from a camera, c2w [4, 4] in OpenCV axes; gives the cells that this changed, as in `cells`."""
        ahead = c2w[[0, 2], 2]
        if np.linalg.norm(ahead) < math.cos(_STEEPEST):
            return {}
        centre = c2w[[0, 2], 3]
        cells = np.floor(centre / self.cell).astype(np.int64) + self._around
        rays = (cells + 0.5) * self.cell - centre
        distance = np.linalg.norm(rays, axis=1)
        along = rays @ (ahead / np.linalg.norm(ahead))
        is_seen = (distance > 0) & (distance <= self._reach) & (along >= np.cos(self._half_fov) * distance)
        turns = np.arctan2(rays[is_seen, 0], rays[is_seen, 1]) / (2 * np.pi) % 1.0
        sectors = np.minimum((turns * SECTORS).astype(int), SECTORS - 1)
        changed = {}
        for (column, row), sector in zip(cells[is_seen].tolist(), sectors.tolist(), strict=True):
            before = self._seen.get((column, row), 0)
            bits = before | 1 << sector
            if bits != before and (before or len(self._seen) < MAX_CELLS):
                self._seen[column, row] = changed[column, row] = bits
        return changed
