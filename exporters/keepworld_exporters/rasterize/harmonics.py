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


@njit(cache=True)
def _slopes(x: float, y: float, z: float, bands: int, d: NDArray[np.float64]) -> None:
    """Write the derivatives [K, 3] of `_basis` by x, y and z; those that are 0 everywhere are left as they are."""
    if bands >= 3:
        d[0, 1], d[1, 2], d[2, 0] = -0.4886025119029199, 0.4886025119029199, -0.4886025119029199
    if bands >= 8:
        k = 1.0925484305920792
        d[3, 0], d[3, 1] = k * y, k * x
        d[4, 1], d[4, 2] = -k * z, -k * y
        d[5, 2] = 6 * 0.31539156525252005 * z
        d[6, 0], d[6, 2] = -k * z, -k * x
        d[7, 0], d[7, 1] = k * x, -k * y
    if bands >= 15:
        k = 0.5900435899266435
        d[8, 0], d[8, 1] = -6 * k * x * y, -3 * k * (x * x - y * y)
        d[14, 0], d[14, 1] = -3 * k * (x * x - y * y), 6 * k * x * y
        k = 2.890611442640554
        d[9, 0], d[9, 1], d[9, 2] = k * y * z, k * x * z, k * x * y
        d[13, 0], d[13, 1], d[13, 2] = k * x * z, -k * y * z, 0.5 * k * (x * x - y * y)
        k = 0.4570457994644658
        d[10, 1], d[10, 2] = -k * (5 * z * z - 1), -10 * k * y * z
        d[12, 0], d[12, 2] = -k * (5 * z * z - 1), -10 * k * x * z
        d[11, 2] = 0.3731763325901154 * (15 * z * z - 3)


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
        b, d, g = np.zeros(15), np.zeros((15, 3)), np.zeros(3)
        for i in range(part * count // _SLICES, (part + 1) * count // _SLICES):
            if boxes[i, 2] == boxes[i, 0]:
                continue
            x, y, z = means[i, 0] - centre[0], means[i, 1] - centre[1], means[i, 2] - centre[2]
            length = max(np.sqrt(x * x + y * y + z * z), 1e-12)
            x, y, z = x / length, y / length, z / length
            for k in range(3):
                g[k] = by_colours[i, k] if colours[i, k] > 0 else 0.0
                by_sh0[i, k] = SH_C0 * g[k]
            if bands == 0:
                continue
            _basis(x, y, z, bands, b)
            _slopes(x, y, z, bands, d)
            gx, gy, gz = 0.0, 0.0, 0.0
            for j in range(bands):
                worth = 0.0
                for k in range(3):
                    by_shN[i, j, k] = b[j] * g[k]
                    worth += shN[i, j, k] * g[k]
                gx += worth * d[j, 0]
                gy += worth * d[j, 1]
                gz += worth * d[j, 2]
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
