"""What rays bring back (numba): which of them need shadow rays, the light on what they hit, mirrors, and development.

Rays are N at a time: origins and dirs [N, 3]; dirs need not be unit, `t` counts in them. Colours are linear RGB.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.body import CORNER_SIZE
from keepworld_runtime.families.diorama.firmament import firmament, gradient
from keepworld_runtime.families.diorama.materials import albedo
from keepworld_runtime.families.diorama.sky import Light
from keepworld_runtime.families.diorama.spec import Material
from keepworld_runtime.families.diorama.texture import clamp, noise2, smooth, visible

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
Triple = tuple[float, float, float]
_WATER, _WINDOW, _GLOW = int(Material.WATER), int(Material.WINDOW), int(Material.GLOW)
_FOLIAGE, _NEEDLES, _TERRAIN = int(Material.FOLIAGE), int(Material.NEEDLES), int(Material.TERRAIN)
_MAX_SHADOW_DISTANCE = 170.0  # metres from the eye; beyond, all that faces the light is taken to be lit
_LIFT = 0.004  # metres shadow rays start off the surface, and as much again every 100 m
_WARM = (1.0, 0.58, 0.22)  # lamplight
_UNLIT_WINDOWS = 0.72  # variation above which nobody is home


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def shadow_rays(
    origins: F32,
    dirs: F32,
    t: F32,
    Ng: F32,
    prim: I32,
    key: Triple,
    order: I32 | None,
    across: int,
    along: int,
    lit: U8,
    out_origins: F32,
    out_dirs: F32,
    out_index: I32,
) -> int:
    """Collect rays towards the key light from where rays hit something that faces it; gives how many.

    Args:
        order: which rays to look at, in the order to collect them in; all, if None.
        across, along: how far off two rays on either side are that are known, so that a ray between four of its own
            surface that agree is taken to be like them; 0 if there are none.
        lit: [N] what is known; filled in where the neighbours tell, and far off.
    """
    count = 0
    for place in range(len(t) if order is None else len(order)):
        i = place
        if order is not None:
            i = order[place]
        if prim[i] < 0:
            continue
        nx, ny, nz = Ng[i, 0], Ng[i, 1], Ng[i, 2]
        length = math.sqrt(nx * nx + ny * ny + nz * nz)
        side = nx * dirs[i, 0] + ny * dirs[i, 1] + nz * dirs[i, 2]
        sign = -1.0 / length if side > 0.0 else 1.0 / length
        nx, ny, nz = nx * sign, ny * sign, nz * sign
        if nx * key[0] + ny * key[1] + nz * key[2] <= 0.0:
            continue
        if t[i] > _MAX_SHADOW_DISTANCE:
            lit[i] = 1
            continue
        if along:
            total = lit[i - across] + lit[i + across] + lit[i - along] + lit[i + along]
            if total == 4 or total == 0:
                alike = True
                for turn in range(4):
                    j = i + (across if turn < 2 else along) * (1 if turn % 2 else -1)
                    size = math.sqrt(Ng[j, 0] ** 2 + Ng[j, 1] ** 2 + Ng[j, 2] ** 2)
                    cosine = abs(nx * Ng[j, 0] + ny * Ng[j, 1] + nz * Ng[j, 2])
                    alike = alike and prim[j] >= 0 and cosine > 0.92 * size and abs(t[j] - t[i]) < 0.06 * t[i]
                if alike:
                    lit[i] = total // 4
                    continue
        lift = _LIFT * (1.0 + 0.01 * t[i])
        out_origins[count, 0] = origins[i, 0] + t[i] * dirs[i, 0] + nx * lift
        out_origins[count, 1] = origins[i, 1] + t[i] * dirs[i, 1] + ny * lift
        out_origins[count, 2] = origins[i, 2] + t[i] * dirs[i, 2] + nz * lift
        out_dirs[count, 0], out_dirs[count, 1], out_dirs[count, 2] = key[0], key[1], key[2]
        out_index[count] = i
        count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def thickness(y: float, mist_height: float) -> float:
    """How thick the air is at a height, of what it is at height 0."""
    return min(math.exp(y / mist_height), 1.5)


@njit(forceinline=True, cache=True, nogil=True, error_model="numpy", fastmath=True)
def fogged(
    r: float, g: float, b: float, low: float, x: float, y: float, z: float, distance: float, light: Light
) -> tuple[float, float, float, float]:
    """Put `distance` metres of air, along unit (x, y, z), before a colour; also how much it hides.

    low: how thick the air is where the ray begins, as `thickness` says.
    """
    # Fog thins out exponentially upwards; the integral along a straight ray is closed.
    rise = -y * distance / light.mist_height
    thin = (1.0 - math.exp(-rise)) / rise if abs(rise) > 1e-3 else 1.0 - 0.5 * rise
    amount = 1.0 - math.exp(-light.fog_density * distance * clamp(thin, 0.0, 4.0) * low)
    towards = max(x * light.sun[0] + y * light.sun[1] + z * light.sun[2], 0.0)
    glow = 0.22 * towards**5
    fr = light.fog[0] + light.sun_colour[0] * glow
    fg = light.fog[1] + light.sun_colour[1] * glow
    fb = light.fog[2] + light.sun_colour[2] * glow
    return r + (fr - r) * amount, g + (fg - g) * amount, b + (fb - b) * amount, amount


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def shade(
    me: int,
    owner: U8,
    origins: F32,
    dirs: F32,
    t: F32,
    u: F32,
    v: F32,
    prim: I32,
    lit: U8,
    pixel: float,
    corners: F32,
    material: U8,
    variation: F32,
    lamps: F32,
    light: Light,
    rgb: F32,
    mirror: F32,
    mirror_dirs: F32,
) -> None:
    """Light what the rays that hit body number `me` brought back; body 0 also sees to the sky.

    Args:
        me: which body. owner: [N] which body each ray hit.
        t, u, v, prim: [N] as Embree gives them. lit: [N] 1 where the key light reaches.
        pixel: a pixel's width one metre away.
        corners, material, variation: the body's.
        lamps: [L, 7] point lights. light: `sky.Light`.
        rgb: [N, 3] written. mirror: [N] written: how much of what `mirror_dirs` [N, 3] sees is to be added.
    """
    corner = np.empty(CORNER_SIZE)
    y0, low = 0.0, 1.0  # most rays begin at one height
    for i in range(len(t)):
        if owner[i] != me:
            continue
        if origins[i, 1] != y0:
            y0 = origins[i, 1]
            low = thickness(y0, light.mist_height)
        mirror[i] = 0.0
        dx, dy, dz = dirs[i, 0], dirs[i, 1], dirs[i, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        dx, dy, dz = dx / length, dy / length, dz / length
        if prim[i] < 0:
            r, g, b = firmament(dx, dy, dz, light)
            haze = math.exp(-max(-dy, 0.0) * 9.0) * clamp(light.fog_density * 55.0, 0.0, 1.0)
            thick = clamp(light.fog_density * 18.0 - 0.15, 0.0, 1.0) * math.exp(-max(-dy, 0.0) * 1.6)
            haze = max(haze, thick)
            rgb[i, 0] = r + (light.fog[0] - r) * haze
            rgb[i, 1] = g + (light.fog[1] - g) * haze
            rgb[i, 2] = b + (light.fog[2] - b) * haze
            continue
        distance = t[i] * length
        x, y, z = (
            origins[i, 0] + t[i] * dirs[i, 0],
            origins[i, 1] + t[i] * dirs[i, 1],
            origins[i, 2] + t[i] * dirs[i, 2],
        )
        face = prim[i]
        kind = material[face]
        w1, w2 = u[i], v[i]
        w0 = 1.0 - w1 - w2
        for c in range(CORNER_SIZE):
            corner[c] = w0 * corners[face, 0, c] + w1 * corners[face, 1, c] + w2 * corners[face, 2, c]
        nx, ny, nz = corner[0], corner[1], corner[2]
        size = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
        nx, ny, nz = nx / size, ny / size, nz / size
        facing = -(nx * dx + ny * dy + nz * dz)
        if facing < 0.0 and kind != _FOLIAGE and kind != _NEEDLES:
            nx, ny, nz, facing = -nx, -ny, -nz, -facing
        facing = max(facing, 0.05)
        root = math.sqrt(facing)
        footprint = pixel * distance / (root * math.sqrt(root))
        openness = corner[6]
        sunlit = lit[i]

        if kind == _WATER:
            amp = 0.030
            ax = amp * (
                noise2(x * 0.9, z * 0.9, 61) * visible(2.2, footprint)
                + noise2(x * 3.1, z * 2.3, 62) * visible(0.8, footprint)
            )
            az = amp * (
                noise2(x * 0.8, z * 1.1, 63) * visible(2.2, footprint)
                + noise2(x * 2.3, z * 3.3, 64) * visible(0.8, footprint)
            )
            flip = 1.0 if dy > 0.0 else -1.0
            norm = math.sqrt(ax * ax + 1.0 + az * az)
            nx, ny, nz = ax / norm, -flip / norm, az / norm
            facing = max(-(nx * dx + ny * dy + nz * dz), 0.02)
            fresnel = 0.03 + 0.97 * (1.0 - facing) ** 5
            fresnel = min(fresnel, 0.86)
            rx, ry, rz = dx + 2.0 * facing * nx, dy + 2.0 * facing * ny, dz + 2.0 * facing * nz
            ry = min(ry, -0.015)
            mirror_dirs[i, 0], mirror_dirs[i, 1], mirror_dirs[i, 2] = rx, ry, rz
            ndl = max(-light.key[1], 0.0) * (0.45 + 0.55 * sunlit)
            sky = 0.65
            r = corner[3] * (light.key_colour[0] * ndl * 0.6 + sky * light.zenith[0] + 0.2 * light.horizon[0])
            g = corner[4] * (light.key_colour[1] * ndl * 0.6 + sky * light.zenith[1] + 0.2 * light.horizon[1])
            b = corner[5] * (light.key_colour[2] * ndl * 0.6 + sky * light.zenith[2] + 0.2 * light.horizon[2])
            towards = rx * light.key[0] + ry * light.key[1] + rz * light.key[2]
            glint = sunlit * max(towards, 0.0) ** 220 * 4.0
            keep = 1.0 - fresnel
            r, g, b = (
                r * keep + light.key_colour[0] * glint,
                g * keep + light.key_colour[1] * glint,
                b * keep + light.key_colour[2] * glint,
            )
            lr, lg, lb = _lamplight(x, y, z, 0.0, -1.0, 0.0, lamps)
            r, g, b = r + 0.05 * lr, g + 0.05 * lg, b + 0.05 * lb
            r, g, b, hidden = fogged(r, g, b, low, dx, dy, dz, distance, light)
            rgb[i, 0], rgb[i, 1], rgb[i, 2] = r, g, b
            mirror[i] = fresnel * (1.0 - hidden)
            continue

        if kind == _GLOW:
            r, g, b = 4.0 * corner[3], 4.0 * corner[4], 4.0 * corner[5]
        else:
            r, g, b = albedo(
                kind, x, y, z, nx, ny, nz, corner[3], corner[4], corner[5], corner[8], variation[face], footprint, light
            )
            ndl = nx * light.key[0] + ny * light.key[1] + nz * light.key[2]
            direct = max(ndl, 0.0) * sunlit
            if kind in (_FOLIAGE, _NEEDLES):
                # Leaves let some light through, and a crown's edge is never quite dark.
                direct = 0.80 * direct + 0.20 * sunlit + 0.13 * max(-ndl, 0.0) * openness
            up = 0.5 - 0.5 * ny
            open2 = 0.12 + 0.88 * openness
            sr = (0.70 * light.zenith[0] + 0.52 * light.horizon[0]) * up + light.bounce[0] * (1.0 - up)
            sg = (0.70 * light.zenith[1] + 0.52 * light.horizon[1]) * up + light.bounce[1] * (1.0 - up)
            sb = (0.70 * light.zenith[2] + 0.52 * light.horizon[2]) * up + light.bounce[2] * (1.0 - up)
            lamp = corner[7] * light.night * 1.5
            lr, lg, lb = _lamplight(x, y, z, nx, ny, nz, lamps)
            er = light.key_colour[0] * direct + sr * open2 + lamp * _WARM[0] + lr
            eg = light.key_colour[1] * direct + sg * open2 + lamp * _WARM[1] + lg
            eb = light.key_colour[2] * direct + sb * open2 + lamp * _WARM[2] + lb
            r, g, b = r * er, g * eg, b * eb
            if kind == _WINDOW:
                r, g, b = _window(r, g, b, x, y, z, dx, dy, dz, nx, ny, nz, facing, variation[face], light)
            elif light.wet > 0.0 and kind != _FOLIAGE and kind != _NEEDLES:
                pool = 0.35
                if kind == _TERRAIN:
                    pool = 0.25 + 0.75 * smooth(-0.1, 0.35, noise2(x * 0.35, z * 0.35, 81)) * smooth(
                        0.2, 0.7, corner[8] + 0.35
                    )
                sheen = light.wet * pool * (0.04 + 0.7 * (1.0 - facing) ** 4) * openness
                k = 2.0 * facing
                rr, rg, rb = gradient(dx + k * nx, min(dy + k * ny, -0.02), dz + k * nz, light)
                r, g, b = r + sheen * rr, g + sheen * rg, b + sheen * rb
        r, g, b, hidden = fogged(r, g, b, low, dx, dy, dz, distance, light)
        rgb[i, 0], rgb[i, 1], rgb[i, 2] = r, g, b


@njit(forceinline=True, cache=True, nogil=True, error_model="numpy", fastmath=True)
def _window(
    r: float,
    g: float,
    b: float,
    x: float,
    y: float,
    z: float,
    dx: float,
    dy: float,
    dz: float,
    nx: float,
    ny: float,
    nz: float,
    facing: float,
    variation: float,
    light: Light,
) -> Triple:
    """A pane: by day it mirrors the sky, by night it glows, if somebody is home."""
    k = 2.0 * facing
    rr, rg, rb = gradient(dx + k * nx, min(dy + k * ny, -0.02), dz + k * nz, light)
    shine = 0.10 + 0.6 * (1.0 - facing) ** 4
    r, g, b = 0.4 * r + shine * rr, 0.4 * g + shine * rg, 0.4 * b + shine * rb
    home = light.night if variation < _UNLIT_WINDOWS else 0.06 * light.night
    home *= 1.25 + 0.3 * noise2(x * 2.0 + z * 2.0, y * 2.0, 91)
    return r + home * 1.9 * _WARM[0], g + home * 1.9 * _WARM[1], b + home * 1.75 * _WARM[2]


@njit(forceinline=True, cache=True, nogil=True, error_model="numpy", fastmath=True)
def _lamplight(x: float, y: float, z: float, nx: float, ny: float, nz: float, lamps: F32) -> Triple:
    """What point lights [L, 7] (position, power, reach) bring to a place with a normal."""
    r = g = b = 0.0
    for k in range(len(lamps)):
        lx, ly, lz = lamps[k, 0] - x, lamps[k, 1] - y, lamps[k, 2] - z
        squared = lx * lx + ly * ly + lz * lz
        reach = lamps[k, 6]
        if squared >= reach * reach:
            continue
        distance = math.sqrt(squared) + 1e-6
        cosine = clamp((nx * lx + ny * ly + nz * lz) / distance + 0.15, 0.0, 1.0)
        power = cosine * (1.0 - distance / reach) ** 2 / (0.6 + squared)
        r, g, b = r + lamps[k, 3] * power, g + lamps[k, 4] * power, b + lamps[k, 5] * power
    return r, g, b


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def collect_mirrors(
    origins: F32, dirs: F32, t: F32, mirror: F32, mirror_dirs: F32, out_origins: F32, out_dirs: F32, out_index: I32
) -> int:
    """Collect the mirror rays; gives how many."""
    count = 0
    for i in range(len(t)):
        if mirror[i] <= 0.004:
            continue
        for c in range(3):
            out_origins[count, c] = origins[i, c] + t[i] * dirs[i, c]
            out_dirs[count, c] = mirror_dirs[i, c]
        out_origins[count, 1] -= 0.01
        out_index[count] = i
        count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def develop(rgb: F32, light: Light, out: F32) -> None:
    """Expose, tone-map (Narkowicz's fit of ACES) and grade colours [N, 3] to linear display values [N, 3] in [0, 1]."""
    for i in range(len(rgb)):
        r, g, b = (
            _filmic(rgb[i, 0] * light.exposure),
            _filmic(rgb[i, 1] * light.exposure),
            _filmic(rgb[i, 2] * light.exposure),
        )
        grey = 0.2126 * r + 0.7152 * g + 0.0722 * b
        r, g, b = (
            grey + (r - grey) * light.saturation,
            grey + (g - grey) * light.saturation,
            grey + (b - grey) * light.saturation,
        )
        out[i, 0] = _graded(r, light.contrast, light.lift[0], light.tint[0])
        out[i, 1] = _graded(g, light.contrast, light.lift[1], light.tint[1])
        out[i, 2] = _graded(b, light.contrast, light.lift[2], light.tint[2])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, inline="always")
def _filmic(x: float) -> float:
    x = max(x, 0.0)
    return x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, inline="always")
def _graded(x: float, contrast: float, lift: float, tint: float) -> float:
    x = clamp(x, 0.0, 1.0)
    x = x + (contrast - 1.0) * x * (1.0 - x) * (2.0 * x - 0.55)
    return clamp((lift + (1.0 - lift) * x) * tint, 0.0, 1.0)
