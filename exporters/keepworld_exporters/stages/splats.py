"""Splats made from a point cloud: discs that lie in the surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from keepworld_exporters.scene import Splats
from keepworld_exporters.stages.points import Cloud

SH_C0 = 0.28209479177387814
SPREAD = 0.55  # standard deviation of a disc, in distances to its neighbours
THICKNESS = 0.1  # of a disc, in its width
OPACITY = 0.95


def splats_from_cloud(cloud: Cloud) -> Splats:
    """Lay a flat disc round every point, wide enough to meet its neighbours, coloured as the point is."""
    points = cloud.points
    count = len(points.positions)
    tree = cKDTree(points.positions)
    distances = tree.query(points.positions, k=min(5, count), workers=-1)[0].reshape(count, -1)[:, 1:]
    spacing = distances.mean(1) if distances.shape[1] else cloud.sizes
    width = SPREAD * np.clip(spacing, 0.6 * cloud.sizes, 1.6 * cloud.sizes)
    return discs(points.positions, points.normals, points.colours, width)


def discs(
    positions: NDArray[np.float32],
    normals: NDArray[np.float32],
    colours: NDArray[np.uint8],
    width: NDArray[np.floating],
) -> Splats:
    """Splats of degree 0 at positions [N, 3], flat along normals [N, 3], with standard deviation `width` [N]."""
    count = len(positions)
    scales = np.stack([width, width, THICKNESS * width], 1)
    return Splats(
        means=positions,
        quats=quats_from_normals(normals),
        scales=scales.astype(np.float32),
        opacities=np.full(count, OPACITY, np.float32),
        sh0=((colours / 255.0 - 0.5) / SH_C0).astype(np.float32),
        shN=np.zeros((count, 0, 3), np.float32),
    )


def quats_from_normals(normals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit quaternions [N, 4], w x y z, of the shortest turns that take the z axis to each normal [N, 3]."""
    x, y, z = normals.astype(np.float64).T
    quats = np.stack([1 + z, -y, x, np.zeros_like(x)], 1)
    quats[z < -1 + 1e-9] = [0, 1, 0, 0]
    return (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32)


def join(*parts: Splats) -> Splats:
    """One set of splats from several of the same degree."""
    return Splats(
        means=np.concatenate([part.means for part in parts]),
        quats=np.concatenate([part.quats for part in parts]),
        scales=np.concatenate([part.scales for part in parts]),
        opacities=np.concatenate([part.opacities for part in parts]),
        sh0=np.concatenate([part.sh0 for part in parts]),
        shN=np.concatenate([part.shN for part in parts]),
    )
