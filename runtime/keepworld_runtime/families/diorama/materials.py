"""What a surface's colour is before light falls on it (numba): texture, season, snow, wetness."""

from __future__ import annotations

from numba import njit

from keepworld_runtime.families.diorama.sky import Light
from keepworld_runtime.families.diorama.spec import Material
from keepworld_runtime.families.diorama.texture import (
    blocks,
    boards,
    clamp,
    ground_grain,
    hashed,
    noise2,
    smooth,
    solid_grain,
    visible,
)

_TERRAIN, _PLANKS, _PLASTER = int(Material.TERRAIN), int(Material.PLANKS), int(Material.PLASTER)
_STONE, _ROOF, _FOLIAGE = int(Material.STONE), int(Material.ROOF), int(Material.FOLIAGE)
_STEEP = 0.72  # cosine of the slope from which the ground is textured as rock
_NEEDLES, _BARK, _ROCK = int(Material.NEEDLES), int(Material.BARK), int(Material.ROCK)


@njit(forceinline=True, cache=True, nogil=True, error_model="numpy", fastmath=True)
def _mixed(r: float, g: float, b: float, to: tuple[float, float, float], t: float) -> tuple[float, float, float]:
    return r + (to[0] - r) * t, g + (to[1] - g) * t, b + (to[2] - b) * t


@njit(forceinline=True, cache=True, nogil=True, error_model="numpy", fastmath=True)
def _leaves(r: float, g: float, b: float, variation: float, light: Light) -> tuple[float, float, float]:
    """Leaves in their season. A variation of 1 or more marks grasses, which only yellow and fade."""
    if variation >= 1.0:
        r, g, b = _mixed(r, g, b, (0.45, 0.30, 0.12), 0.55 * light.autumn)
        return _mixed(r, g, b, (0.30, 0.25, 0.17), 0.6 * light.winter)
    if light.spring > 0.0:
        r, g, b = _mixed(r, g, b, (1.05 * r + 0.03, 1.12 * g + 0.03, 0.9 * b), light.spring)
        if variation > 0.66:
            pink = smooth(0.66, 0.70, variation) * light.spring * 0.88
            r, g, b = _mixed(r, g, b, (0.95, 0.27 + 0.4 * (variation - 0.66), 0.42), pink)
    if light.autumn > 0.0:
        hue = variation * 3.0
        a = smooth(0.0, 1.6, hue)
        c = smooth(1.5, 3.0, hue)
        red = 0.72 - 0.06 * a - 0.22 * c
        green = 0.44 - 0.25 * a - 0.11 * c
        r, g, b = _mixed(
            r, g, b, (red, green, 0.055), light.autumn * (0.80 + 0.15 * hashed(int(variation * 999), 1, 1))
        )
    return _mixed(r, g, b, (0.235, 0.18, 0.135), 0.8 * light.winter)


@njit(forceinline=True, cache=True, nogil=True, error_model="numpy", fastmath=True)
def _built(kind: int, x: float, y: float, z: float, nx: float, ny: float, nz: float, footprint: float) -> float:
    """Light and dark of what is built: boards, plaster, courses of stone, tiles."""
    flat = (nx * nx + nz * nz) ** 0.5
    if abs(ny) > 0.9 or flat < 1e-3:
        along, up = x, z
    else:
        along, up = (x * nz - z * nx) / flat, y / flat
    if kind == _PLANKS:
        return 0.30 * boards(along, up, 0.24, footprint)
    if kind == _ROOF:
        return 0.30 * blocks(along, up, 0.36, 0.30, footprint) + 0.10 * noise2(along * 0.9, up * 0.9, 31)
    if kind == _STONE:
        return 0.34 * blocks(along, up, 0.85, 0.42, footprint) + 0.12 * noise2(along * 0.6, up * 0.6, 32)
    stains = 0.07 * noise2(along * 0.8, up * 0.5, 33)
    return stains + 0.06 * visible(0.4, footprint) * noise2(along * 5.0, up * 5.0, 34)


@njit(forceinline=True, cache=True, nogil=True, error_model="numpy", fastmath=True)
def albedo(
    kind: int,
    x: float,
    y: float,
    z: float,
    nx: float,
    ny: float,
    nz: float,
    r: float,
    g: float,
    b: float,
    worn: float,
    variation: float,
    footprint: float,
    light: Light,
) -> tuple[float, float, float]:
    """The colour of a surface at a place with a normal, from its plain colour."""
    grain = 0.0
    if kind == _TERRAIN:
        grain = ground_grain(x, z, footprint) if -ny > _STEEP else solid_grain(x, 2.2 * y, z, 6.0, footprint)
        r, g, b = _mixed(r, g, b, (1.04 * r, 1.08 * g, 0.85 * b), light.spring)
        r, g, b = _mixed(r, g, b, (1.02 * r + 0.05, 0.74 * g + 0.03, 0.62 * b), 0.8 * light.autumn)
        r, g, b = _mixed(r, g, b, (0.30 + 0.3 * r, 0.26 + 0.3 * g, 0.19 + 0.3 * b), 0.5 * light.winter)
        r, b = r * (1.0 + 0.13 * grain), b * (1.0 - 0.18 * grain)
        path = smooth(0.38, 0.56, worn + 0.30 * grain)
        r, g, b = _mixed(r, g, b, light.soil, path)
        grain *= 0.72 - 0.22 * path
    elif kind in (_FOLIAGE, _NEEDLES):
        if kind == _FOLIAGE:
            r, g, b = _leaves(r, g, b, variation, light)
        grain = solid_grain(x, y, z, 0.9, footprint) * 0.55
        r *= 1.0 + 0.2 * grain
    elif kind in (_ROCK, _BARK):
        grain = solid_grain(x, y * (1.0 if kind == _ROCK else 0.35), z, 0.7, footprint) * 0.4
        if kind == _ROCK:
            moss = smooth(0.55, 0.95, -ny + 0.4 * grain) * 0.45
            r, g, b = _mixed(r, g, b, (0.5 * r + 0.06, 0.5 * g + 0.10, 0.5 * b + 0.02), moss)
    elif kind >= _PLANKS and kind <= _ROOF:
        grain = _built(kind, x, y, z, nx, ny, nz, footprint)
    r, g, b = r * (1.0 + grain), g * (1.0 + grain), b * (1.0 + grain)
    if light.wet > 0.0 and kind != _FOLIAGE:
        damp = 1.0 - light.wet * 0.40
        r, g, b = r * damp, g * damp, b * damp
    if light.snow > 0.0:
        cover = smooth(0.28, 0.62, -ny + 0.5 * grain + 0.45 * (light.snow - 1.0) + 0.08) * smooth(0.0, 0.35, light.snow)
        if kind == _TERRAIN:
            cover *= 1.0 - 0.35 * clamp(worn, 0.0, 1.0) * smooth(-0.2, 0.25, grain)
        shade = 1.0 + 0.25 * grain
        r, g, b = _mixed(r, g, b, (0.80 * shade, 0.84 * shade, 0.90 * shade), cover)
    return r, g, b
