"""Where the surface lies that splats show: at each pixel the depth at which half of the light is gone.

Each Gaussian is taken for the sheet it is: away from its middle its depth changes as the mean of z does given where on the
picture one looks, which the covariance of (u, v, z) says. That is the first-order form of what Huang et al. 2024, "2D Gaussian
splatting", and Zhang et al. 2024, "RaDe-GS", do.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.rasterize.blend import MAX_ALPHA, MIN_ALPHA
from keepworld_exporters.rasterize.project import EPS2D, project, rotation
from keepworld_exporters.rasterize.rasterizer import Pinhole
from keepworld_exporters.rasterize.tiles import TILE, bin_tiles, depth_order
from keepworld_exporters.scene import Splats


def surface_depth(splats: Splats, camera: Pinhole, *, sloped: bool = True) -> NDArray[np.float32]:
    """The median depth [H, W] along +z of what a camera sees of splats; 0 where less than half of the light is stopped.

    Args:
        splats: of any degree.
        camera: whose picture it is.
        sloped: whether Gaussians are sheets; else each lies at the depth of its middle.
    """
    viewmat, K, width, height = camera.viewmat, camera.K, camera.width, camera.height
    flat = project(
        splats.means, splats.quats, splats.scales, splats.opacities, viewmat, K, width, height,
        antialiased=splats.antialiased,
    )  # fmt: skip
    starts, members = bin_tiles(depth_order(flat.depths, flat.boxes), flat.boxes, width, height)
    slopes = np.zeros((len(splats.means), 2))
    if sloped:
        _slopes(splats.means, splats.quats, splats.scales, viewmat, K, flat.boxes, slopes)
    return _median(
        starts, members, flat.boxes, flat.means2d, flat.conics, flat.depths, flat.opacities, slopes, width, height
    )


@njit(cache=True)
def _slopes(
    means: NDArray[np.float32],
    quats: NDArray[np.float32],
    scales: NDArray[np.float32],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    boxes: NDArray[np.int32],
    slopes: NDArray[np.float64],
) -> None:
    """Write how z changes with each pixel to the right and down [N, 2] in every Gaussian."""
    R, fx, fy = np.empty((3, 3)), K[0, 0], K[1, 1]
    for i in range(len(means)):
        if boxes[i, 2] == boxes[i, 0]:
            continue
        p = means[i]
        x = viewmat[0, 0] * p[0] + viewmat[0, 1] * p[1] + viewmat[0, 2] * p[2] + viewmat[0, 3]
        y = viewmat[1, 0] * p[0] + viewmat[1, 1] * p[1] + viewmat[1, 2] * p[2] + viewmat[1, 3]
        z = viewmat[2, 0] * p[0] + viewmat[2, 1] * p[1] + viewmat[2, 2] * p[2] + viewmat[2, 3]
        rotation(quats[i], R)
        uu, uv, vv, uz, vz = EPS2D, 0.0, EPS2D, 0.0, 0.0
        for k in range(3):
            s = np.float64(scales[i, k])
            ax = s * (viewmat[0, 0] * R[0, k] + viewmat[0, 1] * R[1, k] + viewmat[0, 2] * R[2, k])
            ay = s * (viewmat[1, 0] * R[0, k] + viewmat[1, 1] * R[1, k] + viewmat[1, 2] * R[2, k])
            az = s * (viewmat[2, 0] * R[0, k] + viewmat[2, 1] * R[1, k] + viewmat[2, 2] * R[2, k])
            du, dv = fx / z * (ax - x / z * az), fy / z * (ay - y / z * az)
            uu, uv, vv = uu + du * du, uv + du * dv, vv + dv * dv
            uz, vz = uz + du * az, vz + dv * az
        det = uu * vv - uv * uv
        slopes[i, 0], slopes[i, 1] = (vv * uz - uv * vz) / det, (uu * vz - uv * uz) / det


@njit(cache=True, parallel=True)
def _median(
    starts: NDArray[np.int64],
    members: NDArray[np.int32],
    boxes: NDArray[np.int32],
    means2d: NDArray[np.float64],
    conics: NDArray[np.float64],
    depths: NDArray[np.float32],
    opacities: NDArray[np.float32],
    slopes: NDArray[np.float64],
    width: int,
    height: int,
) -> NDArray[np.float32]:
    depth = np.zeros((height, width), np.float32)
    across = (width + TILE - 1) // TILE
    for tile in prange(len(starts) - 1):
        left, top = tile % across * TILE, tile // across * TILE
        right, bottom = min(left + TILE, width), min(top + TILE, height)
        light = np.ones((TILE, TILE))
        for m in range(starts[tile], starts[tile + 1]):
            i = members[m]
            for v in range(max(top, boxes[i, 1]), min(bottom, boxes[i, 3])):
                for u in range(max(left, boxes[i, 0]), min(right, boxes[i, 2])):
                    before = light[v - top, u - left]
                    if before <= 0.5:
                        continue
                    du, dv = u + 0.5 - means2d[i, 0], v + 0.5 - means2d[i, 1]
                    power = 0.5 * (conics[i, 0] * du * du + conics[i, 2] * dv * dv) + conics[i, 1] * du * dv
                    alpha = min(MAX_ALPHA, opacities[i] * np.exp(-power))
                    if alpha < MIN_ALPHA:
                        continue
                    light[v - top, u - left] = before * (1 - alpha)
                    if before * (1 - alpha) <= 0.5:
                        # Of a plane it is 1 / z that changes evenly; what is seen nearly from its edge is held back.
                        shift = (slopes[i, 0] * du + slopes[i, 1] * dv) / depths[i]
                        depth[v, u] = depths[i] / (1 - min(max(shift, -1.0), 0.5))
    return depth
