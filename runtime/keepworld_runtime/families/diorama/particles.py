"""Rain and snow: where each drop and flake is at an instant, in closed form.

The weather fills the world with one block of drops, repeated in all directions, that falls as a whole: a drop is where it
is whatever the camera does, and only those in the block about the camera are drawn.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.spec import Conditions
from keepworld_runtime.families.diorama.streaks import Streaks, streaks
from keepworld_runtime.sampling.noise import generator

Floats = NDArray[np.float64]

_RAIN_BLOCK, _RAIN_COUNT, _RAIN_SPEED = 14.0, 3200, 9.0  # metres, drops, metres a second
_SNOW_BLOCK, _SNOW_COUNT, _SNOW_SPEED = 13.0, 3600, 1.1
_EXPOSURE_S = 1 / 40  # how long a drop leaves its trace


@lru_cache(maxsize=8)
def _drops(seed: int, kind: str, count: int) -> Floats:
    return generator(seed, "particles", kind).random((count, 4))


def falling(conditions: Conditions, seed: int, time_s: float, eye: Floats, brightness: float) -> list[Streaks]:
    """The rain and snow about a camera.

    Args:
        conditions: how much there is of both, and of wind.
        seed: of the world.
        time_s: since the session began.
        eye: [3] where the camera stands.
        brightness: of the picture, mean sRGB in [0, 255]: at night drops are dark too.
    """
    layers = []
    if conditions.rain > 0.005:
        layers.append(_rain(conditions, seed, time_s, eye, brightness))
    if conditions.snowfall > 0.005:
        layers.append(_snow(conditions, seed, time_s, eye, brightness))
    return layers


def _around(points: Floats, eye: Floats, block: float) -> Floats:
    """Of each point's repetitions, a block apart in each direction, the one in the block about the camera."""
    return np.asarray(eye + (points - eye + block / 2) % block - block / 2)


def _rain(conditions: Conditions, seed: int, time_s: float, eye: Floats, brightness: float) -> Streaks:
    drops = _drops(seed, "rain", _RAIN_COUNT)[: int(_RAIN_COUNT * conditions.rain)]
    speed = _RAIN_SPEED * (0.85 + 0.3 * drops[:, 3])
    # The wind is the same all the time: a changing one would have to be added up over time.
    wind = np.array([2.6, 0.0, 0.8])
    velocity = speed[:, None] * (0.0, 1.0, 0.0) + wind * (0.45 + 0.55 * drops[:, 3:])
    head = _around(drops[:, :3] * _RAIN_BLOCK + velocity * time_s, eye, _RAIN_BLOCK)
    shade = min(235.0, 40.0 + 1.25 * brightness)
    alpha = 0.34 + 0.12 * conditions.storm
    colour = (shade * 0.94, shade * 0.98, shade * 1.04)
    return streaks(head - velocity * _EXPOSURE_S, head, radius=0.0055, colour=colour, alpha=alpha, glows=False)


def _snow(conditions: Conditions, seed: int, time_s: float, eye: Floats, brightness: float) -> Streaks:
    flakes = _drops(seed, "snow", _SNOW_COUNT)[: int(_SNOW_COUNT * conditions.snowfall)]
    phase = 2 * np.pi * flakes[:, 3]
    drift = np.stack(
        [0.5 * np.ones_like(phase), _SNOW_SPEED * (0.75 + 0.5 * flakes[:, 3]), 0.2 * np.ones_like(phase)], -1
    )
    sway = np.stack([np.sin(1.7 * time_s + phase), np.zeros_like(phase), np.cos(1.3 * time_s + 2 * phase)], -1)
    at = _around(flakes[:, :3] * _SNOW_BLOCK + drift * time_s + 0.22 * sway, eye, _SNOW_BLOCK)
    shade = min(252.0, 70.0 + 1.2 * brightness)
    near = np.clip((np.linalg.norm(at - eye, axis=1) - 0.7) / 1.5, 0.0, 1.0)  # no blurred discs before one's nose
    radius = 0.010 + 0.008 * flakes[:, 3]
    return streaks(at - 0.012 * drift, at, radius=radius, colour=shade, alpha=0.85 * near, glows=False)
