"""Which pictures to compare: those that saw the same from far enough away."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_TURN = 0.7  # radians between the directions two cameras look in
SPACING = 0.35  # of the wanted distance: chosen neighbours stand at least so far from each other


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
