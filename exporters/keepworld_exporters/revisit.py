"""Whether the world is still there: a place seen again, compared to how it looked the first time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from keepworld.capture import Capture

from keepworld_exporters.measure import psnr

MIN_APART_S = 2.0
MAX_DISTANCE = 0.02  # between the two cameras, the capture's units
MAX_ANGLE = np.radians(0.25)


@dataclass(frozen=True, kw_only=True, slots=True)
class Revisit:
    """Two frames from one place, and how alike they are outside the sky and what moves.

    Attributes:
        first, again: the frames' numbers.
        away: how far the camera was from there in between, the capture's units.
        identical: share of the compared pixels that are the same to the bit.
        psnr: of the second against the first, decibels; None where all of them are identical.
    """

    first: int
    again: int
    away: float
    identical: float
    psnr: float | None


def find_revisit(capture: Capture) -> Revisit | None:
    """Find the latest return to the view of an earlier frame, and compare; None if the walk never came back.

    Of equal returns the one to the earliest frame is taken. Frames belong to a return if they are two seconds apart, two
    centimetres (or 0.02 units) and a quarter of a degree from each other, and the camera went elsewhere in between.
    """
    c2ws, gap = capture.c2ws, int(MIN_APART_S * capture.provenance.fps)
    for again in range(len(capture) - 1, gap, -1):
        earlier = c2ws[: again - gap]
        distances = np.linalg.norm(earlier[:, :3, 3] - c2ws[again, :3, 3], axis=1)
        cosines = (np.einsum("nij,ij->n", earlier[:, :3, :3], c2ws[again, :3, :3]) - 1) / 2
        near = np.flatnonzero((distances < MAX_DISTANCE) & (np.arccos(np.clip(cosines, -1, 1)) < MAX_ANGLE))
        if not near.size:
            continue
        first = int(near[np.argmin(distances[near].round(6))])
        away = float(np.linalg.norm(c2ws[first:again, :3, 3] - c2ws[again, :3, 3], axis=1).max())
        if away > 10 * MAX_DISTANCE:
            return _compare(capture, first, again, away)
    return None


def _compare(capture: Capture, first: int, again: int, away: float) -> Revisit | None:
    before, after = capture.frames[first], capture.frames[again]
    lasting = before.lasting() & after.lasting()
    if not lasting.any():
        return None
    old, new = before.image(), after.image()
    identical = float((old == new).all(axis=-1)[lasting].mean())
    alike = psnr(new / np.float32(255), old / np.float32(255), lasting) if identical < 1 else None
    return Revisit(first=before.number, again=after.number, away=away, identical=identical, psnr=alike)
