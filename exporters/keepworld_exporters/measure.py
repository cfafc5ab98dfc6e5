"""Figures of merit: pictures against pictures (PSNR, SSIM) and surfaces against surfaces (accuracy, completeness, F-score)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keepworld.capture import CapturedFrame
from numba import njit, prange
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from keepworld_exporters.stages.depth import plane_normals

SSIM_WINDOW = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """How a surface compares to the true one; lengths in the capture's units.

    Attributes:
        accuracy: mean distance from the surface to the truth.
        completeness: mean distance from the truth that was seen to the surface.
        precision, recall: shares of those distances below `threshold`.
        fscore: their harmonic mean.
        chamfer: the mean of accuracy and completeness.
        num_seen: how many points of the truth were seen, which completeness and recall speak of.
    """

    threshold: float
    accuracy: float
    completeness: float
    precision: float
    recall: float
    fscore: float
    chamfer: float
    num_seen: int


def psnr(image: NDArray[np.floating], truth: NDArray[np.floating], mask: NDArray[np.bool_] | None = None) -> float:
    """Peak signal to noise, decibels, of pictures [H, W, 3] in [0, 1], over `mask` [H, W] or everywhere."""
    error = (image.astype(np.float64) - truth) ** 2
    mean = error.mean() if mask is None else error[mask].mean()
    return float(-10 * np.log10(max(mean, 1e-10)))


def ssim(image: NDArray[np.floating], truth: NDArray[np.floating], mask: NDArray[np.bool_] | None = None) -> float:
    """Structural similarity of pictures [H, W, 3] in [0, 1], over `mask` [H, W] or everywhere.

    Source: Wang et al. 2004, with its constants, in windows of 7 x 7 of equal weight with sample covariance.
    """

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(uniform_filter(values, size=(SSIM_WINDOW, SSIM_WINDOW, 1)))

    a, b = image.astype(np.float64), truth.astype(np.float64)
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = sample * (mean(a * a) - mean_a**2), sample * (mean(b * b) - mean_b**2)
    cov = sample * (mean(a * b) - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    border = SSIM_WINDOW // 2
    inner = np.zeros(score.shape[:2], np.bool_)
    inner[border:-border, border:-border] = True
    return float(score[inner if mask is None else inner & mask].mean())


def fidelity(to_truth: NDArray[np.floating], to_surface: NDArray[np.floating], *, threshold: float) -> Fidelity:
    """Sum up distances from the surface to the truth [N] and from the truth that was seen to the surface [M]."""
    precision = float((to_truth < threshold).mean()) if to_truth.size else 0.0
    recall = float((to_surface < threshold).mean()) if to_surface.size else 0.0
    accuracy = float(to_truth.mean()) if to_truth.size else float("nan")
    completeness = float(to_surface.mean()) if to_surface.size else float("nan")
    return Fidelity(
        threshold=threshold,
        accuracy=accuracy,
        completeness=completeness,
        precision=precision,
        recall=recall,
        fscore=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        chamfer=(accuracy + completeness) / 2,
        num_seen=int(to_surface.size),
    )


def sample_surface(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], count: int, seed: int
) -> NDArray[np.float64]:
    """Points [count, 3] spread evenly by area over a mesh; the same for the same seed."""
    rng = np.random.default_rng(seed)
    corners = vertices[faces].astype(np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    # Evenly spaced places along the heaped-up areas, each shifted a little: less uneven than independent draws.
    places = (np.arange(count) + rng.random(count)) / count * areas.sum()
    chosen = corners[np.minimum(np.searchsorted(np.cumsum(areas), places), len(faces) - 1)]
    a, b = rng.random((2, count, 1))
    fold = a + b > 1
    a, b = np.where(fold, 1 - a, a), np.where(fold, 1 - b, b)
    return np.asarray(chosen[:, 0] + a * (chosen[:, 1] - chosen[:, 0]) + b * (chosen[:, 2] - chosen[:, 0]))


def distances_to_mesh(
    points: NDArray[np.floating], vertices: NDArray[np.floating], faces: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Distance [N] from each point [N, 3] to the nearest place on a mesh."""
    import open3d as o3d  # 2.5 s: only when a truth is given

    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(np.ascontiguousarray(vertices, np.float32)),
        o3d.core.Tensor.from_numpy(np.ascontiguousarray(faces, np.uint32)),
    )
    return np.asarray(
        scene.compute_distance(o3d.core.Tensor.from_numpy(np.ascontiguousarray(points, np.float32))).numpy()
    )


def seen_points(
    points: NDArray[np.float64], frames: Sequence[CapturedFrame], *, max_depth: float, tolerance: float
) -> NDArray[np.bool_]:
    """Which of the points [N, 3] of the true surface the depth of any frame shows, within `max_depth` of its camera.

    All that the frames show of the lasting world counts, thin things and edges too, whether or not a mesh can be made of
    them. A point is seen if it lies within `tolerance` of the plane at its pixel or, where that has none, of its depth.
    """
    seen = np.zeros(len(points), np.bool_)
    for frame in frames:
        depth = frame.depth()
        if depth is None:
            continue
        depth = np.where(frame.lasting(), depth, np.float32(0))
        normals, smooth = plane_normals(depth, frame.camera.K)
        normals[~smooth] = (0, 0, 1)
        _mark_seen(points, depth, normals, frame.camera.viewmat, frame.camera.K, max_depth, tolerance, seen)
    return seen


@njit(cache=True, parallel=True)
def _mark_seen(
    points: NDArray[np.float64],
    depth: NDArray[np.float32],
    normals: NDArray[np.float32],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    max_depth: float,
    tolerance: float,
    seen: NDArray[np.bool_],
) -> None:
    height, width = depth.shape
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    for i in prange(len(points)):
        if seen[i]:
            continue
        p = points[i]
        z = viewmat[2, 0] * p[0] + viewmat[2, 1] * p[1] + viewmat[2, 2] * p[2] + viewmat[2, 3]
        if z < 1e-3 or z > max_depth:
            continue
        x = viewmat[0, 0] * p[0] + viewmat[0, 1] * p[1] + viewmat[0, 2] * p[2] + viewmat[0, 3]
        y = viewmat[1, 0] * p[0] + viewmat[1, 1] * p[1] + viewmat[1, 2] * p[2] + viewmat[1, 3]
        u, v = np.int64(np.floor(fx * x / z + cx)), np.int64(np.floor(fy * y / z + cy))
        if u < 0 or v < 0 or u >= width or v >= height:
            continue
        d = np.float64(depth[v, u])
        if d <= 0 or d > max_depth:
            continue
        qx, qy = (u + 0.5 - cx) / fx * d, (v + 0.5 - cy) / fy * d
        off = normals[v, u, 0] * (x - qx) + normals[v, u, 1] * (y - qy) + normals[v, u, 2] * (z - d)
        seen[i] = abs(off) < tolerance and abs(z - d) < 30 * tolerance
