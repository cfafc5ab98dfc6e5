"""Depth made finer: each pixel gets a small plane of its own, and takes over its neighbours' where it fits better.

A sweep compares windows as if they faced the camera; ground and walls do not. Source: Bleyer, Rhemann and Rother 2011,
"PatchMatch stereo: stereo matching with slanted support windows". Departs from it: planes start from a sweep, not from
chance; windows are compared by correlation, sparsely sampled; and all pixels change at once, from what all of them were,
so that the outcome does not depend on threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.stages.sweep import Picture, Swept

ROUNDS = 3
REACH, STRIDE = 4, 2  # of the window: samples at -4, -2, 0, 2, 4 pixels each way
FLAT = 6e-6  # variance of brightness in [0, 1] that 8-bit rounding alone may cause
GAIN = 0.002  # by how much a plane has to fit better to be taken


def polish(reference: Picture, neighbours: Sequence[Picture], swept: Swept, step: float) -> Swept:
    """Refine a sweep, better with neighbours further away than those of the sweep.

    Args:
        reference: the picture that was swept.
        neighbours: at least one, of the same size.
        swept: what the sweep found.
        step: between two planes of the sweep, 1 / depth: how far off it may be.
    """
    greys = np.stack([neighbour.grey for neighbour in neighbours])
    turns, shifts = np.empty((len(neighbours), 3, 3)), np.empty((len(neighbours), 3))
    for k, neighbour in enumerate(neighbours):
        across = neighbour.viewmat @ np.linalg.inv(reference.viewmat)
        turns[k] = neighbour.K @ across[:3, :3] @ np.linalg.inv(reference.K)
        shifts[k] = neighbour.K @ across[:3, 3]
    planes = _first_planes(swept.inverse, step)
    scores = np.full(swept.inverse.shape, -2.0, np.float32)
    for number in range(ROUNDS):
        planes, scores = _improve(
            reference.grey, greys, turns, shifts, planes, scores, number, step * 0.5**number, 0.02 * 0.5**number
        )
    return Swept(inverse=np.ascontiguousarray(planes[..., 0]), agreement=scores)


@njit(cache=True, parallel=True)
def _first_planes(inverse: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """A plane a pixel [H, W, 3]: 1 / depth there and its change along u and v, flat beside a jump."""
    height, width = inverse.shape
    planes = np.zeros((height, width, 3), np.float32)
    for v in prange(height):
        for u in range(width):
            planes[v, u, 0] = inverse[v, u]
            left, right = max(0, u - 3), min(width - 1, u + 3)
            above, below = max(0, v - 3), min(height - 1, v + 3)
            along, down = inverse[v, right] - inverse[v, left], inverse[below, u] - inverse[above, u]
            if abs(along) < 4 * step:
                planes[v, u, 1] = along / (right - left)
            if abs(down) < 4 * step:
                planes[v, u, 2] = down / (below - above)
    return planes


@njit(cache=True, inline="always")
def _chance(u: int, v: int, number: int) -> float:
    """A number in [-1, 1) that depends on nothing but its arguments."""
    x = np.uint64(u) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(v) * np.uint64(0xC2B2AE3D27D4EB4F)
    x += np.uint64(number) * np.uint64(0x165667B19E3779F9)
    x = (x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.float64((x >> np.uint64(33)) & np.uint64(0xFFFFFF)) / 0x800000 - 1.0


@njit(cache=True, parallel=True, fastmath=True)
def _improve(
    grey: NDArray[np.float32],
    greys: NDArray[np.float32],
    turns: NDArray[np.float64],
    shifts: NDArray[np.float64],
    planes: NDArray[np.float32],
    scores: NDArray[np.float32],
    number: int,
    spread: float,
    tilt: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One round: at each pixel the best of its own plane, four neighbours' and three drawn near its own."""
    height, width = grey.shape
    better, best_scores = planes.copy(), scores.copy()
    for v in prange(height):
        each = np.empty(len(greys), np.float32)
        for u in range(width):
            own = np.float64(planes[v, u, 0]), np.float64(planes[v, u, 1]), np.float64(planes[v, u, 2])
            best = scores[v, u]
            if number == 0:
                best = _fit(grey, greys, turns, shifts, u, v, own[0], own[1], own[2], each)
            far = 1 + 4 * (number % 2)
            for k in range(7):
                if k < 4:
                    du, dv = (far if k == 0 else -far if k == 1 else 0), (far if k == 2 else -far if k == 3 else 0)
                    i, j = u + du, v + dv
                    if i < 0 or j < 0 or i >= width or j >= height:
                        continue
                    a, b = np.float64(planes[j, i, 1]), np.float64(planes[j, i, 2])
                    rho = planes[j, i, 0] - a * du - b * dv
                else:
                    rho, a, b = np.float64(better[v, u, 0]), np.float64(better[v, u, 1]), np.float64(better[v, u, 2])
                    if k != 5:
                        rho += spread * _chance(u, v, 16 * number + k)
                    if k != 4:
                        a += tilt * rho * _chance(u, v, 16 * number + k + 4)
                        b += tilt * rho * _chance(u, v, 16 * number + k + 8)
                if rho < 0:
                    continue
                score = _fit(grey, greys, turns, shifts, u, v, rho, a, b, each)
                if score > best + GAIN:
                    best = score
                    better[v, u, 0], better[v, u, 1], better[v, u, 2] = rho, a, b
            best_scores[v, u] = best
    return better, best_scores


@njit(cache=True, fastmath=True)
def _fit(
    grey: NDArray[np.float32],
    greys: NDArray[np.float32],
    turns: NDArray[np.float64],
    shifts: NDArray[np.float64],
    u: int,
    v: int,
    rho: float,
    a: float,
    b: float,
    each: NDArray[np.float32],
) -> float:
    """How well the pictures agree on a plane: the mean correlation of the better half of the neighbours, -2 if none sees it."""
    height, width = grey.shape
    left, right = -min(REACH, u // STRIDE * STRIDE), min(REACH, (width - 1 - u) // STRIDE * STRIDE)
    above, below = -min(REACH, v // STRIDE * STRIDE), min(REACH, (height - 1 - v) // STRIDE * STRIDE)
    seen = 0
    for k in range(len(greys)):
        # On a plane, where a pixel falls in the neighbour is a quotient of sums that grow evenly with du and dv.
        T, s, x, y = turns[k], shifts[k], u + 0.5, v + 0.5
        p0, pu, pv = T[0, 0] * x + T[0, 1] * y + T[0, 2] + rho * s[0], T[0, 0] + a * s[0], T[0, 1] + b * s[0]
        q0, qu, qv = T[1, 0] * x + T[1, 1] * y + T[1, 2] + rho * s[1], T[1, 0] + a * s[1], T[1, 1] + b * s[1]
        w0, wu, wv = T[2, 0] * x + T[2, 1] * y + T[2, 2] + rho * s[2], T[2, 0] + a * s[2], T[2, 1] + b * s[2]
        n, sx, sy, sxx, syy, sxy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
        for dv in range(above, below + 1, STRIDE):
            for du in range(left, right + 1, STRIDE):
                w = w0 + wu * du + wv * dv
                if w < 1e-9:
                    continue
                w = 1 / w
                p, q = (p0 + pu * du + pv * dv) * w - 0.5, (q0 + qu * du + qv * dv) * w - 0.5
                if not (0 <= p < width - 1 and 0 <= q < height - 1):
                    continue
                # Not below 0, and said so: no index is then checked for counting from the end.
                i, j = np.uintp(p), np.uintp(q)
                p, q = p - np.float64(i), q - np.float64(j)
                upper, lower = greys[k, j], greys[k, j + np.uintp(1)]
                top = upper[i] + p * (upper[i + np.uintp(1)] - upper[i])
                bottom = lower[i] + p * (lower[i + np.uintp(1)] - lower[i])
                there = top + q * (bottom - top) - 0.5
                ours = grey[v + dv, u + du] - 0.5
                n += 1
                sx += ours
                sy += there
                sxx += ours * ours
                syy += there * there
                sxy += ours * there
        if n < 9:
            continue
        var_x, var_y = max(sxx / n - (sx / n) ** 2, 0.0), max(syy / n - (sy / n) ** 2, 0.0)
        score = (sxy / n - sx / n * (sy / n)) / (np.sqrt(var_x * var_y) + FLAT)
        # Kept sorted, best first
        place = seen
        while place > 0 and each[place - 1] < score:
            each[place] = each[place - 1]
            place -= 1
        each[place] = score
        seen += 1
    if seen == 0:
        return -2.0
    keep = (seen + 1) // 2
    total = 0.0
    for rank in range(keep):
        total += each[rank]
    return total / keep
