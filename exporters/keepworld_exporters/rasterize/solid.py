"""Pictures of meshes and point clouds: a z-buffer, without light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from keepworld_exporters.rasterize.triangles import NEAR, trace
from keepworld_exporters.scene import Mesh, Points
from keepworld_exporters.texels import texels


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawn:
    """A mesh as a camera sees it.

    Attributes:
        image: [H, W, 3] float32 sRGB in [0, 1], 0 where there is nothing.
        alpha: [H, W] float32, the share of the pixel that the mesh covers.
        depth: [H, W] float32 along +z, of the nearest part; 0 where there is nothing.
    """

    image: NDArray[np.float32]
    alpha: NDArray[np.float32]
    depth: NDArray[np.float32]


def render_mesh(
    mesh: Mesh, viewmat: NDArray[np.float64], K: NDArray[np.float64], width: int, height: int, *, samples: int = 1
) -> Drawn:
    """Draw a mesh, both sides of it, with its texture (read between the texels) or else its vertices' colours.

    Args:
        mesh: what to draw.
        viewmat: [4, 4] world to camera.
        K: [3, 3] intrinsics.
        width, height: of the picture.
        samples: a pixel is the mean of so many by so many rays through it.
    """
    finer = K * np.array([[samples], [samples], [1.0]])
    hits = trace(mesh.vertices, mesh.faces, viewmat, finer, samples * width, samples * height)
    if mesh.texture is not None and mesh.uvs is not None:
        shown = texels(mesh.texture, hits.blend(mesh.uvs, mesh.faces))
    else:
        shown = hits.blend(mesh.colours, mesh.faces)
    covered = (hits.depth > 0).astype(np.float32)
    shape = (height, samples, width, samples)
    near = np.where(hits.depth > 0, hits.depth, np.inf).reshape(shape).min((1, 3))
    return Drawn(
        image=(shown * (covered[..., None] / np.float32(255))).reshape(*shape, 3).mean((1, 3), dtype=np.float32),
        alpha=covered.reshape(shape).mean((1, 3), dtype=np.float32),
        depth=np.where(np.isfinite(near), near, 0).astype(np.float32),
    )


def render_points(
    points: Points,
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    width: int,
    height: int,
    *,
    background: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Draw each point as a small square, the nearest in front: [H, W, 3]."""
    image = np.broadcast_to(background, (height, width, 3)).copy()
    depth = np.zeros((height, width), np.float32)
    seen = points.positions.astype(np.float64) @ viewmat[:3, :3].T + viewmat[:3, 3]
    _stamp(seen, points.colours, K, image, depth)
    return image


@njit(cache=True)
def _stamp(
    seen: NDArray[np.float64],
    colours: NDArray[np.uint8],
    K: NDArray[np.float64],
    image: NDArray[np.uint8],
    depth: NDArray[np.float32],
) -> None:
    height, width = depth.shape
    for i in range(len(seen)):
        z = seen[i, 2]
        if z < NEAR:
            continue
        u = int(np.floor(K[0, 0] * seen[i, 0] / z + K[0, 2] - 0.5))
        v = int(np.floor(K[1, 1] * seen[i, 1] / z + K[1, 2] - 0.5))
        for y in range(max(0, v), min(height, v + 2)):
            for x in range(max(0, u), min(width, u + 2)):
                if depth[y, x] == 0 or z < depth[y, x]:
                    depth[y, x] = z
                    for channel in range(3):
                        image[y, x, channel] = colours[i, channel]
