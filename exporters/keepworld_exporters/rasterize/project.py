"""Gaussians in space to Gaussians on a picture (EWA projection), and the gradients back.

Sources: Zwicker et al. 2001, "EWA volume splatting"; Kerbl et al. 2023, "3D Gaussian splatting"; for the antialiased mode
Yu et al. 2024, "Mip-Splatting"; conventions and constants as gsplat documents them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.rasterize.blend import MIN_ALPHA

EPS2D = 0.3  # added to the diagonal of the covariance on the picture, pixels squared
NEAR = 0.01
MARGIN = 0.3  # of half a field of view: where the projection is linearised, means are held this near to the picture
_SLICES = 64  # of the work, however many threads there are: sums over them come out the same


class Projected(NamedTuple):
    """Gaussians [N] on a picture.

    Attributes:
        means2d: [N, 2] float64, pixels.
        conics: [N, 3] float64, the inverse covariance's xx, xy, yy.
        depths: [N] float32 along +z.
        opacities: [N] float32; in the antialiased mode less than they were, as the low-pass filter has spread them.
        boxes: [N, 4] int32, the pixels each can reach as left, top, right, bottom (the last two exclusive), empty for
            those that are not seen.
        ellipses: [N, 4] float32, the edge beyond which alpha is below 1 / 255, from the mean: its lowest y; the y of its tip
            to the right; by how much its middle moves to the right with each row down; half its width in the middle row.
    """

    means2d: NDArray[np.float64]
    conics: NDArray[np.float64]
    depths: NDArray[np.float32]
    opacities: NDArray[np.float32]
    boxes: NDArray[np.int32]
    ellipses: NDArray[np.float32]


def project(
    means: NDArray[np.float32],
    quats: NDArray[np.float32],
    scales: NDArray[np.float32],
    opacities: NDArray[np.float32],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    width: int,
    height: int,
    *,
    antialiased: bool = False,
) -> Projected:
    """Where each Gaussian [N] falls on a picture."""
    return Projected(*_project(means, quats, scales, opacities, viewmat, K, width, height, antialiased))


@njit(cache=True)
def rotation(quat: NDArray[np.float32], R: NDArray[np.float64]) -> float:
    """Write the rotation of a quaternion of any length, and give that length."""
    w, x, y, z = np.float64(quat[0]), np.float64(quat[1]), np.float64(quat[2]), np.float64(quat[3])
    length = max(np.sqrt(w * w + x * x + y * y + z * z), 1e-12)
    w, x, y, z = w / length, x / length, y / length, z / length
    R[0, 0], R[0, 1], R[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    R[1, 0], R[1, 1], R[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    R[2, 0], R[2, 1], R[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
    return length


@njit(cache=True, inline="always")
def _held(slope: float, focal: float, centre: float, size: int) -> float:
    """A direction's slope x / z, held near the picture as gsplat holds it."""
    margin = MARGIN * 0.5 * size / focal
    return min((size - centre) / focal + margin, max(-(centre / focal + margin), slope))


@njit(cache=True, parallel=True)
def _project(
    means: NDArray[np.float32],
    quats: NDArray[np.float32],
    scales: NDArray[np.float32],
    opacities: NDArray[np.float32],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    width: int,
    height: int,
    antialiased: bool,
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float32],
    NDArray[np.float32],
    NDArray[np.int32],
    NDArray[np.float32],
]:
    count = len(means)
    means2d, conics = np.zeros((count, 2)), np.zeros((count, 3))
    depths, seen_opacities = np.zeros(count, np.float32), np.zeros(count, np.float32)
    boxes, ellipses = np.zeros((count, 4), np.int32), np.zeros((count, 4), np.float32)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    for part in prange(_SLICES):
        R = np.empty((3, 3))
        for i in range(part * count // _SLICES, (part + 1) * count // _SLICES):
            if not opacities[i] >= MIN_ALPHA:
                continue
            p = means[i]
            z = viewmat[2, 0] * p[0] + viewmat[2, 1] * p[1] + viewmat[2, 2] * p[2] + viewmat[2, 3]
            if not z >= NEAR:
                continue
            x = viewmat[0, 0] * p[0] + viewmat[0, 1] * p[1] + viewmat[0, 2] * p[2] + viewmat[0, 3]
            y = viewmat[1, 0] * p[0] + viewmat[1, 1] * p[1] + viewmat[1, 2] * p[2] + viewmat[1, 3]
            slope_x, slope_y = _held(x / z, fx, cx, width), _held(y / z, fy, cy, height)
            rotation(quats[i], R)
            xx, xy, yy = 0.0, 0.0, 0.0
            for k in range(3):
                ax, ay, az = R[0, k], R[1, k], R[2, k]
                s = np.float64(scales[i, k])
                vx = viewmat[0, 0] * ax + viewmat[0, 1] * ay + viewmat[0, 2] * az
                vy = viewmat[1, 0] * ax + viewmat[1, 1] * ay + viewmat[1, 2] * az
                vz = viewmat[2, 0] * ax + viewmat[2, 1] * ay + viewmat[2, 2] * az
                du, dv = s * fx / z * (vx - slope_x * vz), s * fy / z * (vy - slope_y * vz)
                xx += du * du
                xy += du * dv
                yy += dv * dv
            before = xx * yy - xy * xy
            xx, yy = xx + EPS2D, yy + EPS2D
            det = xx * yy - xy * xy
            opacity = np.float64(opacities[i])
            if antialiased:
                opacity *= np.sqrt(max(0.0, before / det))
            if not (det > 0 and opacity >= MIN_ALPHA):
                continue
            # Beyond this many standard deviations alpha is below 1 / 255.
            reach = np.sqrt(2 * np.log(opacity / MIN_ALPHA))
            u, v = fx * x / z + cx, fy * y / z + cy
            ru, rv = reach * np.sqrt(xx), reach * np.sqrt(yy)
            left, right = max(0.0, np.floor(u - ru - 0.5)), min(float(width), np.ceil(u + ru + 0.5))
            top, bottom = max(0.0, np.floor(v - rv - 0.5)), min(float(height), np.ceil(v + rv + 0.5))
            if not (left < right and top < bottom):
                continue
            means2d[i, 0], means2d[i, 1], depths[i], seen_opacities[i] = u, v, z, opacity
            conics[i, 0], conics[i, 1], conics[i, 2] = yy / det, -xy / det, xx / det
            boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = left, top, right, bottom
            ellipses[i, 0], ellipses[i, 1] = rv, reach * xy / np.sqrt(xx)
            ellipses[i, 2], ellipses[i, 3] = xy / yy, reach * np.sqrt(det / yy)
    return means2d, conics, depths, seen_opacities, boxes, ellipses


@njit(cache=True, parallel=True)
def project_back(
    sums: NDArray[np.float64],
    boxes: NDArray[np.int32],
    conics: NDArray[np.float64],
    seen_opacities: NDArray[np.float32],
    means: NDArray[np.float32],
    quats: NDArray[np.float32],
    scales: NDArray[np.float32],
    opacities: NDArray[np.float32],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    width: int,
    height: int,
    antialiased: bool,
    by_means: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """The loss's gradients by what was projected, from those on the picture.

    Args:
        sums: [N, 10], the gradients on the picture as `blend.PARTS` says.
        boxes, conics, seen_opacities: as they came from the projection.
        means, quats, scales, opacities, viewmat, K, width, height, antialiased: as they went into it.
        by_means: [N, 3], to which the means' gradients are added.

    Returns:
        The gradients by quats [N, 4], scales [N, 3], opacities [N] and viewmat [4, 4].
    """
    count = len(means)
    by_quats, by_scales = np.zeros((count, 4), np.float32), np.zeros((count, 3), np.float32)
    by_opacities, by_viewmats = np.zeros(count, np.float32), np.zeros((_SLICES, 4, 4))
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    W = np.ascontiguousarray(viewmat[:3, :3])
    for part in prange(_SLICES):
        R, Q, by_Q, by_R = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
        by_W = by_viewmats[part]
        for i in range(part * count // _SLICES, (part + 1) * count // _SLICES):
            if boxes[i, 2] == boxes[i, 0]:
                continue
            p = means[i]
            x = W[0, 0] * p[0] + W[0, 1] * p[1] + W[0, 2] * p[2] + viewmat[0, 3]
            y = W[1, 0] * p[0] + W[1, 1] * p[1] + W[1, 2] * p[2] + viewmat[1, 3]
            z = W[2, 0] * p[0] + W[2, 1] * p[1] + W[2, 2] * p[2] + viewmat[2, 3]
            slope_x, slope_y = _held(x / z, fx, cx, width), _held(y / z, fy, cy, height)
            length = rotation(quats[i], R)
            for r in range(3):
                for c in range(3):
                    Q[r, c] = W[r, 0] * R[0, c] + W[r, 1] * R[1, c] + W[r, 2] * R[2, c]
            # From the exponent's moments to the mean and the conic on the picture.
            a, b, c = conics[i, 0], conics[i, 1], conics[i, 2]
            by_u, by_v = a * sums[i, 1] + b * sums[i, 2], b * sums[i, 1] + c * sums[i, 2]
            by_a, by_b, by_c = -0.5 * sums[i, 3], -0.5 * sums[i, 4], -0.5 * sums[i, 5]  # by_b: of each of the two xy
            # Through the inverse: -C G C, symmetric.
            ga, gb, gc, gd = a * by_a + b * by_b, a * by_b + b * by_c, b * by_a + c * by_b, b * by_b + c * by_c
            by_xx, by_xy, by_yy = -(ga * a + gb * b), -(ga * b + gb * c), -(gc * b + gd * c)
            by_opacity = sums[i, 0] / np.float64(seen_opacities[i])
            if antialiased:
                # shrink^2 = det(cov) / det(cov + 0.3): its logarithm's gradient is inv(cov) - inv(cov + 0.3).
                det = 1 / (a * c - b * b)
                xx, xy, yy = c * det - EPS2D, -b * det, a * det - EPS2D
                before = xx * yy - xy * xy
                half = 0.5 * sums[i, 0]
                by_xx += half * (yy / before - a)
                by_xy += half * (-xy / before - b)
                by_yy += half * (xx / before - c)
                by_opacity *= np.sqrt(max(0.0, before / det))
            by_opacities[i] = by_opacity
            # cov = A A^T with A = J Q diag(s), J = [fx/z 0 -fx slope_x/z; 0 fy/z -fy slope_y/z].
            by_j00, by_j02, by_j11, by_j12 = 0.0, 0.0, 0.0, 0.0
            for k in range(3):
                s = np.float64(scales[i, k])
                u0, u1 = fx / z * (Q[0, k] - slope_x * Q[2, k]), fy / z * (Q[1, k] - slope_y * Q[2, k])
                by_a0, by_a1 = 2 * s * (by_xx * u0 + by_xy * u1), 2 * s * (by_xy * u0 + by_yy * u1)
                by_scales[i, k] = by_a0 * u0 + by_a1 * u1
                by_u0, by_u1 = by_a0 * s, by_a1 * s
                by_j00 += by_u0 * Q[0, k]
                by_j02 += by_u0 * Q[2, k]
                by_j11 += by_u1 * Q[1, k]
                by_j12 += by_u1 * Q[2, k]
                by_Q[0, k], by_Q[1, k] = fx / z * by_u0, fy / z * by_u1
                by_Q[2, k] = -fx / z * slope_x * by_u0 - fy / z * slope_y * by_u1
            by_x, by_y = fx / z * by_u, fy / z * by_v
            by_z = sums[i, 9] - (fx * x * by_u + fy * y * by_v) / (z * z)
            by_z -= (fx * (by_j00 - slope_x * by_j02) + fy * (by_j11 - slope_y * by_j12)) / (z * z)
            if slope_x == x / z:
                by_x -= fx / (z * z) * by_j02
                by_z += fx * x / (z * z * z) * by_j02
            if slope_y == y / z:
                by_y -= fy / (z * z) * by_j12
                by_z += fy * y / (z * z * z) * by_j12
            for r in range(3):
                by_means[i, r] += W[0, r] * by_x + W[1, r] * by_y + W[2, r] * by_z
                for c in range(3):
                    by_R[r, c] = W[0, r] * by_Q[0, c] + W[1, r] * by_Q[1, c] + W[2, r] * by_Q[2, c]
                    by_W[r, c] += by_Q[r, 0] * R[c, 0] + by_Q[r, 1] * R[c, 1] + by_Q[r, 2] * R[c, 2]
            for c in range(3):
                by_W[0, c] += by_x * p[c]
                by_W[1, c] += by_y * p[c]
                by_W[2, c] += by_z * p[c]
            by_W[0, 3] += by_x
            by_W[1, 3] += by_y
            by_W[2, 3] += by_z
            quat_back(quats[i], length, by_R, by_quats[i])
    by_viewmat = np.zeros((4, 4))
    for part in range(_SLICES):
        by_viewmat += by_viewmats[part]
    return by_quats, by_scales, by_opacities, by_viewmat


@njit(cache=True)
def quat_back(
    quat: NDArray[np.float32], length: float, by_R: NDArray[np.float64], by_quat: NDArray[np.float32]
) -> None:
    """The gradient by a quaternion of any length from that by its rotation."""
    w, x, y, z = quat[0] / length, quat[1] / length, quat[2] / length, quat[3] / length
    D = by_R
    gw = 2 * (x * (D[2, 1] - D[1, 2]) + y * (D[0, 2] - D[2, 0]) + z * (D[1, 0] - D[0, 1]))
    gx = 2 * (y * (D[0, 1] + D[1, 0]) + z * (D[0, 2] + D[2, 0]) + w * (D[2, 1] - D[1, 2]) - 2 * x * (D[1, 1] + D[2, 2]))
    gy = 2 * (x * (D[0, 1] + D[1, 0]) + z * (D[1, 2] + D[2, 1]) + w * (D[0, 2] - D[2, 0]) - 2 * y * (D[0, 0] + D[2, 2]))
    gz = 2 * (x * (D[0, 2] + D[2, 0]) + y * (D[1, 2] + D[2, 1]) + w * (D[1, 0] - D[0, 1]) - 2 * z * (D[0, 0] + D[1, 1]))
    along = gw * w + gx * x + gy * y + gz * z
    by_quat[0], by_quat[1] = (gw - along * w) / length, (gx - along * x) / length
    by_quat[2], by_quat[3] = (gy - along * y) / length, (gz - along * z) / length
