"""A surface laid out flat, so that a picture can be put on it.

The charts and their packing are xatlas' (MIT, 0.3 MB), the unwrapper of many engines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GUTTER = 4  # texels kept free round each chart, so that neighbours do not shine through in smaller copies
USED = 0.6  # about the share of the picture that charts fill


def unwrap(
    vertices: NDArray[np.float32], faces: NDArray[np.int32], *, size: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], tuple[int, int]]:
    """Cut a surface into charts and pack them into one picture of about `size` x `size` texels.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        size: of the picture, texels.

    Returns:
        Which vertex each new vertex is [W] (those on seams come several times), faces of the new vertices [F, 3], where
        each new vertex lies in the picture [W, 2] (0 to 1, right and down from its upper left corner), and the
        picture's width and height.

    Source: xatlas 0.0.11.
    """
    import xatlas  # only where a texture is asked for

    corners = vertices[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    atlas = xatlas.Atlas()
    atlas.add_mesh(np.ascontiguousarray(vertices), faces.astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.padding = GUTTER
    packing.texels_per_unit = float(np.sqrt(USED / max(area, 1e-30)) * size)
    atlas.generate(pack_options=packing)
    origin, corners_of, uvs = atlas[0]
    shape = np.array([atlas.width, atlas.height], np.float32)
    return origin.astype(np.int64), corners_of.astype(np.int32), uvs.astype(np.float32), (int(shape[0]), int(shape[1]))
