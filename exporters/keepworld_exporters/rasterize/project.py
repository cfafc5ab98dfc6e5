"""Gaussians in space to Gaussians on a picture: EWA projection and spherical harmonics.

Sources: Zwicker et al. 2001, "EWA volume splatting"; Kerbl et al. 2023, "3D Gaussian splatting"; conventions and constants as
gsplat documents them.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

EPS2D = 0.3  # added to the diagonal of the covariance on the picture, pixels squared
NEAR = 0.01
MIN_ALPHA = 1.0 / 255.0


@njit(cache=True, parallel=True)
def project(
    means: NDArray[np.float32],
    quats: NDArray[np.float32],
    scales: NDArray[np.float32],
    opacities: NDArray[np.float32],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    width: int,
    height: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32], NDArray[np.int32]]:
    """Where each Gaussian [N] falls on a picture.

    Returns:
        means2d [N, 2] in pixels; conics [N, 3], the inverse covariance's xx, xy, yy; depths [N]; and boxes [N, 4], the pixels
        it can reach as left, top, right, bottom (the last two exclusive), empty for Gaussians that are not seen.
    """
    count = len(means)
    means2d, conics = np.zeros((count, 2)), np.zeros((count, 3))
    depths, boxes = np.zeros(count, np.float32), np.zeros((count, 4), np.int32)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    tan_x, tan_y = 0.5 * width / fx, 0.5 * height / fy
    for i in prange(count):
        if opacities[i] < MIN_ALPHA:
            continue
        p = means[i]
        z = viewmat[2, 0] * p[0] + viewmat[2, 1] * p[1] + viewmat[2, 2] * p[2] + viewmat[2, 3]
        if z < NEAR:
            continue
        x = viewmat[0, 0] * p[0] + viewmat[0, 1] * p[1] + viewmat[0, 2] * p[2] + viewmat[0, 3]
        y = viewmat[1, 0] * p[0] + viewmat[1, 1] * p[1] + viewmat[1, 2] * p[2] + viewmat[1, 3]
        # The projection is linearised at the mean, which is held near the picture as gsplat holds it.
        tx = z * min((width - cx) / fx + 0.3 * tan_x, max(-(cx / fx + 0.3 * tan_x), x / z))
        ty = z * min((height - cy) / fy + 0.3 * tan_y, max(-(cy / fy + 0.3 * tan_y), y / z))
        q = quats[i]
        length = np.sqrt(np.float64(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]))
        a, b, c, d = q[0] / length, q[1] / length, q[2] / length, q[3] / length
        xx, xy, yy = 0.0, 0.0, 0.0
        for k in range(3):
            if k == 0:
                ax, ay, az = 1 - 2 * (c * c + d * d), 2 * (b * c + a * d), 2 * (b * d - a * c)
            elif k == 1:
                ax, ay, az = 2 * (b * c - a * d), 1 - 2 * (b * b + d * d), 2 * (c * d + a * b)
            else:
                ax, ay, az = 2 * (b * d + a * c), 2 * (c * d - a * b), 1 - 2 * (b * b + c * c)
            s = np.float64(scales[i, k])
            vx = viewmat[0, 0] * ax + viewmat[0, 1] * ay + viewmat[0, 2] * az
            vy = viewmat[1, 0] * ax + viewmat[1, 1] * ay + viewmat[1, 2] * az
            vz = viewmat[2, 0] * ax + viewmat[2, 1] * ay + viewmat[2, 2] * az
            on_x = s * fx * (vx - tx / z * vz) / z
            on_y = s * fy * (vy - ty / z * vz) / z
            xx += on_x * on_x
            xy += on_x * on_y
            yy += on_y * on_y
        xx += EPS2D
        yy += EPS2D
        det = xx * yy - xy * xy
        if not det > 0:
            continue
        # Beyond this many standard deviations alpha is below 1 / 255.
        reach = np.sqrt(2 * np.log(255.0 * opacities[i]))
        u, v = fx * x / z + cx, fy * y / z + cy
        ru, rv = reach * np.sqrt(xx), reach * np.sqrt(yy)
        left, right = max(0.0, np.floor(u - ru - 0.5)), min(float(width), np.ceil(u + ru + 0.5))
        top, bottom = max(0.0, np.floor(v - rv - 0.5)), min(float(height), np.ceil(v + rv + 0.5))
        if not (left < right and top < bottom):
            continue
        means2d[i, 0], means2d[i, 1], depths[i] = u, v, z
        conics[i, 0], conics[i, 1], conics[i, 2] = yy / det, -xy / det, xx / det
        boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = left, top, right, bottom
    return means2d, conics, depths, boxes


@njit(cache=True, parallel=True)
def shade(
    means: NDArray[np.float32],
    sh0: NDArray[np.float32],
    shN: NDArray[np.float32],
    centre: NDArray[np.float64],
    boxes: NDArray[np.int32],
) -> NDArray[np.float64]:
    """Colours [N, 3], not below 0, of Gaussians seen from `centre` [3]; those whose box is empty stay black."""
    count, bands = len(means), shN.shape[1]
    colours = np.zeros((count, 3))
    for i in prange(count):
        if boxes[i, 2] == boxes[i, 0]:
            continue
        x, y, z = means[i, 0] - centre[0], means[i, 1] - centre[1], means[i, 2] - centre[2]
        length = max(np.sqrt(x * x + y * y + z * z), 1e-12)
        x, y, z = x / length, y / length, z / length
        for k in range(3):
            total = 0.5 + 0.28209479177387814 * sh0[i, k]
            if bands >= 3:
                total += 0.4886025119029199 * (-y * shN[i, 0, k] + z * shN[i, 1, k] - x * shN[i, 2, k])
            if bands >= 8:
                total += 1.0925484305920792 * (x * y * shN[i, 3, k] - y * z * shN[i, 4, k] - x * z * shN[i, 6, k])
                total += 0.31539156525252005 * (3 * z * z - 1) * shN[i, 5, k]
                total += 0.5462742152960396 * (x * x - y * y) * shN[i, 7, k]
            if bands >= 15:
                total += 0.5900435899266435 * -y * (3 * x * x - y * y) * shN[i, 8, k]
                total += 2.890611442640554 * x * y * z * shN[i, 9, k]
                total += 0.4570457994644658 * -y * (5 * z * z - 1) * shN[i, 10, k]
                total += 0.3731763325901154 * z * (5 * z * z - 3) * shN[i, 11, k]
                total += 0.4570457994644658 * -x * (5 * z * z - 1) * shN[i, 12, k]
                total += 1.445305721320277 * z * (x * x - y * y) * shN[i, 13, k]
                total += 0.5900435899266435 * -x * (x * x - 3 * y * y) * shN[i, 14, k]
            colours[i, k] = max(total, 0.0)
    return colours
