"""Gaussians over each other, front to back, and what each should change by for the picture to change so.

Sixteen pixels, four by four, are worked on at once, and only where a Gaussian's ellipse reaches. Each tile belongs to one thread
and gives one row of gradients for each of its Gaussians, and those rows are added in a fixed order: the same input gives the
same bytes on any number of threads.

Source: Kerbl et al. 2023, "3D Gaussian splatting". Departs from it: the gradients too are computed from front to back, with one
running sum a pixel, so that nothing has to be divided out of the light that is left.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.rasterize.lanes import (
    LANES,
    any_of,
    bits,
    choose,
    exp2,
    least,
    load,
    lowest,
    most,
    root,
    spread,
    store,
    total,
)
from keepworld_exporters.rasterize.tiles import TILE

MIN_ALPHA = 1.0 / 255.0
MAX_ALPHA = 0.999
DONE = 1e-4  # the light that may still come through when a pixel is finished
CHANNELS = 5  # of a picture: red, green, blue, alpha, depth
PARTS = 10  # a Gaussian's gradients: the moments of d/d exponent (1, x, y, xx, xy, yy), red, green, blue, depth
_SIDE = 4  # pixels along a block
_BLOCKS = TILE // _SIDE
_PIXELS = TILE * TILE
_LOG2E = 1.4426950408889634
_OPEN_CHECK = 16  # how many Gaussians go by between two looks at whether a tile is finished
_SLACK = 0.01  # pixels by which an ellipse is taken to reach further: its edge is known to float32
# Where in its block each lane's pixel lies, and where in its tile each lane's block.
_ALONG = np.tile(np.arange(_SIDE), _SIDE).astype(np.float32)
_DOWN = np.repeat(np.arange(_SIDE), _SIDE).astype(np.float32)
_BLOCK_U = np.tile(_SIDE * np.arange(_BLOCKS), _BLOCKS).astype(np.float32)
_BLOCK_V = np.repeat(_SIDE * np.arange(_BLOCKS), _BLOCKS).astype(np.float32)


@njit(inline="always")
def _place(row: int, column: int) -> int:
    """Where in a tile's tape a pixel is kept."""
    return ((row // _SIDE) * _BLOCKS + column // _SIDE) * LANES + row % _SIDE * _SIDE + column % _SIDE


@njit(inline="always")
def _open(tape: NDArray[np.float32]) -> int:
    """The blocks of a tile whose pixels still let light through, as bits."""
    found = 0
    for block in range(_PIXELS // LANES):
        if any_of(load(tape, block * LANES) > np.float32(0)):
            found |= 1 << block
    return found


@njit(inline="always")
def _reached(ellipse: NDArray[np.float32], mean_u: float, mean_v: float) -> int:
    """The blocks of a tile that an ellipse may reach, as bits: those whose columns meet its span between their rows."""
    low, tip, slope, thick = ellipse[0], ellipse[1], ellipse[2], ellipse[3]
    above = load(_BLOCK_V, 0) - np.float32(mean_v)
    top = most(above, spread(-low))
    bottom = least(above + np.float32(_SIDE - 1), spread(low))
    right, left = least(most(spread(tip), top), bottom), least(most(spread(-tip), top), bottom)
    one, none, per_low = spread(np.float32(1)), spread(np.float32(0)), np.float32(1) / low
    rise_right, rise_left = right * per_low, left * per_low
    x1 = right * slope + root(most(one - rise_right * rise_right, none)) * thick
    x0 = left * slope - root(most(one - rise_left * rise_left, none)) * thick
    slack = np.float32(_SLACK) + np.float32(1e-6) * (abs(np.float32(mean_u)) + thick)
    columns = load(_BLOCK_U, 0) - np.float32(mean_u)
    return bits((top <= bottom + slack) & (columns <= x1 + slack) & (columns + np.float32(_SIDE - 1) >= x0 - slack))


@njit(cache=True, parallel=True, error_model="numpy")
def blend(
    starts: NDArray[np.int64],
    members: NDArray[np.int32],
    ellipses: NDArray[np.float32],
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
            for column in range(columns):
                tape[_place(row, column)] = 1  # no light: a pixel beyond the picture's edge
        along, down = load(_ALONG, 0), load(_DOWN, 0)
        none = spread(np.float32(0))
        still = 0  # the blocks that still let light through
        for m in range(starts[tile], starts[tile + 1]):
            if (m - starts[tile]) % _OPEN_CHECK == 0:
                still = _open(tape)
                if not still:
                    break
            i = members[m]
            a = np.float32(-0.5 * _LOG2E * conics[i, 0])
            b = np.float32(-_LOG2E * conics[i, 1])
            c = np.float32(-0.5 * _LOG2E * conics[i, 2])
            mean_u, mean_v = means2d[i, 0] - left - 0.5, means2d[i, 1] - top - 0.5
            opacity, depth = opacities[i], depths[i]
            red, green, blue = colours[i, 0], colours[i, 1], colours[i, 2]
            reached = _reached(ellipses[i], mean_u, mean_v) & still
            while reached:
                block = lowest(reached)
                reached &= reached - 1
                k = block * LANES
                dv = down + np.float32(block // _BLOCKS * _SIDE - mean_v)
                dx = along + np.float32(block % _BLOCKS * _SIDE - mean_u)
                power = most(least((dx * a + dv * b) * dx + dv * dv * c, none), spread(np.float32(-100)))
                alpha = least(exp2(power) * opacity, spread(np.float32(MAX_ALPHA)))
                light = load(tape, k)
                alpha = choose((alpha >= np.float32(MIN_ALPHA)) & (light > np.float32(0)), alpha, none)
                after = light - light * alpha
                stop = (alpha > np.float32(0)) & (after <= np.float32(DONE))
                share = choose(stop, none, alpha * light)
                store(tape, k, choose(stop, none - light, after))
                store(tape, k + _PIXELS, load(tape, k + _PIXELS) + share * red)
                store(tape, k + 2 * _PIXELS, load(tape, k + 2 * _PIXELS) + share * green)
                store(tape, k + 3 * _PIXELS, load(tape, k + 3 * _PIXELS) + share * blue)
                store(tape, k + 4 * _PIXELS, load(tape, k + 4 * _PIXELS) + share * depth)
        for row in range(rows):
            for column in range(columns):
                pixel = _place(row, column)
                for channel in range(3):
                    out[top + row, left + column, channel] = tape[pixel + (1 + channel) * _PIXELS]
                out[top + row, left + column, 3] = np.float32(1) - abs(tape[pixel])
                out[top + row, left + column, 4] = tape[pixel + 4 * _PIXELS]
    return out


@njit(cache=True, parallel=True, error_model="numpy")
def blend_back(
    starts: NDArray[np.int64],
    members: NDArray[np.int32],
    ellipses: NDArray[np.float32],
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
        starts, members, ellipses, means2d, conics, depths, opacities, colours: as `blend` was given them.
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
        tape = np.zeros(7 * _PIXELS, np.float32)
        for row in range(rows):
            for column in range(columns):
                pixel = _place(row, column)
                tape[pixel] = 1
                worth_all = 0.0
                for channel in range(CHANNELS):
                    gradient = wanted[top + row, left + column, channel]
                    worth_all += np.float64(gradient) * np.float64(out[top + row, left + column, channel])
                    tape[pixel + (2 + channel) * _PIXELS] = gradient
                tape[pixel + _PIXELS] = worth_all
        along, down = load(_ALONG, 0), load(_DOWN, 0)
        none, one = spread(np.float32(0)), spread(np.float32(1))
        still = 0  # the blocks that still let light through
        for m in range(starts[tile], starts[tile + 1]):
            if (m - starts[tile]) % _OPEN_CHECK == 0:
                still = _open(tape)
                if not still:
                    break
            i = members[m]
            a = np.float32(-0.5 * _LOG2E * conics[i, 0])
            b = np.float32(-_LOG2E * conics[i, 1])
            c = np.float32(-0.5 * _LOG2E * conics[i, 2])
            mean_u, mean_v = means2d[i, 0] - left - 0.5, means2d[i, 1] - top - 0.5
            opacity, depth = opacities[i], depths[i]
            red, green, blue = colours[i, 0], colours[i, 1], colours[i, 2]
            by_one, by_x, by_y, by_xx, by_xy, by_yy = none, none, none, none, none, none
            sum_red, sum_green, sum_blue, sum_depth = none, none, none, none
            reached = _reached(ellipses[i], mean_u, mean_v) & still
            while reached:
                block = lowest(reached)
                reached &= reached - 1
                k = block * LANES
                dv = down + np.float32(block // _BLOCKS * _SIDE - mean_v)
                dx = along + np.float32(block % _BLOCKS * _SIDE - mean_u)
                power = most(least((dx * a + dv * b) * dx + dv * dv * c, none), spread(np.float32(-100)))
                free = exp2(power) * opacity
                alpha = least(free, spread(np.float32(MAX_ALPHA)))
                light = load(tape, k)
                alpha = choose((alpha >= np.float32(MIN_ALPHA)) & (light > np.float32(0)), alpha, none)
                kept = one - alpha
                after = light * kept
                stop = (alpha > np.float32(0)) & (after <= np.float32(DONE))
                store(tape, k, choose(stop, none - light, after))
                alpha = choose(stop, none, alpha)
                share = alpha * light
                by_red, by_green = load(tape, k + 2 * _PIXELS), load(tape, k + 3 * _PIXELS)
                by_blue, by_depth = load(tape, k + 4 * _PIXELS), load(tape, k + 6 * _PIXELS)
                worth = by_red * red + by_green * green + by_blue * blue + by_depth * depth
                worth = worth + load(tape, k + 5 * _PIXELS)
                rest = load(tape, k + _PIXELS) - share * worth
                store(tape, k + _PIXELS, rest)
                by_power = free * (light * worth - rest / kept)
                by_power = choose((alpha > np.float32(0)) & (free <= np.float32(MAX_ALPHA)), by_power, none)
                along_x, along_y = by_power * dx, by_power * dv
                by_one, by_x, by_y = by_one + by_power, by_x + along_x, by_y + along_y
                by_xx, by_xy, by_yy = by_xx + along_x * dx, by_xy + along_x * dv, by_yy + along_y * dv
                sum_red, sum_green = sum_red + share * by_red, sum_green + share * by_green
                sum_blue, sum_depth = sum_blue + share * by_blue, sum_depth + share * by_depth
            parts[m, 0], parts[m, 1], parts[m, 2] = total(by_one), total(by_x), total(by_y)
            parts[m, 3], parts[m, 4], parts[m, 5] = total(by_xx), total(by_xy), total(by_yy)
            parts[m, 6], parts[m, 7], parts[m, 8] = total(sum_red), total(sum_green), total(sum_blue)
            parts[m, 9] = total(sum_depth)
    return parts


@njit(cache=True)
def add_up(members: NDArray[np.int32], parts: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Each Gaussian's gradients over all its tiles, [count, 10]."""
    sums = np.zeros((count, PARTS))
    for m in range(len(members)):
        for k in range(PARTS):
            sums[members[m], k] += parts[m, k]
    return sums
