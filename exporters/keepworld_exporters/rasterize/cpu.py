"""Gaussian splats to pictures, on the CPU.

Tiles of 16 x 16 pixels, each with its Gaussians from front to back, as Kerbl et al. 2023 draw them. Everything is ordered by
stable sorts and each tile belongs to one thread: the same input gives the same bytes on any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.rasterize.project import MIN_ALPHA, project, shade
from keepworld_exporters.scene import Splats

TILE = 16
MAX_ALPHA = 0.999
DONE = 1e-4  # the light that may still come through when a pixel is finished


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """What a camera sees.

    Attributes:
        image: [H, W, 3] float32, sRGB in [0, 1] (a little beyond where harmonics overshoot), over black.
        alpha: [H, W] float32, how much of the pixel is covered.
        depth: [H, W] float32, depth along +z weighted like the colours; divide by alpha for the mean.
    """

    image: NDArray[np.float32]
    alpha: NDArray[np.float32]
    depth: NDArray[np.float32]


def render_splats(
    splats: Splats, viewmat: NDArray[np.float64], K: NDArray[np.float64], width: int, height: int
) -> Picture:
    """Draw splats as seen by a camera: viewmat [4, 4] world to camera, K [3, 3] in pixels."""
    means2d, conics, depths, boxes = project(
        splats.means, splats.quats, splats.scales, splats.opacities, viewmat, K, width, height
    )
    centre = -viewmat[:3, :3].T @ viewmat[:3, 3]
    colours = shade(splats.means, splats.sh0, splats.shN, centre, boxes)
    seen = np.flatnonzero(boxes[:, 2] > boxes[:, 0])
    order = seen[np.argsort(depths[seen], kind="stable")]
    starts, members = bin_tiles(order, boxes, width, height)
    out = _draw(starts, members, means2d, conics, depths, splats.opacities, colours, width, height)
    return Picture(image=out[..., :3], alpha=out[..., 3], depth=out[..., 4])


@njit(cache=True)
def bin_tiles(
    order: NDArray[np.int64], boxes: NDArray[np.int32], width: int, height: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Sort Gaussians, given front to back, into tiles: where each tile starts [T + 1], and its members."""
    across, down = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    starts = np.zeros(across * down + 1, np.int64)
    for i in order:
        for ty in range(boxes[i, 1] // TILE, (boxes[i, 3] - 1) // TILE + 1):
            for tx in range(boxes[i, 0] // TILE, (boxes[i, 2] - 1) // TILE + 1):
                starts[ty * across + tx + 1] += 1
    starts = np.cumsum(starts)
    members = np.empty(starts[-1], np.int32)
    ends = starts[:-1].copy()
    for i in order:
        for ty in range(boxes[i, 1] // TILE, (boxes[i, 3] - 1) // TILE + 1):
            for tx in range(boxes[i, 0] // TILE, (boxes[i, 2] - 1) // TILE + 1):
                tile = ty * across + tx
                members[ends[tile]] = i
                ends[tile] += 1
    return starts, members


@njit(cache=True, parallel=True)
def _draw(
    starts: NDArray[np.int64],
    members: NDArray[np.int32],
    means2d: NDArray[np.float64],
    conics: NDArray[np.float64],
    depths: NDArray[np.float32],
    opacities: NDArray[np.float32],
    colours: NDArray[np.float64],
    width: int,
    height: int,
) -> NDArray[np.float32]:
    """Blend every tile's Gaussians over its pixels: [H, W, 5] of red, green, blue, alpha, depth."""
    out = np.zeros((height, width, 5), np.float32)
    across = (width + TILE - 1) // TILE
    for tile in prange(len(starts) - 1):
        left, top = tile % across * TILE, tile // across * TILE
        right, bottom = min(left + TILE, width), min(top + TILE, height)
        light = np.ones((TILE, TILE))
        total = np.zeros((TILE, TILE, 4))
        open_pixels = (right - left) * (bottom - top)
        for m in range(starts[tile], starts[tile + 1]):
            i = members[m]
            xx, xy, yy = conics[i, 0], conics[i, 1], conics[i, 2]
            mean_u, mean_v, opacity, depth = means2d[i, 0], means2d[i, 1], np.float64(opacities[i]), depths[i]
            limit = np.log(opacity / MIN_ALPHA)
            red, green, blue = colours[i, 0], colours[i, 1], colours[i, 2]
            for v in range(top, bottom):
                dv = v + 0.5 - mean_v
                # Along a row the exponent is a parabola: only the pixels between its two crossings of the limit count.
                discriminant = (xy * dv) ** 2 - xx * (yy * dv * dv - 2 * limit)
                if discriminant < 0:
                    continue
                root = np.sqrt(discriminant)
                first = max(left, int(np.ceil(mean_u - 0.5 + (-xy * dv - root) / xx - 1e-6)))
                last = min(right - 1, int(np.floor(mean_u - 0.5 + (-xy * dv + root) / xx + 1e-6)))
                for u in range(first, last + 1):
                    through = light[v - top, u - left]
                    if through < 0:
                        continue
                    du = u + 0.5 - mean_u
                    alpha = min(MAX_ALPHA, opacity * np.exp(-0.5 * (xx * du * du + yy * dv * dv) - xy * du * dv))
                    if alpha < MIN_ALPHA:
                        continue
                    after = through * (1 - alpha)
                    if after <= DONE:
                        light[v - top, u - left] = -through
                        open_pixels -= 1
                        continue
                    light[v - top, u - left] = after
                    share = alpha * through
                    pixel = total[v - top, u - left]
                    pixel[0] += share * red
                    pixel[1] += share * green
                    pixel[2] += share * blue
                    pixel[3] += share * depth
            if open_pixels == 0:
                break
        for v in range(top, bottom):
            for u in range(left, right):
                pixel = total[v - top, u - left]
                for k in range(3):
                    out[v, u, k] = pixel[k]
                out[v, u, 3] = 1 - abs(light[v - top, u - left])
                out[v, u, 4] = pixel[3]
    return out
