"""A picture for a surface, from the frames that saw it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.stages.depth import View
from keepworld_exporters.stages.layout import Layout
from keepworld_exporters.stages.shown import shown_at

SHARPNESS = (
    3  # how much more the straightest and nearest view counts: the power of its cosine over its distance squared
)


def texture(layout: Layout, views: Iterable[View], *, on_view: Callable[[], None] = lambda: None) -> NDArray[np.uint8]:
    """Make the picture [H, W, 3] of a surface that was laid out; where no view shows it, its vertices' colours stand in.

    A view shows a place if it lies within two cells of what the view's own depth says is there.

    Args:
        layout: the surface.
        views: the pictures and their depth, which decides what is hidden.
        on_view: called once a view.
    """
    assert layout.mesh.normals is not None
    places, facing = layout.blend(layout.mesh.vertices), layout.blend(layout.mesh.normals)
    tolerance = 2 * layout.blend(layout.cells)
    sums = np.zeros((len(places), 4), np.float32)
    for view in views:
        _gather(places, facing, view.depth, view.normals, view.trust, view.image, view.viewmat, view.K, tolerance, sums)
        on_view()
    seen = sums[:, 3] > 0
    colours = layout.blend(layout.mesh.colours)
    colours[seen] = sums[seen, :3] / sums[seen, 3:]
    return layout.picture(colours)


@njit(cache=True, parallel=True)
def _gather(
    places: NDArray[np.float32],
    facing: NDArray[np.float32],
    depth: NDArray[np.float32],
    normals: NDArray[np.float32],
    trust: NDArray[np.float32],
    image: NDArray[np.uint8],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    tolerance: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:
    """Add a picture's colours, between its pixels, to `sums` [N, 4]: weighted red, green, blue, and the weight."""
    height, width = depth.shape
    for i in prange(len(places)):
        is_shown, a, b, x, y, z = shown_at(places[i], depth, normals, viewmat, K, tolerance[i])
        if not is_shown:
            continue
        u, v = np.int64(np.floor(a)), np.int64(np.floor(b))
        f = facing[i]
        towards = 0.0
        for k in range(3):
            towards -= f[k] * (viewmat[0, k] * x + viewmat[1, k] * y + viewmat[2, k] * z)
        cosine = towards / np.sqrt(x * x + y * y + z * z)
        if cosine <= 0:
            continue
        w = (cosine / (z * z)) ** SHARPNESS * trust[v, u] + 1e-20
        a, b = min(max(a - 0.5, 0.0), width - 1.001), min(max(b - 0.5, 0.0), height - 1.001)
        u, v = np.int64(a), np.int64(b)
        s, t = a - u, b - v
        for k in range(3):
            upper = (1 - s) * image[v, u, k] + s * image[v, u + 1, k]
            lower = (1 - s) * image[v + 1, u, k] + s * image[v + 1, u + 1, k]
            sums[i, k] += w * ((1 - t) * upper + t * lower)
        sums[i, 3] += w
