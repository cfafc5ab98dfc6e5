"""How near and how far a world is that nothing is known of but pictures and cameras: a coarse look at a few of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from keepworld.errors import ExportError
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from keepworld_exporters.stages.neighbours import choose_neighbours
from keepworld_exporters.stages.sweep import Picture, matching_cost

PLANES = 96
NEAREST, FURTHEST = 0.04, 25.0  # in lengths of the way
SAMPLES = 12
SURE = 32  # a cost below which the pictures agree: correlation above 0.75
CLEAR = 12  # by how much planes elsewhere have to be worse
CALM = 6  # planes that a pixel and those round it may lie apart
SHIFT = 1.5  # pixels between the pictures from which a depth is told from infinity


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """What a survey found, the capture's units.

    Attributes:
        near: nothing, or next to nothing, is nearer.
        typical: the median depth.
    """

    near: float
    typical: float


def survey(pictures: Callable[[int], Picture], c2ws: NDArray[np.float64]) -> Reach:
    """Look at a sample of the pictures, made small, for how far away things are.

    Args:
        pictures: gives the picture of an index, at the size it should be looked at: a hundred or two pixels wide.
        c2ws: [N, 4, 4] of all the cameras.

    Raises:
        ExportError: the cameras stand still, or nothing in the pictures can be compared.
    """
    centres = c2ws[:, :3, 3]
    length = float(np.linalg.norm(np.ptp(centres, axis=0)))
    if len(c2ws) < 2 or length < 1e-9:
        raise ExportError(
            "the capture has no depth and its camera never moves from its place: depth cannot be found from it"
        )
    inverse = np.geomspace(1 / (FURTHEST * length), 1 / (NEAREST * length), PLANES)
    found: list[NDArray[np.float64]] = []
    for index in np.unique(np.linspace(0, len(c2ws) - 1, min(SAMPLES, len(c2ws))).round().astype(int)):
        chosen = {
            neighbour
            for share in (0.04, 0.12, 0.3)
            for neighbour in choose_neighbours(c2ws, int(index), distance=share * length, count=2, spread=2.5)
        }
        if not chosen:
            continue
        reference = pictures(int(index))
        cost = matching_cost(reference, [pictures(neighbour) for neighbour in sorted(chosen)], inverse).astype(np.int16)
        best = cost.argmin(2)
        lowest = np.take_along_axis(cost, best[..., None], 2)[..., 0]
        others = np.where(np.abs(np.arange(PLANES) - best[..., None]) > 4, cost, 999).min(2)
        baseline = np.linalg.norm(centres[sorted(chosen)] - centres[index], axis=1).max()
        sure = (lowest < SURE) & (others > lowest + CLEAR) & (best > 0) & (best < PLANES - 1)
        sure &= reference.K[0, 0] * baseline * inverse[best] > SHIFT
        # What matches by chance stands alone: its neighbours match elsewhere.
        sure &= maximum_filter(best, 3) - minimum_filter(best, 3) <= CALM
        found.append(1 / inverse[best[sure]])
    depths = np.concatenate(found) if found else np.empty(0)
    if depths.size < 100:
        raise ExportError(
            "the capture has no depth, and its pictures show too little that can be compared; walk sideways, or slower"
        )
    return Reach(near=0.75 * float(np.quantile(depths, 0.02)), typical=float(np.median(depths)))
