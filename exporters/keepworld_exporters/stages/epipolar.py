"""How well cameras agree with what looks alike in their pictures: the distance of features from each other's epipolar lines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from keepworld.camera import invert_rigid
from numpy.typing import NDArray

MIN_BASELINE = 1e-6  # of the path's extent: cameras nearer to each other have no epipolar lines


def epipolar_errors(
    c2ws: NDArray[np.float64],
    Ks: NDArray[np.float64],
    keypoints: tuple[NDArray[np.float64], ...],
    pairs: Mapping[tuple[int, int], NDArray[np.int64]],
) -> dict[tuple[int, int], NDArray[np.float64]]:
    """Sampson's distance of every match, pixels, [M] a pair of frames; pairs of cameras at one place are left out.

    Args:
        c2ws: [N, 4, 4] camera to world.
        Ks: [N, 3, 3] intrinsics.
        keypoints: [N_i, 2] pixels, one array a frame.
        pairs: (i, j) -> [M, 2] indices of features.

    Source: Hartley and Zisserman, "Multiple view geometry", 11.4.3.
    """
    viewmats, inverse = invert_rigid(c2ws), np.linalg.inv(Ks)
    extent = max(float(np.linalg.norm(np.ptp(c2ws[:, :3, 3], axis=0))), 1e-12)
    errors = {}
    for (i, j), rows in pairs.items():
        across = viewmats[j] @ c2ws[i]
        t = across[:3, 3]
        length = float(np.linalg.norm(t))
        if length < MIN_BASELINE * extent or not len(rows):
            continue
        x, y, z = t / length
        essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ across[:3, :3]
        F = inverse[j].T @ essential @ inverse[i]
        ones = np.ones((len(rows), 1))
        p = np.concatenate([keypoints[i][rows[:, 0]], ones], 1)
        q = np.concatenate([keypoints[j][rows[:, 1]], ones], 1)
        there, here = p @ F.T, q @ F
        slope = (there[:, :2] ** 2).sum(1) + (here[:, :2] ** 2).sum(1)
        errors[i, j] = np.abs((q * there).sum(1)) / np.sqrt(np.maximum(slope, 1e-24))
    return errors
