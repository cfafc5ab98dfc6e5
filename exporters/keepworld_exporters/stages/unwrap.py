"""A surface laid out flat, so that a picture can be put on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.stages.charts import cut

GUTTER = 4  # texels kept free round each chart, so that neighbours do not shine through in smaller copies
USED = 0.5  # about the share of the picture that charts fill, as a first guess
FITS = 3  # how often the scale is set anew


def unwrap(
    vertices: NDArray[np.float32], faces: NDArray[np.int32], *, size: int, cells: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], tuple[int, int]]:
    """Cut a surface into charts and pack them into one picture of about `size` x `size` texels.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        size: of the picture, texels.
        cells: [V], how fine the surface is at each vertex: it gets the more texels the finer it is. None: equally many.

    Returns:
        Which vertex each new vertex is [W] (those on seams come several times), faces of the new vertices [F, 3], where
        each new vertex lies in the picture [W, 2] (0 to 1, right and down from its upper left corner), and the
        picture's width and height.
    """
    places = vertices.astype(np.float64)
    if cells is not None:
        places /= cells[:, None] / cells.min()
    corners = places[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    scale = float(np.sqrt(USED / max(area, 1e-30)) * size)
    chart, flat = cut(places * scale, faces, size)
    count = int(chart.max()) + 1
    extents = np.zeros((count, 2))
    np.maximum.at(extents, chart, flat.max(1))
    factor = 1.0
    for _ in range(FITS):
        corner_of, (width, height) = _pack(np.ceil(extents * factor).astype(np.int64) + 1 + GUTTER, size)
        if abs(height - size) < 0.02 * size:
            break
        factor *= max(0.2, (size - GUTTER) / height) ** 0.5
    key = chart[:, None] * len(vertices) + faces
    kept, first, index = np.unique(key, return_index=True, return_inverse=True)
    uvs = (flat.reshape(-1, 2)[first] * factor + corner_of[kept // len(vertices)] + GUTTER / 2 + 0.5) / (width, height)
    return kept % len(vertices), index.reshape(-1, 3).astype(np.int32), uvs.astype(np.float32), (width, height)


def _pack(sizes: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """Put boxes [N, 2] on shelves, the tallest first: their upper left corners [N, 2], and the picture's width and height."""
    width = max(width, int(sizes[:, 0].max()))
    corner_of = np.empty_like(sizes)
    x = y = shelf = 0
    for box in np.lexsort((-sizes[:, 0], -sizes[:, 1])):
        wide, tall = sizes[box]
        if x + wide > width:
            x, y, shelf = 0, y + shelf, 0
        corner_of[box] = x, y
        x, shelf = x + wide, max(shelf, tall)
    return corner_of, (width, int(y + shelf))
