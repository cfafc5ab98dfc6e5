"""How far a picture is from a photograph, and by how much each of its pixels should change.

The loss is Kerbl et al. 2023's: 0.8 times the mean absolute difference and 0.2 times 1 - SSIM (Wang et al. 2004, a Gaussian
window of 11 pixels and 1.5 standard deviation, black beyond the edges). The gradient is written out and fused with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

SSIM_SHARE = 0.2
_C1, _C2 = 0.01**2, 0.03**2
_RADIUS = 5
_WINDOW = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / 1.5) ** 2)
WINDOW = (_WINDOW / _WINDOW.sum()).astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Photo:
    """A photograph made ready to be compared with: rows flattened to [H, 3 W], and what SSIM needs of it.

    Attributes:
        image: [H, 3 W] float32 sRGB in [0, 1].
        mask: [H, W] float32, 1 where a pixel counts and 0 where not.
        mean, square: [H, 3 W] float32, the window's mean of the image and of its square.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.float32]
    mean: NDArray[np.float32]
    square: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.image.nbytes + self.mask.nbytes + self.mean.nbytes + self.square.nbytes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Score:
    """A picture's loss, its mean squared error where the mask counts, its SSIM, and the loss's gradient [H, W, 3]."""

    loss: float
    squared: float
    ssim: float
    gradient: NDArray[np.float32]


def photo(image: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None) -> Photo:
    """Make a photograph [H, W, 3] ready; its mask [H, W] says which pixels count."""
    height, width, _ = image.shape
    flat = (image.reshape(height, 3 * width) / np.float32(255)).astype(np.float32)
    mean, square = np.empty_like(flat), np.empty_like(flat)
    _blur(flat, WINDOW, mean)
    _blur(flat * flat, WINDOW, square)
    counts = np.ones((height, width), np.float32) if mask is None else mask.astype(np.float32)
    return Photo(image=flat, mask=counts, mean=mean, square=square)


def compare(image: NDArray[np.float32], truth: Photo) -> Score:
    """Score a picture [H, W, 3]; what the mask leaves out is taken to be right."""
    height, width, _ = image.shape
    maps = np.empty((3, height, 3 * width), np.float32)
    blurred, slopes, spread = np.empty_like(maps), np.empty_like(maps), np.empty_like(maps)
    _prepare(image, truth.image, truth.mask, maps)
    for k in range(3):
        _blur(maps[k], WINDOW, blurred[k])
    rows = _slopes(blurred, truth.mean, truth.square, slopes)
    for k in range(3):
        _blur(slopes[k], WINDOW, spread[k])
    gradient = np.empty((height, width, 3), np.float32)
    share = np.float32(SSIM_SHARE / image.size)
    errors = _finish(maps[0], truth.image, truth.mask, spread, share, gradient)
    ssim = float(rows.sum()) / image.size
    absolute, squared = errors.sum(0) / image.size
    counted = max(float(truth.mask.mean()), 1e-9)
    return Score(
        loss=(1 - SSIM_SHARE) * float(absolute) + SSIM_SHARE * (1 - ssim),
        squared=float(squared) / counted,
        ssim=ssim,
        gradient=gradient,
    )


@njit(cache=True, parallel=True, fastmath={"contract", "nsz"})
def _blur(values: NDArray[np.float32], window: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Average [H, 3 W] over the window, black beyond the edges."""
    height, width = values.shape
    edge = 3 * _RADIUS
    for v in prange(height):
        row = np.zeros(width + 2 * edge, np.float32)
        inner = row[edge : edge + width]
        for k in range(max(0, _RADIUS - v), min(2 * _RADIUS + 1, height + _RADIUS - v)):
            weight, source = window[k], values[v + k - _RADIUS]
            for i in range(width):
                inner[i] += weight * source[i]
        target = out[v]
        target[:] = 0
        for k in range(2 * _RADIUS + 1):
            weight, source = window[k], row[3 * k : 3 * k + width]
            for i in range(width):
                target[i] += weight * source[i]


@njit(cache=True, parallel=True)
def _prepare(
    image: NDArray[np.float32], truth: NDArray[np.float32], mask: NDArray[np.float32], maps: NDArray[np.float32]
) -> None:
    """Write the picture, its square and its product with the truth."""
    height, width, _ = image.shape
    for v in prange(height):
        for u in range(width):
            for k in range(3):
                i = 3 * u + k
                y = truth[v, i]
                x = y + mask[v, u] * (image[v, u, k] - y)
                maps[0, v, i], maps[1, v, i], maps[2, v, i] = x, x * x, x * y


@njit(cache=True, parallel=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _slopes(
    blurred: NDArray[np.float32], mean: NDArray[np.float32], square: NDArray[np.float32], slopes: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Write SSIM's derivatives by the three window means, and give its sum for each row [H]."""
    _, height, width = blurred.shape
    rows = np.zeros(height)
    for v in prange(height):
        total = 0.0
        for i in range(width):
            x, y = blurred[0, v, i], mean[v, i]
            a1, b1 = np.float32(2) * x * y + np.float32(_C1), x * x + y * y + np.float32(_C1)
            a2 = np.float32(2) * (blurred[2, v, i] - x * y) + np.float32(_C2)
            b2 = blurred[1, v, i] - x * x + square[v, i] - y * y + np.float32(_C2)
            by_a1, by_a2 = a2 / (b1 * b2), a1 / (b1 * b2)
            ssim = a1 * by_a1
            by_b1, by_b2 = -ssim / b1, -ssim / b2
            slopes[0, v, i] = np.float32(2) * (y * (by_a1 - by_a2) + x * (by_b1 - by_b2))
            slopes[1, v, i], slopes[2, v, i] = by_b2, np.float32(2) * by_a2
            total += ssim
        rows[v] = total
    return rows


@njit(cache=True, parallel=True)
def _finish(
    x: NDArray[np.float32],
    truth: NDArray[np.float32],
    mask: NDArray[np.float32],
    spread: NDArray[np.float32],
    share: np.float32,
    gradient: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Write the gradient, and give each row's sums of absolute and squared differences [H, 2]."""
    height, width, _ = gradient.shape
    step = np.float32((1 - SSIM_SHARE) / gradient.size)
    sums = np.zeros((height, 2))
    for v in prange(height):
        for u in range(width):
            for k in range(3):
                i = 3 * u + k
                difference = x[v, i] - truth[v, i]
                by_ssim = spread[0, v, i] + np.float32(2) * x[v, i] * spread[1, v, i] + truth[v, i] * spread[2, v, i]
                gradient[v, u, k] = mask[v, u] * (np.sign(difference) * step - share * by_ssim)
                sums[v, 0] += abs(difference)
                sums[v, 1] += difference * difference
    return sums
