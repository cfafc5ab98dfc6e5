"""Things that move, in frames that nothing labels them in: where a frame has a surface, later and earlier ones see through it.

A lasting surface hides what is behind it from every side. Where several other views see further along the line to a place than
the place itself, it was there for this frame only: something that moved, or depth that was wrong. What moves along with the
camera, or less between frames than depth is exact, is not found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keepworld.camera import invert_rigid
from keepworld.capture import CapturedFrame
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.stages.neighbours import choose_neighbours
from keepworld_exporters.stages.sources import DepthMap, DepthSource, FoundDepth

WITNESSES = 12  # other views asked
APART = (0.03, 0.1, 0.3)  # shares of the typical depth between a frame and those asked
TOLERANCE = 0.05  # of the depth: nearer to each other than this two views see one surface
THROUGH = 3  # views that must see through a place, and more of them than see it


def without_moving(frames: Sequence[CapturedFrame], source: DepthSource, *, typical: float) -> FoundDepth:
    """The depth of frames less that of what moves.

    Args:
        frames: in order.
        source: of their depth.
        typical: median depth of the world, the capture's units.
    """
    c2ws = np.stack([frame.camera.c2w for frame in frames])
    viewmats = invert_rigid(c2ws)
    known = [source.of(frame) for frame in frames]
    maps = {}
    for index, frame in enumerate(frames):
        asked = {
            other
            for share in APART
            for other in choose_neighbours(c2ws, index, distance=share * typical, count=WITNESSES // len(APART))
        }
        depth = known[index].depth
        through, same = np.zeros(depth.shape, np.uint8), np.zeros(depth.shape, np.uint8)
        for other in sorted(asked):
            across = viewmats[other] @ c2ws[index]
            _ask(depth, frame.camera.K, across, known[other].depth, frames[other].camera.K, through, same)
        gone = (through >= THROUGH) & (through > same)
        still = np.where(gone, np.float32(0), depth)
        maps[frame.number] = DepthMap(depth=still, confidence=known[index].confidence, moving=gone)
    return FoundDepth.of_maps(maps)


@njit(cache=True, parallel=True)
def _ask(
    depth: NDArray[np.float32],
    K: NDArray[np.float64],
    across: NDArray[np.float64],
    other: NDArray[np.float32],
    other_K: NDArray[np.float64],
    through: NDArray[np.uint8],
    same: NDArray[np.uint8],
) -> None:
    """Count where another view sees through the surface of a depth map, and where it sees it."""
    height, width = depth.shape
    for v in prange(height):
        for u in range(width):
            d = np.float64(depth[v, u])
            if d <= 0 or d == np.inf:
                continue
            x, y = (u + 0.5 - K[0, 2]) / K[0, 0] * d, (v + 0.5 - K[1, 2]) / K[1, 1] * d
            z = across[2, 0] * x + across[2, 1] * y + across[2, 2] * d + across[2, 3]
            if z <= 0:
                continue
            p = across[0, 0] * x + across[0, 1] * y + across[0, 2] * d + across[0, 3]
            q = across[1, 0] * x + across[1, 1] * y + across[1, 2] * d + across[1, 3]
            i = np.int64(np.floor(other_K[0, 0] * p / z + other_K[0, 2]))
            j = np.int64(np.floor(other_K[1, 1] * q / z + other_K[1, 2]))
            if i < 1 or j < 1 or i >= other.shape[1] - 1 or j >= other.shape[0] - 1:
                continue
            # Of the pixels about the place: at edges and of thin things any may be meant.
            sees, further, seen = False, True, False
            for b in range(j - 1, j + 2):
                for a in range(i - 1, i + 2):
                    e = np.float64(other[b, a])
                    if e == 0:
                        continue
                    seen = True
                    if e != np.inf and abs(e - z) <= TOLERANCE * z:
                        sees = True
                    if e < z * (1 + TOLERANCE):
                        further = False
            if sees:
                same[v, u] += np.uint8(1)
            elif seen and further:
                through[v, u] += np.uint8(1)
