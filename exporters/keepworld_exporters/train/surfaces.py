"""Splats that lie in the surface: flat, and turned as the depth says that they show together.

Source: the normal consistency of Huang et al. 2024, "2D Gaussian splatting", for Gaussians that are pressed flat as in Chen et
al. 2024, "PGSR". Departs from them: the depth's own gradient is not followed, so that splats turn to the surface, which the
pictures place, and not the surface to the splats.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from keepworld_exporters.rasterize.project import quat_back, rotation
from keepworld_exporters.rasterize.rasterizer import Gradients, Pinhole, Rasterizer
from keepworld_exporters.scene import Splats
from keepworld_exporters.stages.depth import plane_normals
from keepworld_exporters.stages.splats import SH_C0

COVERED = 0.5  # alpha from which a pixel shows a surface
FROM = 0.2  # of a training: before that there is no surface to turn to
AGREEMENT, FLATNESS = (
    0.2,
    10.0,
)  # what both count in the loss; flatness in the mean thickness, parts of the scene's size


def flattened(
    gradients: Gradients,
    splats: Splats,
    camera: Pinhole,
    out: NDArray[np.float32],
    rasterizer: Rasterizer,
    size: float,
) -> Gradients:
    """A step's gradients with those added that press splats flat and turn them into their surface; `size`: the scene's."""
    _, turning = turned(rasterizer, splats, camera, out)
    summed = {
        name: getattr(gradients, name) + np.float32(AGREEMENT) * getattr(turning, name)
        for name in ("means", "quats", "scales", "opacities")
    }
    rows = np.arange(len(splats.means))
    summed["scales"][rows, splats.scales.argmin(1)] += np.float32(FLATNESS / (len(rows) * size))
    return replace(gradients, **summed)


def turned(
    rasterizer: Rasterizer, splats: Splats, camera: Pinhole, out: NDArray[np.float32]
) -> tuple[float, Gradients]:
    """How far splats are turned from the surface they show, and the gradients that turn them.

    Args:
        rasterizer: what draws them.
        splats: N of them.
        camera: whose picture it is.
        out: [H, W, 5] what it sees, as `Drawing.out`.

    Returns:
        The mean over all pixels of 1 - cos between splats and surface, weighted as the splats' colours are, and its gradients.
    """
    surface, shown = _surface(out, camera)
    normals, axes, signs = facing(splats, camera)
    # As colours: 0.5 + 0.5 n lies in [0, 1], so that nothing is cut off.
    painted = replace(splats, sh0=(normals * (0.5 / SH_C0)).astype(np.float32), shN=np.zeros_like(splats.shN))
    drawing = rasterizer.draw(painted, camera, degree=0)
    alpha = drawing.out[..., 3]
    summed = 2 * drawing.out[..., :3] - alpha[..., None]  # of weight times normal
    off = np.where(shown, alpha - (surface * summed).sum(-1), 0)
    wanted = np.zeros_like(out)
    wanted[..., :3] = -2 * surface / off.size
    wanted[..., 3] = (shown + surface.sum(-1)) / off.size
    by = drawing.pull(wanted)
    by_normals = by.sh0 * np.float32(0.5 / SH_C0) * signs[:, None]
    quats = by.quats + _by_quats(splats.quats, axes, by_normals)
    nothing = np.zeros_like
    return float(off.mean()), replace(by, quats=quats, sh0=nothing(by.sh0), shN=nothing(by.shN))


def facing(splats: Splats, camera: Pinhole) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Which way splats face: normals [N, 3] towards the camera, in the world; their thinnest axes [N]; and which end [N]."""
    axes = splats.scales.argmin(1)
    turns = Rotation.from_quat(splats.quats.astype(np.float64), scalar_first=True).as_matrix()
    normals = turns[np.arange(len(axes)), :, axes]
    centre = np.linalg.inv(camera.viewmat)[:3, 3]
    signs = np.where(((centre - splats.means) * normals).sum(1) < 0, -1.0, 1.0)
    return normals * signs[:, None], axes, signs


def _surface(out: NDArray[np.float32], camera: Pinhole) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Normals [H, W, 3] in the world of the depth that a picture shows, 0 where it shows none, and where it does [H, W]."""
    alpha = out[..., 3]
    depth = np.where(alpha > COVERED, out[..., 4] / np.maximum(alpha, COVERED), 0).astype(np.float32)
    normals, smooth = plane_normals(depth, camera.K)
    turned_back = normals @ camera.viewmat[:3, :3].astype(np.float32)  # rows: world_from_camera
    return np.where(smooth[..., None], turned_back, np.float32(0)), smooth


@njit(cache=True, parallel=True)
def _by_quats(
    quats: NDArray[np.float32], axes: NDArray[np.int64], by_normals: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The gradient by quats [N, 4], of any length, from that by the column of their rotation that `axes` [N] says [N, 3]."""
    by_quats = np.zeros((len(quats), 4), np.float32)
    for i in prange(len(quats)):
        R, by_R = np.empty((3, 3)), np.zeros((3, 3))
        length = rotation(quats[i], R)
        by_R[:, axes[i]] = by_normals[i]
        quat_back(quats[i], length, by_R, by_quats[i])
    return by_quats
