"""Small bright or pale things painted over a finished picture: drops, flakes, sparks, puffs of smoke.

Each is a streak: a line in the world with a thickness, drawn with soft edges where nothing stands before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keepworld.camera import invert_rigid
from numba import njit
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_NEAREST = 0.5  # metres; what is closer to the camera is left out
_LONGEST = 90.0  # pixels
_WIDEST = 0.12  # of the picture's width, a streak's radius


@dataclass(frozen=True, slots=True, eq=False)
class Streaks:
    """N streaks.

    Attributes:
        tail, head: [N, 3] ends, world, metres; equal for dots.
        radius: [N] metres.
        colour: [N, 3] sRGB in [0, 255].
        alpha: [N] in [0, 1].
        glows: whether they add light instead of covering.
    """

    tail: Floats
    head: Floats
    radius: Floats
    colour: Floats
    alpha: Floats
    glows: bool


def streaks(
    tail: Floats, head: Floats, *, radius: ArrayLike, colour: ArrayLike, alpha: ArrayLike, glows: bool
) -> Streaks:
    """Make streaks, giving what is one for all of them its shape."""
    count = len(tail)
    return Streaks(
        tail,
        head,
        np.broadcast_to(np.asarray(radius, np.float64), (count,)),
        np.broadcast_to(np.asarray(colour, np.float64), (count, 3)),
        np.broadcast_to(np.asarray(alpha, np.float64), (count,)),
        glows,
    )


def paint(
    image: NDArray[np.uint8], depth: NDArray[np.float32], layers: Sequence[Streaks], c2w: Floats, K: Floats
) -> NDArray[np.float32]:
    """Paint streaks over a picture, in place.

    Args:
        image: [H, W, 3] sRGB, changed.
        depth: [H, W] along +z, 0 for sky.
        layers: what to paint, in this order.
        c2w: [4, 4]. K: [3, 3].

    Returns:
        [H, W] how much of each pixel was painted over, in [0, 1].
    """
    cover = np.zeros(depth.shape, np.float32)
    viewmat = invert_rigid(c2w)
    for layer in layers:
        tail = layer.tail @ viewmat[:3, :3].T + viewmat[:3, 3]
        head = layer.head @ viewmat[:3, :3].T + viewmat[:3, 3]
        _paint(image, depth, cover, tail, head, layer.radius, layer.colour, layer.alpha, layer.glows, K)
    return cover


@njit(cache=True)  # type: ignore[misc, unused-ignore]
def _paint(image, depth, cover, tail, head, radius, colour, alpha, glows, K):  # type: ignore[no-untyped-def]
    rows, columns = depth.shape
    for n in range(len(tail)):
        za, zb = tail[n, 2], head[n, 2]
        if za < _NEAREST or zb < _NEAREST:
            continue
        ua, va = K[0, 0] * tail[n, 0] / za + K[0, 2], K[1, 1] * tail[n, 1] / za + K[1, 2]
        ub, vb = K[0, 0] * head[n, 0] / zb + K[0, 2], K[1, 1] * head[n, 1] / zb + K[1, 2]
        du, dv = ub - ua, vb - va
        length = np.sqrt(du * du + dv * dv)
        if length > _LONGEST:
            ua, va = ub - du * _LONGEST / length, vb - dv * _LONGEST / length
            du, dv = ub - ua, vb - va
        thick = min(K[0, 0] * radius[n] / zb, _WIDEST * columns)
        strength = alpha[n]
        if thick < 0.5:  # thinner than a pixel: fainter instead
            strength *= thick / 0.5
            thick = 0.5
        soft = max(0.5, 0.5 * thick)
        reach = thick + soft
        low_u, high_u = max(0, int(min(ua, ub) - reach)), min(columns - 1, int(max(ua, ub) + reach))
        low_v, high_v = max(0, int(min(va, vb) - reach)), min(rows - 1, int(max(va, vb) + reach))
        square = max(du * du + dv * dv, 1e-9)
        for v in range(low_v, high_v + 1):
            for u in range(low_u, high_u + 1):
                pu, pv = u + 0.5 - ua, v + 0.5 - va
                along = min(1.0, max(0.0, (pu * du + pv * dv) / square))
                away = np.sqrt((pu - along * du) ** 2 + (pv - along * dv) ** 2)
                inside = min(1.0, (reach - away) / (2.0 * soft))
                if inside <= 0.0:
                    continue
                if depth[v, u] > 0.0 and depth[v, u] < za + along * (zb - za):
                    continue
                share = strength * inside
                for k in range(3):
                    old = float(image[v, u, k])
                    new = old + share * colour[n, k] if glows else old + share * (colour[n, k] - old)
                    image[v, u, k] = np.uint8(min(255.0, new + 0.5))
                cover[v, u] += (1.0 - cover[v, u]) * min(1.0, share)
