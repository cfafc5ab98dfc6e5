"""What several depth maps agree on: a depth counts where other views, looked at from their own places, found the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

TOLERANCE = 0.015  # of the depth: how far two views may differ and still mean the same place
BEYOND = 0.05  # of the depth: how much further a view must see to see through a place


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Agreement:
    """What other views say of a depth map.

    Attributes:
        depth: [H, W] float32, its mean with theirs where they agree.
        votes: [H, W] uint8, how many agree.
        asked: [H, W] uint8, how many know of anything there.
        through: [H, W] uint8, how many see through the place to something behind it.
    """

    depth: NDArray[np.float32]
    votes: NDArray[np.uint8]
    asked: NDArray[np.uint8]
    through: NDArray[np.uint8]


def agree(
    depth: NDArray[np.float32],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    others: Sequence[tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]],
) -> Agreement:
    """Ask other views (depth, viewmat, K) for a depth map [H, W]; unknown depth is 0 or inf."""
    total = depth.astype(np.float64)
    votes, asked, through = (np.zeros(depth.shape, np.uint8) for _ in range(3))
    c2w = np.asarray(np.linalg.inv(viewmat), np.float64)
    for other_depth, other_viewmat, other_K in others:
        _compare(depth, c2w, K, other_depth, other_viewmat, other_K, viewmat, total, votes, asked, through)
    return Agreement(depth=(total / (votes + 1.0)).astype(np.float32), votes=votes, asked=asked, through=through)


@njit(cache=True, parallel=True)
def _compare(
    depth: NDArray[np.float32],
    c2w: NDArray[np.float64],
    K: NDArray[np.float64],
    other: NDArray[np.float32],
    other_viewmat: NDArray[np.float64],
    other_K: NDArray[np.float64],
    viewmat: NDArray[np.float64],
    total: NDArray[np.float64],
    votes: NDArray[np.uint8],
    asked: NDArray[np.uint8],
    through: NDArray[np.uint8],
) -> None:
    height, width = depth.shape
    across = other_viewmat @ c2w
    back = np.zeros(3)  # what of a place in the other's axes is depth here
    for k in range(3):
        for axis in range(3):
            back[k] += viewmat[2, axis] * other_viewmat[k, axis]
    shift = viewmat[2, 3] - (back * other_viewmat[:3, 3]).sum()
    for v in prange(height):
        for u in range(width):
            d = np.float64(depth[v, u])
            if d <= 0 or d == np.inf:
                continue
            x, y = (u + 0.5 - K[0, 2]) / K[0, 0] * d, (v + 0.5 - K[1, 2]) / K[1, 1] * d
            z = across[2, 0] * x + across[2, 1] * y + across[2, 2] * d + across[2, 3]
            if z <= 0:
                continue
            p = (
                other_K[0, 0] * (across[0, 0] * x + across[0, 1] * y + across[0, 2] * d + across[0, 3]) / z
                + other_K[0, 2]
            )
            q = (
                other_K[1, 1] * (across[1, 0] * x + across[1, 1] * y + across[1, 2] * d + across[1, 3]) / z
                + other_K[1, 2]
            )
            i, j = np.int64(np.floor(p)), np.int64(np.floor(q))
            if i < 0 or j < 0 or i >= other.shape[1] or j >= other.shape[0]:
                continue
            e = np.float64(other[j, i])
            if e <= 0 or e == np.inf:
                continue
            asked[v, u] += np.uint8(1)
            if e > (1 + BEYOND) * z:
                through[v, u] += np.uint8(1)
            if abs(e - z) > TOLERANCE * z:
                continue
            # The other's depth, carried along our ray as far as it differs: what it says our depth is.
            x, y = (p - other_K[0, 2]) / other_K[0, 0] * e, (q - other_K[1, 2]) / other_K[1, 1] * e
            total[v, u] += back[0] * x + back[1] * y + back[2] * e + shift
            votes[v, u] += np.uint8(1)
