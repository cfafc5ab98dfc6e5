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
from scipy.ndimage import maximum_filter

from keepworld_exporters.stages.sweep import Picture, Swept

ROUNDS, FINER = 3, 1  # in the smallest pictures, and in each larger one after them
REACH, STRIDE = 4, 2  # of the window: samples at -4, -2, 0, 2, 4 pixels each way
SHADE = 0.1  # of brightness in [0, 1], by which a pixel may differ from the middle one and still count by a third
FLAT = 6e-6  # variance of brightness in [0, 1] that 8-bit rounding alone may cause
UNKNOWN = np.float32(-3)  # what a plane scores that was not tried yet in pictures of this size
MOST = 6  # neighbours, at most, that planes are compared by at a pixel
GAIN = 0.002  # by how much a plane has to fit better to be taken
_SAMPLES = (2 * REACH // STRIDE + 1) ** 2


def polish(
    levels: Sequence[tuple[Picture, Sequence[Picture]]], swept: Swept, step: float, *, far: float = 0.0
) -> Swept:
    """Refine a sweep, better with neighbours further away than those of the sweep.

    Args:
        levels: the picture that was swept and at least one neighbour of the same size, first as small as it was swept, then
            larger by whole factors.
        swept: what the sweep found.
        step: between two planes of the sweep, 1 / depth: how far off it may be.
        far: 1 / depth; where all round nothing is nearer, as in the sky, the sweep's word is taken.
    """
    planes, number = _first_planes(swept.inverse, step), 0
    scores = idle = np.empty(0, np.float32)
    for reference, neighbours in levels:
        greys = np.stack([neighbour.grey for neighbour in neighbours])
        turns, shifts = np.empty((len(neighbours), 3, 3)), np.empty((len(neighbours), 3))
        for k, neighbour in enumerate(neighbours):
            across = neighbour.viewmat @ np.linalg.inv(reference.viewmat)
            turns[k] = neighbour.K @ across[:3, :3] @ np.linalg.inv(reference.K)
            shifts[k] = neighbour.K @ across[:3, 3]
        planes = _enlarged(planes, reference.grey.shape[0], reference.grey.shape[1])
        scores = np.full(reference.grey.shape, UNKNOWN, np.float32)
        idle = maximum_filter(planes[..., 0], 2 * REACH + 1) < far
        for _ in range(FINER if number else ROUNDS):
            planes, scores = _improve(
                reference.grey,
                greys,
                turns,
                shifts,
                planes,
                scores,
                idle,
                number,
                step * 0.5**number,
                0.02 * 0.5**number,
            )
            number += 1
    rows, columns = (
        np.minimum(np.arange(size) // (size // least), least - 1)
        for size, least in zip(scores.shape, swept.agreement.shape, strict=True)
    )
    agreement = np.where(idle, swept.agreement[rows][:, columns], scores)
    return Swept(inverse=np.ascontiguousarray(planes[..., 0]), agreement=agreement)


def _enlarged(planes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """The planes [h, w, 3] of a picture as those of one that is larger by a whole factor, [H, W, 3]."""
    factor = width // planes.shape[1]
    v, u = (np.minimum(np.arange(n) // factor, m - 1) for n, m in zip((height, width), planes.shape[:2], strict=True))
    larger = planes[v][:, u]
    down, along = ((np.arange(n) + 0.5) / factor - (k + 0.5) for n, k in ((height, v), (width, u)))
    larger[..., 0] += larger[..., 1] * along.astype(np.float32) + larger[..., 2] * down.astype(np.float32)[:, None]
    larger[..., 0] = np.maximum(larger[..., 0], 0)
    larger[..., 1:] /= factor
    return np.ascontiguousarray(larger)


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
    idle: NDArray[np.bool_],
    number: int,
    spread: float,
    tilt: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One round: at each pixel the best of its own plane, four neighbours' and three drawn near its own."""
    height, width = grey.shape
    better, best_scores = planes.copy(), scores.copy()
    for v in prange(height):
        each, window = np.empty(len(greys), np.float32), np.empty((_SAMPLES, 4))
        asked = np.empty(len(greys), np.int64)
        for u in range(width):
            if idle[v, u]:
                continue
            samples = _look_round(grey, u, v, window)
            own = np.float64(planes[v, u, 0]), np.float64(planes[v, u, 1]), np.float64(planes[v, u, 2])
            for k in range(len(greys)):
                asked[k] = k
            _fit(greys, turns, shifts, u, v, own[0], own[1], own[2], window, samples, asked, each)
            count, best = _better_half(asked, each)
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
                score = _fit(greys, turns, shifts, u, v, rho, a, b, window, samples, asked[:count], each)
                if score > best + GAIN:
                    best = score
                    better[v, u, 0], better[v, u, 1], better[v, u, 2] = rho, a, b
            best_scores[v, u] = best
    return better, best_scores


@njit(cache=True, fastmath=True)
def _look_round(grey: NDArray[np.float32], u: int, v: int, window: NDArray[np.float64]) -> int:
    """Write the samples round a pixel, and give how many: how far right and down, how bright, and how much each counts.

    What is as bright as the middle is likely to lie on its surface; beside an edge it is not the wider thing that wins.
    Source: Yoon and Kweon 2006, "Adaptive support-weight approach for correspondence search".
    """
    height, width = grey.shape
    count = 0
    for dv in range(-REACH, REACH + 1, STRIDE):
        for du in range(-REACH, REACH + 1, STRIDE):
            if 0 <= v + dv < height and 0 <= u + du < width:
                bright = np.float64(grey[v + dv, u + du])
                window[count, 0], window[count, 1], window[count, 2] = du, dv, bright - 0.5
                window[count, 3] = np.exp(-abs(bright - grey[v, u]) / SHADE)
                count += 1
    return count


@njit(cache=True, fastmath=True)
def _fit(
    greys: NDArray[np.float32],
    turns: NDArray[np.float64],
    shifts: NDArray[np.float64],
    u: int,
    v: int,
    rho: float,
    a: float,
    b: float,
    window: NDArray[np.float64],
    samples: int,
    asked: NDArray[np.int64],
    each: NDArray[np.float32],
) -> float:
    """How well a picture and those `asked` agree on a plane: their mean correlation, -2 if none sees it; and write each one's."""
    height, width = greys.shape[1:]
    seen, total_score = 0, 0.0
    x, y = u + 0.5, v + 0.5
    for place in range(len(asked)):
        k = asked[place]
        each[place] = -2.0
        # On a plane, where a pixel falls in the neighbour is a quotient of sums that grow evenly with du and dv.
        T, s = turns[k], shifts[k]
        p0, pu, pv = T[0, 0] * x + T[0, 1] * y + T[0, 2] + rho * s[0], T[0, 0] + a * s[0], T[0, 1] + b * s[0]
        q0, qu, qv = T[1, 0] * x + T[1, 1] * y + T[1, 2] + rho * s[1], T[1, 0] + a * s[1], T[1, 1] + b * s[1]
        w0, wu, wv = T[2, 0] * x + T[2, 1] * y + T[2, 2] + rho * s[2], T[2, 0] + a * s[2], T[2, 1] + b * s[2]
        if not (w0 > 1e-9 and 0 <= p0 < width * w0 and 0 <= q0 < height * w0):
            continue  # the middle itself is not seen there
        n, total, sx, sy, sxx, syy, sxy = 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for m in range(samples):
            du, dv = window[m, 0], window[m, 1]
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
            there, ours, counts = top + q * (bottom - top) - 0.5, window[m, 2], window[m, 3]
            n += 1
            total += counts
            sx += counts * ours
            sy += counts * there
            sxx += counts * ours * ours
            syy += counts * there * there
            sxy += counts * ours * there
        if n < 9:
            continue
        share = 1 / total
        var_x, var_y = max(sxx * share - (sx * share) ** 2, 0.0), max(syy * share - (sy * share) ** 2, 0.0)
        score = (sxy * share - sx * share * sy * share) / (np.sqrt(var_x * var_y) + FLAT)
        each[place] = score
        total_score += score
        seen += 1
    return total_score / seen if seen else -2.0


@njit(cache=True)
def _better_half(asked: NDArray[np.int64], each: NDArray[np.float32]) -> tuple[int, float]:
    """Put the neighbours that agree best first, and give how many to go on with, and their mean.

    One half of those that see the place at all: what one does not see, because something stands before it, another may. It is
    the same ones that planes are then compared by. If none sees it, all are gone on with.
    """
    seen = 0
    for k in range(len(asked)):
        score, neighbour = each[k], asked[k]
        seen += score > -2
        place = k
        while place > 0 and each[place - 1] < score:
            each[place], asked[place] = each[place - 1], asked[place - 1]
            place -= 1
        each[place], asked[place] = score, neighbour
    if seen == 0:
        return len(asked), -2.0
    count = min(MOST, (seen + 1) // 2)
    return count, each[:count].mean()
