"""Noise and patterns computed where a ray lands (numba). Each octave fades before it would be finer than the picture.

`footprint` is a pixel's width on the surface in metres. All are functions of place alone: a place revisited looks the same.
"""

from __future__ import annotations

import math

from numba import njit

_SAMPLES_PER_WAVE = 4.0  # pixels a wavelength has at least


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, inline="always")
def clamp(value: float, low: float, high: float) -> float:
    """`value` kept within low and high."""
    return min(max(value, low), high)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def smooth(low: float, high: float, value: float) -> float:
    """0 below `low`, 1 above `high`, smooth between."""
    t = clamp((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def hashed(i: int, j: int, k: int) -> float:
    """A number in [0, 1) for a lattice point."""
    h = (i * 374761393 + j * 668265263 + k * 1440662683) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def noise2(x: float, y: float, layer: int) -> float:
    """Smooth noise in [-1, 1], one wave about two units."""
    fx, fy = math.floor(x), math.floor(y)
    i, j = int(fx), int(fy)
    a, b = x - fx, y - fy
    a, b = a * a * (3.0 - 2.0 * a), b * b * (3.0 - 2.0 * b)
    low = hashed(i, j, layer) * (1.0 - a) + hashed(i + 1, j, layer) * a
    high = hashed(i, j + 1, layer) * (1.0 - a) + hashed(i + 1, j + 1, layer) * a
    return 2.0 * (low * (1.0 - b) + high * b) - 1.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def noise3(x: float, y: float, z: float) -> float:
    """Smooth noise in [-1, 1] in space, one wave about two units."""
    f = math.floor(z)
    k = int(f)
    c = z - f
    c = c * c * (3.0 - 2.0 * c)
    return noise2(x, y, k) * (1.0 - c) + noise2(x, y, k + 1) * c


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, inline="always")
def visible(wavelength: float, footprint: float) -> float:
    """How much of a pattern of that wavelength in metres the picture can hold, in [0, 1]."""
    return clamp(wavelength / (footprint * _SAMPLES_PER_WAVE) - 1.0, 0.0, 1.0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def ground_grain(x: float, z: float, footprint: float) -> float:
    """Light and dark of open ground, about [-1, 1]."""
    total = 0.26 * noise2(x / 3.1, z / 3.1, 1)
    wavelength = 1.9
    for octave in range(4):
        share = visible(wavelength, footprint)
        if share <= 0.0:
            break
        total += share * 0.34 * noise2(2.0 * x / wavelength, 2.0 * z / wavelength, 2 + octave)
        wavelength *= 0.40
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def solid_grain(x: float, y: float, z: float, wavelength: float, footprint: float) -> float:
    """Light and dark of rock, bark or leaves, about [-1, 1], from `wavelength` metres downwards."""
    total = 0.0
    for _ in range(3):
        share = visible(wavelength, footprint)
        if share <= 0.0:
            break
        scale = 2.0 / wavelength
        total += share * 0.42 * noise3(x * scale, y * scale, z * scale)
        wavelength *= 0.4
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def boards(along: float, across: float, width: float, footprint: float) -> float:
    """Boards `width` metres wide running `along`: their own shades and dark joints, about [-1, 1]."""
    share = visible(width * 1.3, footprint)
    if share <= 0.0:
        return 0.0
    row = math.floor(across / width)
    edge = abs(across / width - row - 0.5)
    joint = max(footprint / width, 0.06)
    shade = 0.9 * (hashed(int(row), 7, 3) - 0.5) + 0.35 * visible(0.3, footprint) * noise2(
        along * 1.3, across * 16.0, 5
    )
    return share * (shade - 0.9 * smooth(0.5 - joint, 0.5, edge))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def blocks(along: float, up: float, length: float, height: float, footprint: float) -> float:
    """Courses of stones or tiles `length` by `height` metres, every other course shifted by half a stone."""
    share = visible(height * 1.6, footprint)
    if share <= 0.0:
        return 0.0
    row = math.floor(up / height)
    shifted = along / length + 0.5 * (row - 2.0 * math.floor(row / 2.0)) + 0.2 * hashed(int(row), 1, 9)
    column = math.floor(shifted)
    edge_a, edge_b = abs(shifted - column - 0.5), abs(up / height - row - 0.5)
    a, b = max(footprint / length, 0.05), max(footprint / height, 0.09)
    joint = max(smooth(0.5 - a, 0.5, edge_a), smooth(0.5 - b, 0.5, edge_b))
    return share * (0.95 * (hashed(int(column), int(row), 11) - 0.5) - 0.75 * joint)
