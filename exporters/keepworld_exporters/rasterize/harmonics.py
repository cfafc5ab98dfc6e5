"""Colours that change with the direction they are seen from: real spherical harmonics to degree 3, and the gradients back."""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

SH_C0 = 0.28209479177387814
BANDS = (0, 3, 8, 15)  # harmonics beyond the constant one, by degree
_SLICES = 64  # of the work, however many threads there are: sums over them come out the same


@njit(cache=True)
def _basis(x: float, y: float, z: float, bands: int, b: NDArray[np.float64]) -> None:
    """Write the harmonics beyond the constant one at a unit direction, in 3DGS's order and signs."""
    if bands >= 3:
        b[0], b[1], b[2] = -0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x
    if bands >= 8:
        b[3], b[4] = 1.0925484305920792 * x * y, -1.0925484305920792 * y * z
        b[5] = 0.31539156525252005 * (3 * z * z - 1)
        b[6], b[7] = -1.0925484305920792 * x * z, 0.5462742152960396 * (x * x - y * y)
    if bands >= 15:
        b[8] = -0.5900435899266435 * y * (3 * x * x - y * y)
        b[9] = 2.890611442640554 * x * y * z
        b[10] = -0.4570457994644658 * y * (5 * z * z - 1)
        b[11] = 0.3731763325901154 * z * (5 * z * z - 3)
        b[12] = -0.4570457994644658 * x * (5 * z * z - 1)
        b[13] = 1.445305721320277 * z * (x * x - y * y)
        b[14] = -0.5900435899266435 * x * (x * x - 3 * y * y)


@njit(cache=True, inline="always")
def _slope(x: float, y: float, z: float, bands: int, w: NDArray[np.float64]) -> tuple[float, float, float]:
    """The derivatives by x, y and z of `_basis` at a unit direction, weighted with w [K] and added up."""
    gx, gy, gz = 0.0, 0.0, 0.0
    if bands >= 3:
        k = 0.4886025119029199
        gx, gy, gz = -k * w[2], -k * w[0], k * w[1]
    if bands >= 8:
        k = 1.0925484305920792
        gx += k * (y * w[3] - z * w[6] + x * w[7])
        gy += k * (x * w[3] - z * w[4] - y * w[7])
        gz += 6 * 0.31539156525252005 * z * w[5] - k * (y * w[4] + x * w[6])
    if bands >= 15:
        k, xx_yy, xy = 3 * 0.5900435899266435, x * x - y * y, 2 * x * y
        gx -= k * (xy * w[8] + xx_yy * w[14])
        gy += k * (xy * w[14] - xx_yy * w[8])
        k = 2.890611442640554
        gx += k * z * (y * w[9] + x * w[13])
        gy += k * z * (x * w[9] - y * w[13])
        gz += k * (x * y * w[9] + 0.5 * xx_yy * w[13])
        k, zz = 0.4570457994644658, 5 * z * z - 1
        gx -= k * zz * w[12]
        gy -= k * zz * w[10]
        gz += 3 * 0.3731763325901154 * zz * w[11] - 10 * k * z * (y * w[10] + x * w[12])
    return gx, gy, gz


@njit(cache=True, parallel=True)
def shade(
    means: NDArray[np.float32],
    sh0: NDArray[np.float32],
    shN: NDArray[np.float32],
    centre: NDArray[np.float64],
    boxes: NDArray[np.int32],
    bands: int,
) -> NDArray[np.float32]:
    """Colours [N, 3], not below 0, of Gaussians seen from `centre` [3]; those whose box is empty stay black.

    Args:
        means, sh0, shN: as `scene.Splats` has them.
        centre: where the camera stands.
        boxes: [N, 4], the pixels each can reach.
        bands: how many of shN's harmonics count: 0, 3, 8 or 15.
    """
    count = len(means)
    colours = np.zeros((count, 3), np.float32)
    for part in prange(_SLICES):
        b = np.zeros(15)
        for i in range(part * count // _SLICES, (part + 1) * count // _SLICES):
            if boxes[i, 2] == boxes[i, 0]:
                continue
            x, y, z = means[i, 0] - centre[0], means[i, 1] - centre[1], means[i, 2] - centre[2]
            length = max(np.sqrt(x * x + y * y + z * z), 1e-12)
            _basis(x / length, y / length, z / length, bands, b)
            red, green, blue = 0.5 + SH_C0 * sh0[i, 0], 0.5 + SH_C0 * sh0[i, 1], 0.5 + SH_C0 * sh0[i, 2]
            for j in range(bands):
                red += b[j] * shN[i, j, 0]
                green += b[j] * shN[i, j, 1]
                blue += b[j] * shN[i, j, 2]
            colours[i, 0], colours[i, 1], colours[i, 2] = max(red, 0.0), max(green, 0.0), max(blue, 0.0)
    return colours


@njit(cache=True, parallel=True)
def shade_back(
    by_colours: NDArray[np.float64],
    colours: NDArray[np.float32],
    means: NDArray[np.float32],
    shN: NDArray[np.float32],
    centre: NDArray[np.float64],
    boxes: NDArray[np.int32],
    bands: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """The loss's gradients by means [N, 3], sh0 [N, 3], shN [N, K, 3] and centre [3], from those by the colours [N, 3]."""
    count = len(means)
    by_means, by_sh0 = np.zeros((count, 3), np.float32), np.zeros((count, 3), np.float32)
    by_shN = np.zeros(shN.shape, np.float32)
    by_centres = np.zeros((_SLICES, 3))
    for part in prange(_SLICES):
        b, w = np.zeros(15), np.zeros(15)
        for i in range(part * count // _SLICES, (part + 1) * count // _SLICES):
            if boxes[i, 2] == boxes[i, 0]:
                continue
            red = by_colours[i, 0] if colours[i, 0] > 0 else 0.0
            green = by_colours[i, 1] if colours[i, 1] > 0 else 0.0
            blue = by_colours[i, 2] if colours[i, 2] > 0 else 0.0
            by_sh0[i, 0], by_sh0[i, 1], by_sh0[i, 2] = SH_C0 * red, SH_C0 * green, SH_C0 * blue
            if bands == 0:
                continue
            x, y, z = means[i, 0] - centre[0], means[i, 1] - centre[1], means[i, 2] - centre[2]
            length = max(np.sqrt(x * x + y * y + z * z), 1e-12)
            x, y, z = x / length, y / length, z / length
            _basis(x, y, z, bands, b)
            for j in range(bands):
                by_shN[i, j, 0], by_shN[i, j, 1], by_shN[i, j, 2] = b[j] * red, b[j] * green, b[j] * blue
                w[j] = shN[i, j, 0] * red + shN[i, j, 1] * green + shN[i, j, 2] * blue
            gx, gy, gz = _slope(x, y, z, bands, w)
            along = gx * x + gy * y + gz * z
            gx, gy, gz = (gx - along * x) / length, (gy - along * y) / length, (gz - along * z) / length
            by_means[i, 0], by_means[i, 1], by_means[i, 2] = gx, gy, gz
            by_centres[part, 0] -= gx
            by_centres[part, 1] -= gy
            by_centres[part, 2] -= gz
    by_centre = np.zeros(3)
    for part in range(_SLICES):
        by_centre += by_centres[part]
    return by_means, by_sh0, by_shN, by_centre
