"""What each splat's colour should change by for a picture to come out right.

A picture is linear in the colours of its splats: a pixel is the sum of colour times share. So the colours can be fitted by
going back and forth: draw, spread each pixel's error over the splats by their shares, and add (Landweber's iteration, with
each splat's step divided by its own total share, as SIRT does in tomography).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.rasterize.blend import DONE, MAX_ALPHA, MIN_ALPHA
from keepworld_exporters.rasterize.harmonics import SH_C0
from keepworld_exporters.rasterize.project import project
from keepworld_exporters.rasterize.tiles import TILE, bin_tiles, depth_order
from keepworld_exporters.scene import Splats

STEP = 1.6  # beyond 2 the iteration would swing out
MIN_SHARE = 1e-3  # a splat that was seen less than this, in pixels, keeps its colour


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Target:
    """A picture to come near to.

    Attributes:
        image: [H, W, 3] uint8 sRGB.
        mask: [H, W] float32, how much each pixel counts; 0 where it says nothing.
        viewmat: [4, 4] world to camera.
        K: [3, 3] intrinsics.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.float32]
    viewmat: NDArray[np.float64]
    K: NDArray[np.float64]


def fit_colours(
    splats: Splats, targets: Sequence[Callable[[], Target]], *, rounds: int, on_step: Callable[[], None]
) -> Splats:
    """Change the colours of splats of degree 0 so that they draw the targets better.

    Args:
        splats: where they are and how they look to begin with; only `sh0` of what comes back differs.
        targets: each gives a picture when called, once a round.
        rounds: how often to go through all targets.
        on_step: called after each picture.
    """
    colours = np.clip(splats.sh0.astype(np.float64) * SH_C0 + 0.5, 0, 1)
    for _ in range(rounds):
        sums = np.zeros((len(colours), 4))
        for target in targets:
            _add_errors(splats, colours, target(), sums)
            on_step()
        share = sums[:, 3:]
        change = np.where(share > MIN_SHARE, sums[:, :3] / np.maximum(share, MIN_SHARE), 0)
        colours = np.clip(colours + STEP * change, 0, 1)
    return replace(splats, sh0=((colours - 0.5) / SH_C0).astype(np.float32))


def _add_errors(splats: Splats, colours: NDArray[np.float64], target: Target, sums: NDArray[np.float64]) -> None:
    """Add one picture's errors to `sums` [N, 4]: share times error in red, green and blue, and the share."""
    height, width = target.mask.shape
    flat = project(splats.means, splats.quats, splats.scales, splats.opacities, target.viewmat, target.K, width, height)
    starts, members = bin_tiles(depth_order(flat.depths, flat.boxes), flat.boxes, width, height)
    parts = _errors(starts, members, flat.means2d, flat.conics, splats.opacities, colours, target.image, target.mask)
    _reduce(members, parts, sums)


@njit(cache=True, parallel=True)
def _errors(
    starts: NDArray[np.int64],
    members: NDArray[np.int32],
    means2d: NDArray[np.float64],
    conics: NDArray[np.float64],
    opacities: NDArray[np.float32],
    colours: NDArray[np.float64],
    image: NDArray[np.uint8],
    mask: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The errors for each entry of `members`, [M, 4]: every tile goes through its splats twice."""
    height, width = mask.shape
    parts = np.zeros((len(members), 4), np.float32)
    across = (width + TILE - 1) // TILE
    for tile in prange(len(starts) - 1):
        left, top = tile % across * TILE, tile // across * TILE
        right, bottom = min(left + TILE, width), min(top + TILE, height)
        error = np.zeros((TILE, TILE, 3))
        for v in range(top, bottom):
            for u in range(left, right):
                for k in range(3):
                    error[v - top, u - left, k] = image[v, u, k] / 255.0
        for turn in range(2):
            light = np.ones((TILE, TILE))
            for m in range(starts[tile], starts[tile + 1]):
                i = members[m]
                xx, xy, yy = conics[i, 0], conics[i, 1], conics[i, 2]
                mean_u, mean_v, opacity = means2d[i, 0], means2d[i, 1], np.float64(opacities[i])
                limit = np.log(opacity / MIN_ALPHA)
                red, green, blue, total = 0.0, 0.0, 0.0, 0.0
                for v in range(top, bottom):
                    dv = v + 0.5 - mean_v
                    discriminant = (xy * dv) ** 2 - xx * (yy * dv * dv - 2 * limit)
                    if discriminant < 0:
                        continue
                    root = np.sqrt(discriminant)
                    first = max(left, int(np.ceil(mean_u - 0.5 + (-xy * dv - root) / xx - 1e-6)))
                    last = min(right - 1, int(np.floor(mean_u - 0.5 + (-xy * dv + root) / xx + 1e-6)))
                    for u in range(first, last + 1):
                        through = light[v - top, u - left]
                        if through <= DONE * 10:
                            continue
                        du = u + 0.5 - mean_u
                        alpha = min(MAX_ALPHA, opacity * np.exp(-0.5 * (xx * du * du + yy * dv * dv) - xy * du * dv))
                        if alpha < MIN_ALPHA:
                            continue
                        light[v - top, u - left] = through * (1 - alpha)
                        share = alpha * through
                        if turn == 0:
                            for k in range(3):
                                error[v - top, u - left, k] -= share * colours[i, k]
                        else:
                            share *= mask[v, u]
                            red += share * error[v - top, u - left, 0]
                            green += share * error[v - top, u - left, 1]
                            blue += share * error[v - top, u - left, 2]
                            total += share
                if turn == 1:
                    parts[m, 0], parts[m, 1], parts[m, 2], parts[m, 3] = red, green, blue, total
    return parts


@njit(cache=True)
def _reduce(members: NDArray[np.int32], parts: NDArray[np.float32], sums: NDArray[np.float64]) -> None:
    for m in range(len(members)):
        for k in range(4):
            sums[members[m], k] += parts[m, k]
