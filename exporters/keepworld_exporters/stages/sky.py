"""The sky as splats: a far shell, coloured by what the frames saw in each direction.

It holds no geometry, and the mesh and the points do without it. It is there so that a view of the splats has a sky.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.scene import Splats
from keepworld_exporters.stages.depth import View
from keepworld_exporters.stages.splats import discs

SIDE = 90  # cells along the edge of each face of a cube: about 1 degree each
DISTANCE = 6.0  # of the shell, in distances to the furthest point
SPREAD = 0.75  # standard deviation of a shell splat, in cells


def sky_shell(views: Iterable[View], positions: NDArray[np.float32]) -> Splats | None:
    """Make a shell round the points [N, 3] from the sky in the views; None if no view shows any sky."""
    sums = np.zeros((6 * SIDE * SIDE, 4))
    centres = []
    for view in views:
        centres.append(-view.viewmat[:3, :3].T @ view.viewmat[:3, 3])
        sky = _inner(np.isinf(view.depth))[::2, ::2]
        if not sky.any():
            continue
        height, width = view.depth.shape
        u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        rays = np.stack([u, v, np.ones_like(u)], -1)[::2, ::2][sky] @ np.linalg.inv(view.K).T @ view.viewmat[:3, :3]
        cells = cell_of(rays)
        colours = view.image[::2, ::2][sky]
        for k in range(3):
            sums[:, k] += np.bincount(cells, colours[:, k], minlength=len(sums))
        sums[:, 3] += np.bincount(cells, minlength=len(sums))
    seen = np.flatnonzero(sums[:, 3])
    if not seen.size:
        return None
    centre = np.mean(centres, 0)
    radius = DISTANCE * max(float(np.linalg.norm(positions - centre, axis=1).max(initial=0)), 1e-3)
    directions = direction_of(seen)
    # A cube's cells look smaller towards its corners: there they are also further from the face's middle.
    stretch = np.abs(directions).max(1) ** 1.5
    return discs(
        (centre + radius * directions).astype(np.float32),
        (-directions).astype(np.float32),
        np.round(sums[seen, :3] / sums[seen, 3:]).astype(np.uint8),
        SPREAD * 2 / SIDE * radius * stretch,
    )


def cell_of(rays: NDArray[np.float64]) -> NDArray[np.int64]:
    """The cube cell [N] that each direction [N, 3] of any length points to."""
    axis = np.abs(rays).argmax(1)
    each = np.arange(len(rays))
    along = rays[each, axis]
    a, b = rays[each, (axis + 1) % 3] / np.abs(along), rays[each, (axis + 2) % 3] / np.abs(along)
    i, j = (np.clip((c + 1) / 2 * SIDE, 0, SIDE - 1).astype(np.int64) for c in (a, b))
    return np.asarray(((2 * axis + (along < 0)) * SIDE + i) * SIDE + j)


def direction_of(cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """The unit direction [N, 3] of the middle of each cube cell [N]."""
    face, i, j = cells // (SIDE * SIDE), cells // SIDE % SIDE, cells % SIDE
    axis, each = face // 2, np.arange(len(cells))
    directions = np.empty((len(cells), 3))
    directions[each, axis] = 1 - 2 * (face % 2)
    directions[each, (axis + 1) % 3] = (i + 0.5) / SIDE * 2 - 1
    directions[each, (axis + 2) % 3] = (j + 0.5) / SIDE * 2 - 1
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))


def _inner(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask [H, W] without its outermost pixels, whose colours are mixed with what stands before the sky."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return inner
