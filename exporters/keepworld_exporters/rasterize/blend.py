"""Gaussians over each other, front to back, and what each should change by for the picture to change so.

A tile is 16 pixels wide, and the innermost loop always runs over the 16 pixels of a row, without a branch: it becomes vector
instructions. Each tile belongs to one thread and gives one row of gradients for each of its Gaussians, and those rows are added
in a fixed order: the same input gives the same bytes on any number of threads.

Source: Kerbl et al. 2023, "3D Gaussian splatting". Departs from it: the gradients too are computed from front to back, with one
running sum a pixel, so that nothing has to be divided out of the light that is left.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.rasterize.tiles import TILE

MIN_ALPHA = 1.0 / 255.0
MAX_ALPHA = 0.999
DONE = 1e-4  # the light that may still come through when a pixel is finished
CHANNELS = 5  # of a picture: red, green, blue, alpha, depth
PARTS = 10  # a Gaussian's gradients: the moments of d/d exponent (1, x, y, xx, xy, yy), red, green, blue, depth
_PIXELS = TILE * TILE
_LOG2E = 1.4426950408889634
_OPEN_CHECK = 16  # how many Gaussians go by between two looks at whether a tile is finished


@njit(inline="always")
def _exp2(x: np.float32) -> np.float32:
    """2 ** x for x in [-100, 0], to the last bit or two of float32, without a branch or a call."""
    whole = np.int32(x - np.float32(0.5))
    f = x - np.float32(whole)
    # Taylor's series of 2 ** f for |f| <= 1/2: the first term left out is below 2e-8.
    p = np.float32(1.5252733804059840e-5)
    p = p * f + np.float32(1.5403530393381610e-4)
    p = p * f + np.float32(1.3333558146428443e-3)
    p = p * f + np.float32(9.6181291076284772e-3)
    p = p * f + np.float32(5.5504108664821580e-2)
    p = p * f + np.float32(2.4022650695910072e-1)
    p = p * f + np.float32(6.9314718055994531e-1)
    p = p * f + np.float32(1.0)
    return p * np.int32((whole + np.int32(127)) << np.int32(23)).view(np.float32)


@njit(inline="always")
def _row_peak(a: np.float32, b: np.float32, c: np.float32, mean: np.float32, dv: np.float32) -> np.float32:
    """The largest exponent a dx^2 + b dx dv + c dv^2 along a tile's row."""
    dx = min(max(-b * dv / (np.float32(2) * a), -mean), np.float32(TILE - 1) - mean)
    return (a * dx + b * dv) * dx + c * dv * dv


@njit(cache=True, parallel=True, fastmath={"contract", "nsz"}, error_model="numpy")
def blend(
    starts: NDArray[np.int64],
    members: NDArray[np.int32],
    boxes: NDArray[np.int32],
    means2d: NDArray[np.float64],
    conics: NDArray[np.float64],
    depths: NDArray[np.float32],
    opacities: NDArray[np.float32],
    colours: NDArray[np.float32],
    width: int,
    height: int,
) -> NDArray[np.float32]:
    """Blend every tile's Gaussians over its pixels: [H, W, 5] of red, green, blue, alpha, depth."""
    out = np.empty((height, width, CHANNELS), np.float32)
    across = (width + TILE - 1) // TILE
    for tile in prange(len(starts) - 1):
        left, top = tile % across * TILE, tile // across * TILE
        columns, rows = min(TILE, width - left), min(TILE, height - top)
        tape = np.zeros(5 * _PIXELS, np.float32)  # light, red, green, blue, depth of each pixel
        for row in range(rows):
            tape[row * TILE : row * TILE + columns] = 1  # no light: a pixel beyond the picture's edge
        for m in range(starts[tile], starts[tile + 1]):
            i = members[m]
            a = np.float32(-0.5 * _LOG2E * conics[i, 0])
            b = np.float32(-_LOG2E * conics[i, 1])
            c = np.float32(-0.5 * _LOG2E * conics[i, 2])
            mean_u, mean_v = np.float32(means2d[i, 0] - left - 0.5), np.float32(means2d[i, 1] - top - 0.5)
            opacity, depth = opacities[i], depths[i]
            red, green, blue = colours[i, 0], colours[i, 1], colours[i, 2]
            faintest = np.float32(np.log2(MIN_ALPHA / opacity) - 1e-4)
            for row in range(max(0, boxes[i, 1] - top), min(rows, boxes[i, 3] - top)):
                dv = np.float32(row) - mean_v
                if _row_peak(a, b, c, mean_u, dv) < faintest:
                    continue
                bv, cvv = b * dv, c * dv * dv
                base = np.uint64(row * TILE)
                for j in range(np.uint64(TILE)):
                    k = base + np.uint64(j)
                    dx = np.float32(np.int32(j)) - mean_u
                    power = min(max((a * dx + bv) * dx + cvv, np.float32(-100)), np.float32(0))
                    alpha = min(np.float32(MAX_ALPHA), opacity * _exp2(power))
                    light = tape[k]
                    alpha = alpha if (alpha >= np.float32(MIN_ALPHA)) & (light > 0) else np.float32(0)
                    after = light * (np.float32(1) - alpha)
                    stop = (alpha > 0) & (after <= np.float32(DONE))
                    share = np.float32(0) if stop else alpha * light
                    tape[k] = -light if stop else after
                    tape[k + np.uint64(_PIXELS)] += share * red
                    tape[k + np.uint64(2 * _PIXELS)] += share * green
                    tape[k + np.uint64(3 * _PIXELS)] += share * blue
                    tape[k + np.uint64(4 * _PIXELS)] += share * depth
            if (m - starts[tile]) % _OPEN_CHECK == 0 and tape[:_PIXELS].max() <= 0:
                break
        for row in range(rows):
            for column in range(columns):
                pixel = row * TILE + column
                for channel in range(3):
                    out[top + row, left + column, channel] = tape[pixel + (1 + channel) * _PIXELS]
                out[top + row, left + column, 3] = np.float32(1) - abs(tape[pixel])
                out[top + row, left + column, 4] = tape[pixel + 4 * _PIXELS]
    return out


@njit(cache=True, parallel=True, fastmath={"contract", "nsz"}, error_model="numpy")
def blend_back(
    starts: NDArray[np.int64],
    members: NDArray[np.int32],
    boxes: NDArray[np.int32],
    means2d: NDArray[np.float64],
    conics: NDArray[np.float64],
    depths: NDArray[np.float32],
    opacities: NDArray[np.float32],
    colours: NDArray[np.float32],
    out: NDArray[np.float32],
    wanted: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The gradients of each entry of `members`, [M, 10], as `PARTS` says.

    Args:
        starts, members, boxes, means2d, conics, depths, opacities, colours: as `blend` was given them.
        out: what it gave.
        wanted: [H, W, 5], the loss's gradient by each number of `out`.
    """
    height, width, _ = out.shape
    parts = np.zeros((len(members), PARTS), np.float32)
    across = (width + TILE - 1) // TILE
    for tile in prange(len(starts) - 1):
        left, top = tile % across * TILE, tile // across * TILE
        columns, rows = min(TILE, width - left), min(TILE, height - top)
        # Of each pixel: light; what is still to come of the loss; its gradient by red, green, blue, alpha, depth.
        tape = np.zeros(7 * _PIXELS + 7 * TILE, np.float32)
        for row in range(rows):
            for column in range(columns):
                pixel = row * TILE + column
                tape[pixel] = 1
                total = 0.0
                for channel in range(CHANNELS):
                    gradient = wanted[top + row, left + column, channel]
                    total += np.float64(gradient) * np.float64(out[top + row, left + column, channel])
                    tape[pixel + (2 + channel) * _PIXELS] = gradient
                tape[pixel + _PIXELS] = total
        for m in range(starts[tile], starts[tile + 1]):
            i = members[m]
            a = np.float32(-0.5 * _LOG2E * conics[i, 0])
            b = np.float32(-_LOG2E * conics[i, 1])
            c = np.float32(-0.5 * _LOG2E * conics[i, 2])
            mean_u, mean_v = np.float32(means2d[i, 0] - left - 0.5), np.float32(means2d[i, 1] - top - 0.5)
            opacity, depth = opacities[i], depths[i]
            red, green, blue = colours[i, 0], colours[i, 1], colours[i, 2]
            faintest = np.float32(np.log2(MIN_ALPHA / opacity) - 1e-4)
            sums = np.uint64(7 * _PIXELS)
            touched = False
            for row in range(max(0, boxes[i, 1] - top), min(rows, boxes[i, 3] - top)):
                dv = np.float32(row) - mean_v
                if _row_peak(a, b, c, mean_u, dv) < faintest:
                    continue
                touched = True
                bv, cvv = b * dv, c * dv * dv
                base = np.uint64(row * TILE)
                for j in range(np.uint64(TILE)):
                    k = base + np.uint64(j)
                    dx = np.float32(np.int32(j)) - mean_u
                    power = min(max((a * dx + bv) * dx + cvv, np.float32(-100)), np.float32(0))
                    free = opacity * _exp2(power)
                    alpha = min(np.float32(MAX_ALPHA), free)
                    light = tape[k]
                    alpha = alpha if (alpha >= np.float32(MIN_ALPHA)) & (light > 0) else np.float32(0)
                    kept = np.float32(1) - alpha
                    stop = (alpha > 0) & (light * kept <= np.float32(DONE))
                    tape[k] = -light if stop else light * kept
                    alpha = np.float32(0) if stop else alpha
                    share = alpha * light
                    by_red, by_green = tape[k + np.uint64(2 * _PIXELS)], tape[k + np.uint64(3 * _PIXELS)]
                    by_blue, by_alpha = tape[k + np.uint64(4 * _PIXELS)], tape[k + np.uint64(5 * _PIXELS)]
                    by_depth = tape[k + np.uint64(6 * _PIXELS)]
                    worth = red * by_red + green * by_green + blue * by_blue + depth * by_depth + by_alpha
                    rest = tape[k + np.uint64(_PIXELS)] - share * worth
                    tape[k + np.uint64(_PIXELS)] = rest
                    by_power = free * (light * worth - rest / kept)
                    by_power = by_power if (alpha > 0) & (free <= np.float32(MAX_ALPHA)) else np.float32(0)
                    tape[sums + j] += by_power
                    tape[sums + np.uint64(TILE) + j] += by_power * dv
                    tape[sums + np.uint64(2 * TILE) + j] += by_power * dv * dv
                    tape[sums + np.uint64(3 * TILE) + j] += share * by_red
                    tape[sums + np.uint64(4 * TILE) + j] += share * by_green
                    tape[sums + np.uint64(5 * TILE) + j] += share * by_blue
                    tape[sums + np.uint64(6 * TILE) + j] += share * by_depth
            if touched:
                _gather(tape[7 * _PIXELS :], mean_u, parts[m])
            if (m - starts[tile]) % _OPEN_CHECK == 0 and tape[:_PIXELS].max() <= 0:
                break
    return parts


@njit(fastmath=True)
def _gather(sums: NDArray[np.float32], mean: np.float32, part: NDArray[np.float32]) -> None:
    """Add up what the 16 columns hold, and leave them empty."""
    one = x = y = xx = xy = yy = np.float32(0)
    for j in range(TILE):
        dx = np.float32(j) - mean
        along, across = sums[j], sums[TILE + j]
        one += along
        x += along * dx
        y += across
        xx += along * dx * dx
        xy += across * dx
        yy += sums[2 * TILE + j]
    part[0], part[1], part[2], part[3], part[4], part[5] = one, x, y, xx, xy, yy
    red = green = blue = depth = np.float32(0)
    for j in range(TILE):
        red += sums[3 * TILE + j]
        green += sums[4 * TILE + j]
        blue += sums[5 * TILE + j]
        depth += sums[6 * TILE + j]
    part[6], part[7], part[8], part[9] = red, green, blue, depth
    sums[:] = 0


@njit(cache=True)
def add_up(members: NDArray[np.int32], parts: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Each Gaussian's gradients over all its tiles, [count, 10]."""
    sums = np.zeros((count, PARTS))
    for m in range(len(members)):
        for k in range(PARTS):
            sums[members[m], k] += parts[m, k]
    return sums
