"""The sky as a function of direction (numba): gradient, sun, moon, stars, clouds that stand still, rainbow."""

from __future__ import annotations

import math

from numba import njit

from keepworld_runtime.families.diorama.sky import Light
from keepworld_runtime.families.diorama.texture import clamp, hashed, noise2, smooth

_RAINBOW_RADIUS, _RAINBOW_WIDTH = 0.733, 0.035  # radians: 42 degrees from its middle, see `sky`


@njit(forceinline=True, cache=True, nogil=True, error_model="numpy", fastmath=True)
def gradient(x: float, y: float, z: float, light: Light) -> tuple[float, float, float]:
    """The clear sky's colour in a unit direction: what mirrors and fog see of it."""
    up = clamp(-y, 0.0, 1.0)
    rest = 1.0 - up
    t = 1.0 - rest * rest * math.sqrt(rest)
    towards = x * light.sun[0] + y * light.sun[1] + z * light.sun[2]
    # Low sun warms its own side of the sky and leaves the other cool.
    low = smooth(0.42, -0.05, -light.sun[1])
    side = 0.5 + 0.5 * towards
    warm = 1.0 - low * 0.42 * (1.0 - side) * (1.0 - up)
    glow = max(towards, 0.0) ** 6 * 0.10 + max(towards, 0.0) ** 48 * 0.16
    r = light.horizon[0] * warm * (1.0 - t) + light.zenith[0] * t + light.sun_colour[0] * glow
    g = light.horizon[1] * (0.5 + 0.5 * warm) * (1.0 - t) + light.zenith[1] * t + light.sun_colour[1] * glow
    b = light.horizon[2] * (1.16 - 0.16 * warm) * (1.0 - t) + light.zenith[2] * t + light.sun_colour[2] * glow
    return r, g, b


@njit(forceinline=True, cache=True, nogil=True, error_model="numpy", fastmath=True)
def _cloud_density(u: float, v: float, edge: float) -> float:
    """Fractal noise; once the octaves left cannot lift it over `edge` any more they are left out."""
    total, weight, scale = 0.0, 0.5, 1.0
    for octave in range(5):
        if total + 2.0 * weight < edge:
            break
        total += weight * noise2(u * scale, v * scale, 20 + octave)
        weight *= 0.5
        scale *= 2.17
    return total


@njit(forceinline=True, cache=True, nogil=True, error_model="numpy", fastmath=True)
def firmament(x: float, y: float, z: float, light: Light) -> tuple[float, float, float]:
    """All that is in the sky in a unit direction."""
    r, g, b = gradient(x, y, z, light)
    up = -y
    if up < -0.02:
        return r, g, b
    if light.stars > 0.0:
        r, g, b = _night_sky(x, y, z, r, g, b, light)
    disc = x * light.sun[0] + y * light.sun[1] + z * light.sun[2]
    shine = smooth(0.99945, 0.99975, disc) * 5.0
    r, g, b = r + light.sun_colour[0] * shine, g + light.sun_colour[1] * shine, b + light.sun_colour[2] * shine
    if light.rainbow > 0.0:
        towards = x * light.bow[0] + y * light.bow[1] + z * light.bow[2]
        angle = math.acos(clamp(towards, -1.0, 1.0))
        p = (angle - _RAINBOW_RADIUS) / _RAINBOW_WIDTH
        if abs(p) < 1.6:
            k = 0.5 * light.rainbow
            r += k * math.exp(-((p - 0.55) ** 2) * 6.0)
            g += k * math.exp(-(p**2) * 6.0)
            b += k * math.exp(-((p + 0.55) ** 2) * 6.0)
    if light.cloud > 0.02:
        scale = 1.9 / (up + 0.16)
        u, v = x * scale, z * scale
        edge = 0.52 - 0.92 * light.cloud
        density = _cloud_density(u, v, edge)
        cover = smooth(edge, edge + 0.22, density) * smooth(-0.01, 0.10, up)
        if cover > 0.0:
            ahead = _cloud_density(u + 0.16 * light.sun[0], v + 0.16 * light.sun[2], -9.0)
            lit = clamp(0.62 + 1.5 * (density - ahead) - 0.5 * smooth(edge, edge + 0.75, density), 0.0, 1.0)
            rim = 0.5 * max(disc, 0.0) ** 10 * (1.0 - cover)
            cover *= 0.94
            cr = light.cloud_dark[0] + (light.cloud_lit[0] - light.cloud_dark[0]) * lit + light.sun_colour[0] * rim
            cg = light.cloud_dark[1] + (light.cloud_lit[1] - light.cloud_dark[1]) * lit + light.sun_colour[1] * rim
            cb = light.cloud_dark[2] + (light.cloud_lit[2] - light.cloud_dark[2]) * lit + light.sun_colour[2] * rim
            r, g, b = r + (cr - r) * cover, g + (cg - g) * cover, b + (cb - b) * cover
    return r, g, b


@njit(forceinline=True, cache=True, nogil=True, error_model="numpy", fastmath=True)
def _night_sky(x: float, y: float, z: float, r: float, g: float, b: float, light: Light) -> tuple[float, float, float]:
    """Add stars and the moon."""
    scale = 150.0
    i, j, k = math.floor(x * scale), math.floor(y * scale), math.floor(z * scale)
    chance = hashed(int(i), int(j), int(k))
    if chance > 0.975:
        cx = i + 0.3 + 0.4 * hashed(int(i), int(j), int(k) + 51)
        cy = j + 0.3 + 0.4 * hashed(int(i), int(j) + 51, int(k))
        cz = k + 0.3 + 0.4 * hashed(int(i) + 51, int(j), int(k))
        length = math.sqrt(cx * cx + cy * cy + cz * cz) / scale
        away = (cx / length - x * scale) ** 2 + (cy / length - y * scale) ** 2 + (cz / length - z * scale) ** 2
        star = light.stars * math.exp(-away * 14.0) * (0.12 + 1.1 * ((chance - 0.975) / 0.025) ** 3)
        r, g, b = r + 0.75 * star, g + 0.85 * star, b + star
    disc = x * light.moon[0] + y * light.moon[1] + z * light.moon[2]
    if disc > 0.9:
        halo = max(disc, 0.0) ** 350 * 0.09 + smooth(0.99918, 0.99936, disc) * 1.3
        spots = 1.0 - 0.22 * smooth(-0.1, 0.5, noise2(x * 90.0, y * 90.0, 77))
        halo *= light.stars * spots
        r, g, b = r + 0.86 * halo, g + 0.92 * halo, b + halo
    return r, g, b
