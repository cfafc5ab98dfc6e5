"""Smooth random fields over the plane, for building: hills, meadows, how densely trees stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.sampling.noise import generator

Floats = NDArray[np.float64]
_PERIOD = 64  # cells until a field repeats; at the wavelengths used here that is beyond the world's edge


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    """0 below `low`, 1 above `high`, smooth between; any shape. `low` may be the larger of the two."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def value_noise(x: Floats, z: Floats, seed: int, purpose: str, wavelength: float) -> Floats:
    """Smooth noise in [-1, 1] at points x, z [...], in metres."""
    table = generator(seed, "field", purpose).uniform(-1.0, 1.0, (_PERIOD, _PERIOD))
    u, v = np.asarray(x) / wavelength, np.asarray(z) / wavelength
    i, j = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    a, b = u - i, v - j
    a, b = a**3 * (a * (a * 6 - 15) + 10), b**3 * (b * (b * 6 - 15) + 10)
    i0, j0, i1, j1 = i % _PERIOD, j % _PERIOD, (i + 1) % _PERIOD, (j + 1) % _PERIOD
    low = table[j0, i0] * (1 - a) + table[j0, i1] * a
    high = table[j1, i0] * (1 - a) + table[j1, i1] * a
    return np.asarray(low * (1 - b) + high * b)


def fractal(x: Floats, z: Floats, seed: int, purpose: str, wavelength: float, octaves: int) -> Floats:
    """Noise upon noise, each octave half as long and half as high; about [-1, 1]."""
    total, weight = np.zeros(np.broadcast(x, z).shape), 0.0
    for octave in range(octaves):
        total += value_noise(x, z, seed, f"{purpose}/{octave}", wavelength / 2**octave) / 2**octave
        weight += 0.5**octave
    return total / weight


def ridges(x: Floats, z: Floats, seed: int, purpose: str, wavelength: float, octaves: int, spacing: Floats) -> Floats:
    """Sharp crests and wide valleys in [0, 1]: mountains, smooth enough for points `spacing` metres [...] apart."""
    total, weight, gain = np.zeros(np.broadcast(x, z).shape), 0.0, np.ones(np.broadcast(x, z).shape)
    for octave in range(octaves):
        crest = 1.0 - np.abs(value_noise(x, z, seed, f"{purpose}/{octave}", wavelength / 2**octave))
        held = np.clip(wavelength / 2**octave / (3.0 * spacing) - 0.5, 0.0, 1.0)
        crest = 0.5 + (crest**2 - 0.5) * held
        total += crest * gain / 2**octave
        weight += 0.5**octave
        gain = np.clip(crest * 1.6, 0.0, 1.0)
    return total / weight
