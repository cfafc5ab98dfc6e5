"""Depth from pictures alone: planes are swept through the world, and at each pixel the one on which the pictures agree wins.

Source: Collins 1996, "A space-sweep approach to true multi-image matching", with zero-mean normalised cross-correlation as
the measure of agreement, and the aggregation along paths of Hirschmueller 2008, "Stereo processing by semiglobal matching
and mutual information". Departs from the latter: four paths, not eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

RADIUS = 3  # of the window in which pictures are compared, pixels
FLAT = np.float32(1e-5)  # variance of brightness in [0, 1] below which a window hardly says anything
UNSEEN = np.uint8(90)  # cost of a plane that no neighbour shows: worse than agreement, better than disagreement
STEP_COST, JUMP_COST = 5, 45  # what a change of one plane, and of more, costs along a path


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """A picture to compare with others.

    Attributes:
        grey: [H, W] float32 brightness in [0, 1].
        viewmat: [4, 4] world to camera, float64.
        K: [3, 3] intrinsics, float64.
    """

    grey: NDArray[np.float32]
    viewmat: NDArray[np.float64]
    K: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Swept:
    """What a sweep found at each pixel of one picture.

    Attributes:
        inverse: [H, W] float32, 1 / depth; 0 is infinitely far.
        agreement: [H, W] float32 in [-1, 1], the correlation on the plane that won.
    """

    inverse: NDArray[np.float32]
    agreement: NDArray[np.float32]


def sweep(reference: Picture, neighbours: Sequence[Picture], inverse_depths: NDArray[np.float64]) -> Swept:
    """Find the depth of a picture from its neighbours.

    Args:
        reference: the picture whose depth is wanted.
        neighbours: at least one, of the same size.
        inverse_depths: [D] the planes, 1 / depth, at least 3, ascending and evenly spaced.
    """
    cost = matching_cost(reference, neighbours, inverse_depths)
    total = np.zeros(cost.shape, np.uint16)
    _along_rows(cost, total, STEP_COST, JUMP_COST)
    _along_columns(cost, total, STEP_COST, JUMP_COST)
    place, lowest = _winners(cost, total)
    step = inverse_depths[1] - inverse_depths[0]
    inverse = np.maximum(inverse_depths[0] + step * place, 0).astype(np.float32)
    return Swept(inverse=inverse, agreement=np.float32(1) - lowest / np.float32(127))


def matching_cost(
    reference: Picture, neighbours: Sequence[Picture], inverse_depths: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """How badly the pictures agree at each pixel on each plane, [H, W, D]: 0 perfectly, 127 not at all.

    Of several neighbours the better half counts: what one does not see, because something stands before it, another may.
    """
    greys = np.stack([neighbour.grey for neighbour in neighbours])
    cost = _plane_costs(reference.grey, greys, homographies(reference, neighbours, inverse_depths), RADIUS)
    return np.ascontiguousarray(cost.transpose(1, 2, 0))


def homographies(
    reference: Picture, neighbours: Sequence[Picture], inverse_depths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Where the reference's pixels fall in each neighbour if all lie on one plane, [D, N, 3, 3]."""
    K_inv = np.linalg.inv(reference.K)
    normal = np.array([[0.0, 0.0, 1.0]])
    found = np.empty((len(inverse_depths), len(neighbours), 3, 3))
    for k, neighbour in enumerate(neighbours):
        across = neighbour.viewmat @ np.linalg.inv(reference.viewmat)
        for d, inverse in enumerate(inverse_depths):
            found[d, k] = neighbour.K @ (across[:3, :3] + inverse * across[:3, 3:] @ normal) @ K_inv
    return found


@njit(cache=True, parallel=True, fastmath=True)
def _plane_costs(
    grey: NDArray[np.float32], greys: NDArray[np.float32], homographies: NDArray[np.float64], radius: int
) -> NDArray[np.uint8]:
    planes, count = homographies.shape[:2]
    height, width = grey.shape
    keep = (count + 1) // 2
    cost = np.empty((planes, height, width), np.uint8)
    for d in prange(planes):
        warped = np.empty((height, width), np.float32)
        inside = np.empty((height, width), np.bool_)
        best = np.full((keep, height, width), np.float32(-2))
        seen = np.zeros((height, width), np.int64)
        score = np.empty((height, width), np.float32)
        for k in range(count):
            _warp(greys[k], homographies[d, k], warped, inside)
            _correlate(grey, warped, radius, score)
            for v in range(height):
                for u in range(width):
                    if not inside[v, u]:
                        continue
                    s = score[v, u]
                    seen[v, u] += 1
                    for i in range(keep):
                        if s > best[i, v, u]:
                            s, best[i, v, u] = best[i, v, u], s
        for v in range(height):
            for u in range(width):
                total, number = np.float32(0), (seen[v, u] + 1) // 2
                for i in range(number):
                    total += best[i, v, u]
                cost[d, v, u] = UNSEEN if number == 0 else np.uint8(np.minimum(254.0, 127 * (1 - total / number)))
    return cost


@njit(cache=True, fastmath=True)
def _warp(
    grey: NDArray[np.float32], H: NDArray[np.float64], warped: NDArray[np.float32], inside: NDArray[np.bool_]
) -> None:
    """Draw a picture [H, W] as it would look from elsewhere, bilinearly; its edge goes on where it has ended."""
    height, width = grey.shape
    for v in range(height):
        for u in range(width):
            x, y = u + 0.5, v + 0.5
            w = H[2, 0] * x + H[2, 1] * y + H[2, 2]
            if w < 1e-9:
                inside[v, u], warped[v, u] = False, np.float32(0)
                continue
            a = (H[0, 0] * x + H[0, 1] * y + H[0, 2]) / w - 0.5
            b = (H[1, 0] * x + H[1, 1] * y + H[1, 2]) / w - 0.5
            inside[v, u] = -0.5 <= a <= width - 0.5 and -0.5 <= b <= height - 0.5
            a, b = min(max(a, 0.0), width - 1.001), min(max(b, 0.0), height - 1.001)
            i, j = int(a), int(b)
            p, q = np.float32(a - i), np.float32(b - j)
            top = grey[j, i] + p * (grey[j, i + 1] - grey[j, i])
            bottom = grey[j + 1, i] + p * (grey[j + 1, i + 1] - grey[j + 1, i])
            warped[v, u] = top + q * (bottom - top)


@njit(cache=True, fastmath=True)
def _correlate(a: NDArray[np.float32], b: NDArray[np.float32], radius: int, score: NDArray[np.float32]) -> None:
    """The correlation of two pictures [H, W] in the window round each pixel, cut off at the picture's edges."""
    height, width = a.shape
    columns = np.zeros((5, width), np.float32)
    half = np.float32(0.5)  # taken off first: sums of squares of small numbers keep more of their digits
    for v in range(-radius, height):
        for sign, row in ((np.float32(1), v + radius), (np.float32(-1), v - radius - 1)):
            if 0 <= row < height:
                for u in range(width):
                    x, y = a[row, u] - half, b[row, u] - half
                    columns[0, u] += sign * x
                    columns[1, u] += sign * y
                    columns[2, u] += sign * x * x
                    columns[3, u] += sign * y * y
                    columns[4, u] += sign * x * y
        if v < 0:
            continue
        rows = min(v + radius, height - 1) - max(v - radius, 0) + 1
        sx, sy, sxx, syy, sxy = np.float32(0), np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for u in range(-radius, width):
            if u + radius < width:
                i = u + radius
                sx += columns[0, i]
                sy += columns[1, i]
                sxx += columns[2, i]
                syy += columns[3, i]
                sxy += columns[4, i]
            if u - radius - 1 >= 0:
                i = u - radius - 1
                sx -= columns[0, i]
                sy -= columns[1, i]
                sxx -= columns[2, i]
                syy -= columns[3, i]
                sxy -= columns[4, i]
            if u >= 0:
                n = np.float32(rows * (min(u + radius, width - 1) - max(u - radius, 0) + 1))
                var_x, var_y = max(sxx / n - (sx / n) ** 2, np.float32(0)), max(syy / n - (sy / n) ** 2, np.float32(0))
                cov = sxy / n - (sx / n) * (sy / n)
                score[v, u] = cov / (np.sqrt(var_x * var_y) + FLAT)


@njit(cache=True, parallel=True)
def _along_rows(cost: NDArray[np.uint8], total: NDArray[np.uint16], step: int, jump: int) -> None:
    """Add the least cost of the paths from the left and from the right to `total` [H, W, D]."""
    height, width, planes = cost.shape
    for v in prange(height):
        state, spare = np.empty(planes + 2, np.int32), np.empty(planes + 2, np.int32)
        for backward in range(2):
            state[:] = 0
            for k in range(width):
                u = width - 1 - k if backward else k
                _advance(cost[v, u], state, spare, total[v, u], step, jump)
                state, spare = spare, state


@njit(cache=True, parallel=True)
def _along_columns(cost: NDArray[np.uint8], total: NDArray[np.uint16], step: int, jump: int) -> None:
    """The same from above and from below."""
    height, width, planes = cost.shape
    strip = 32
    for s in prange((width + strip - 1) // strip):
        left, right = s * strip, min(width, (s + 1) * strip)
        states, spares = np.empty((strip, planes + 2), np.int32), np.empty((strip, planes + 2), np.int32)
        for backward in range(2):
            states[:] = 0
            for k in range(height):
                v = height - 1 - k if backward else k
                for u in range(left, right):
                    _advance(cost[v, u], states[u - left], spares[u - left], total[v, u], step, jump)
                states, spares = spares, states


@njit(cache=True, inline="always")
def _advance(
    cost: NDArray[np.uint8],
    state: NDArray[np.int32],
    after: NDArray[np.int32],
    total: NDArray[np.uint16],
    step: int,
    jump: int,
) -> None:
    """One pixel further along a path: from the costs so far [D + 2], whose ends are walls, to those after."""
    planes = cost.size
    wall = np.int32(1 << 20)
    state[0], state[planes + 1] = wall, wall
    least = wall
    for d in range(1, planes + 1):
        least = min(least, state[d])
    for d in range(1, planes + 1):
        best = min(min(state[d], min(state[d - 1], state[d + 1]) + step), least + jump) - least
        after[d] = best + cost[d - 1]
        total[d - 1] += np.uint16(after[d])


@njit(cache=True, parallel=True)
def _winners(cost: NDArray[np.uint8], total: NDArray[np.uint16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The plane of least total cost, to a fraction of a plane, and the cost there, both [H, W]."""
    height, width, planes = cost.shape
    place, lowest = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    for v in prange(height):
        for u in range(width):
            d = 0
            for k in range(1, planes):
                if total[v, u, k] < total[v, u, d]:
                    d = k
            shift = 0.0
            if 0 < d < planes - 1:
                before, here, after = (
                    np.float64(total[v, u, d - 1]),
                    np.float64(total[v, u, d]),
                    np.float64(total[v, u, d + 1]),
                )
                bend = before - 2 * here + after
                if bend > 0:
                    shift = 0.5 * (before - after) / bend
            place[v, u] = d + shift
            lowest[v, u] = cost[v, u, d]
    return place, lowest
