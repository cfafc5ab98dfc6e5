"""Which pictures to compare: those that saw the same from far enough away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keepworld.camera import Camera, invert_rigid
from numpy.typing import NDArray

MAX_TURN = 0.7  # radians between the directions two cameras look in
SPACING = 0.35  # of the wanted distance: chosen neighbours stand at least so far from each other
GRID = (6, 8)  # rows and columns of places in a picture that others are asked to show
NUDGE = 0.02  # by how much a depth is changed to see how far the picture of it moves
WORTH = 0.1  # of the wanted parallax: a place that shifts less, or ten times more, says nothing
MAX_GROWN = 1.8  # times that a place may look larger or smaller in a picture it is compared with


def choose_neighbours(
    c2ws: NDArray[np.float64], index: int, *, distance: float, count: int, spread: float = 4.0
) -> list[int]:
    """Choose cameras that stand about `distance` from one, look about the same way, and stand apart from each other.

    Args:
        c2ws: [N, 4, 4] camera to world.
        index: of the camera to compare with.
        distance: wanted between it and its neighbours.
        count: at most how many.
        spread: by what factor a distance may be off.
    """
    centres = c2ws[:, :3, 3]
    apart = np.linalg.norm(centres - centres[index], axis=1)
    cosine = np.clip(c2ws[:, :3, 2] @ c2ws[index, :3, 2], -1, 1)
    turn = np.arccos(cosine)
    # Distance across the line of sight is what shifts a picture; along it a camera learns little.
    along = np.abs((centres - centres[index]) @ c2ws[index, :3, 2])
    useful = np.sqrt(np.maximum(apart**2 - 0.75 * along**2, 0))
    off = np.abs(np.log(np.maximum(useful, 1e-12) / distance))
    fit = (turn < MAX_TURN) & (off < np.log(spread))
    chosen: list[int] = []
    for candidate in np.argsort(np.where(fit, off + turn, np.inf), kind="stable"):
        if len(chosen) == count or not fit[candidate]:
            break
        clear = np.linalg.norm(centres[chosen] - centres[candidate], axis=1) > SPACING * distance
        if clear.all():
            chosen.append(int(candidate))
    return chosen


def choose_views(
    cameras: Sequence[Camera], index: int, *, depths: Sequence[float], parallax: float, count: int
) -> list[int]:
    """Choose the cameras that together show best what one sees: all parts of its picture, each from several sides.

    One after the other is taken that adds most (greedily, as for covering sets). A place adds the more, the nearer to
    `parallax` it is by which the other camera sees it shifted, and the less, the more is there already from that side.

    Args:
        cameras: all there are.
        index: of the camera to compare with.
        depths: at which things may be, the capture's units.
        parallax: wanted, as an angle: radians by which the picture of a place shifts with the logarithm of its depth.
        count: at most how many.
    """
    camera = cameras[index]
    rows, columns = GRID
    v, u = np.mgrid[0:rows, 0:columns] + 0.5
    pixels = np.stack([u / columns * camera.width, v / rows * camera.height, np.ones_like(u)], -1).reshape(-1, 3)
    rays = pixels @ np.linalg.inv(camera.K).T @ camera.c2w[:3, :3].T
    steps = np.array([np.asarray(depths), np.asarray(depths) * (1 + NUDGE)])
    places = camera.centre + rays * steps[..., None, None]  # [2, D, G, 3]
    worth, side = np.zeros((len(cameras), places[0].size // 3)), np.zeros((len(cameras), places[0].size // 3), np.intp)
    own = np.repeat(np.asarray(depths, np.float64), len(rays))
    for other, seen_by in enumerate(cameras):
        if other == index or seen_by.c2w[:3, 2] @ camera.c2w[:3, 2] < np.cos(MAX_TURN):
            continue
        viewmat = invert_rigid(seen_by.c2w)
        local = places.reshape(2, -1, 3) @ viewmat[:3, :3].T + viewmat[:3, 3]
        z = local[..., 2]
        there = (z > 1e-9).all(0)
        there[there] &= np.abs(np.log(z[0, there] / own[there])) < np.log(MAX_GROWN)
        at = local[..., :2] / np.where(there, z, 1)[..., None] * seen_by.K[[0, 1], [0, 1]] + seen_by.K[:2, 2]
        there &= ((at[0] >= 0) & (at[0] < (seen_by.width, seen_by.height))).all(-1)
        shift = (at[1] - at[0]) / NUDGE / seen_by.K[0, 0]
        size = np.linalg.norm(shift, axis=-1) / parallax
        near = np.minimum(size, 1 / np.maximum(size, 1e-9))
        worth[other] = np.where(there & (near > WORTH), near, 0)
        across = np.abs(shift[:, 0]) > np.abs(shift[:, 1])
        side[other] = np.where(across, shift[:, 0] > 0, 2 + (shift[:, 1] > 0))
    chosen: list[int] = []
    held, every = np.zeros((places[0].size // 3, 4)), np.arange(places[0].size // 3)
    while len(chosen) < count:
        before = held[every, side]
        gains = (np.sqrt(before + worth) - np.sqrt(before)).sum(1)
        gains[chosen] = 0
        best = int(gains.argmax())
        if gains[best] <= 0:
            break
        chosen.append(best)
        held[every, side[best]] += worth[best]
    return chosen
