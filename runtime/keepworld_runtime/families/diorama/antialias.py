"""Where a picture needs more than one ray a pixel, and how those rays and the picture are put together (numba)."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = NDArray[np.float32]
# Extra samples in an edge pixel, offsets from its centre in pixels: with the centre, a rotated pattern.
OFFSETS = np.array([[-0.125, -0.375], [0.375, -0.125], [0.125, 0.375], [-0.375, 0.125]], np.float32)
_CONTRAST = 0.045  # difference in brightness (square root of linear) that shows as a step
_CREASE = 0.04  # relative departure of depth from a plane through its neighbours


@njit(cache=True, nogil=True, error_model="numpy")
def camera_rays(first: int, rows: int, width: int, rays_from_pixels: NDArray[np.float64], dirs: F32) -> None:
    """Directions [rows * width, 3], z = 1 before turning, through the centres of whole rows from row `first`.

    rays_from_pixels: [3, 3], the camera's rotation times K inverse.
    """
    m = rays_from_pixels
    k = 0
    for row in range(first, first + rows):
        for column in range(width):
            px, py = column + 0.5, row + 0.5
            for c in range(3):
                dirs[k, c] = m[c, 0] * px + m[c, 1] * py + m[c, 2]
            k += 1


@njit(cache=True, nogil=True, error_model="numpy")
def find_edges(first: int, rows: int, picture: F32, depth: F32, index: NDArray[np.int32]) -> int:
    """List, as row * W + column, the pixels of some rows that differ from a neighbour; gives how many.

    picture: [H, W, 3] linear. depth: [H, W], 0 for sky. index: [rows * W] written.
    """
    height, width = depth.shape
    count = 0
    for y in range(first, first + rows):
        for x in range(width):
            here = _brightness(picture, y, x)
            d = depth[y, x]
            is_edge = False
            for side in range(4):
                a = min(max(y + (side == 0) - (side == 1), 0), height - 1)
                b = min(max(x + (side == 2) - (side == 3), 0), width - 1)
                other = depth[a, b]
                if abs(here - _brightness(picture, a, b)) > _CONTRAST or (d > 0.0) != (other > 0.0):
                    is_edge = True
                    break
            if not is_edge and d > 0.0 and 0 < x < width - 1 and 0 < y < height - 1:
                # 1 / z is linear across a plane.
                flat = abs(1.0 / depth[y, x - 1] + 1.0 / depth[y, x + 1] - 2.0 / d) * d
                steep = abs(1.0 / depth[y - 1, x] + 1.0 / depth[y + 1, x] - 2.0 / d) * d
                is_edge = max(flat, steep) > _CREASE
            if is_edge:
                index[count] = y * width + x
                count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _brightness(picture: F32, y: int, x: int) -> float:
    return (0.3 * picture[y, x, 0] + 0.6 * picture[y, x, 1] + 0.1 * picture[y, x, 2]) ** 0.5


@njit(cache=True, nogil=True, error_model="numpy")
def sample_rays(index: NDArray[np.int32], width: int, rays_from_pixels: NDArray[np.float64], offsets: F32, dirs: F32) -> None:
    """Directions [N * S, 3] of S extra samples, at `offsets` [S, 2], in each of N pixels."""
    m = rays_from_pixels
    k = 0
    for pixel in index:
        for s in range(len(offsets)):
            px, py = pixel % width + 0.5 + offsets[s, 0], pixel // width + 0.5 + offsets[s, 1]
            for c in range(3):
                dirs[k, c] = m[c, 0] * px + m[c, 1] * py + m[c, 2]
            k += 1


@njit(cache=True, nogil=True, error_model="numpy")
def merge_samples(index: NDArray[np.int32], samples: F32, sample_depth: F32, picture: F32, depth: F32, share: F32) -> None:
    """Average extra samples [N * S, 3] into pixels of `picture` [H * W, 3], in place.

    share: [H * W] written where there are samples: how many of a pixel's samples lie on its centre's surface.
    """
    extra = len(samples) // max(len(index), 1)
    for n in range(len(index)):
        pixel = index[n]
        same = 1.0
        for c in range(3):
            total = picture[pixel, c]
            for s in range(extra):
                total += samples[n * extra + s, c]
            picture[pixel, c] = total / (extra + 1)
        for s in range(extra):
            there = sample_depth[n * extra + s]
            if (there > 0.0) == (depth[pixel] > 0.0) and abs(there - depth[pixel]) <= 0.03 * depth[pixel]:
                same += 1.0
        share[pixel] = same / (extra + 1)


@njit(cache=True, nogil=True, error_model="numpy")
def encode(picture: F32, table: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
    """Turn linear [N, 3] into sRGB bytes [N, 3] by a table."""
    last = len(table) - 1
    for i in range(len(picture)):
        for c in range(3):
            image[i, c] = table[int(picture[i, c] * last + 0.5)]


def srgb_table(size: int = 16384) -> NDArray[np.uint8]:
    """The sRGB byte of `size` evenly spaced linear values."""
    x = np.linspace(0.0, 1.0, size)
    coded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(coded * 255.0), np.uint8)
