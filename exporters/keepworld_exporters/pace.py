"""How fast this machine is, found by doing a little of the kind of work that exports are made of."""

from __future__ import annotations

import statistics
import time

import numpy as np
from numba import njit
from numpy.typing import NDArray

REFERENCE_S = 1.0e-3  # what the work took of one core of the machine that the costs in `estimate` were measured on
_TRIES = 15
_SIZE = (288, 512)


def pace() -> float:
    """How much longer this machine takes for the same than the one that costs were measured on: 2.0 is half as fast."""
    v, u = np.mgrid[0 : _SIZE[0], 0 : _SIZE[1]]
    depth = (4 + np.sin(u / 9) + np.cos(v / 7) + (u // 64 + v // 48) % 3).astype(np.float32)
    _bends(depth)  # compiled, if it was not
    taken = []
    for _ in range(_TRIES):
        began = time.thread_time()
        _bends(depth)
        taken.append(time.thread_time() - began)
    # The median: what others do on the machine at the same time slows work down, too.
    return statistics.median(taken) / REFERENCE_S


@njit(cache=True)
def _bends(depth: NDArray[np.float32]) -> float:
    """The mean length of the normals of a depth map's planes, one pixel after the other."""
    total = 0.0
    for v in range(1, depth.shape[0] - 1):
        for u in range(1, depth.shape[1] - 1):
            here = 1.0 / depth[v, u]
            before, after = here - 1.0 / depth[v, u - 1], 1.0 / depth[v, u + 1] - here
            above, below = here - 1.0 / depth[v - 1, u], 1.0 / depth[v + 1, u] - here
            a = before if abs(before) < abs(after) else after
            b = above if abs(above) < abs(below) else below
            total += np.sqrt(a * a + b * b + here * here)
    return total / depth.size
