"""From the conditions to the light of a moment: sun or moon, sky, fog, and how the picture is developed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keepworld_runtime.families.diorama.biomes import BIOMES
from keepworld_runtime.families.diorama.spec import Conditions, SceneSpec
from keepworld_runtime.sampling.noise import generator

Triple = tuple[float, float, float]


class Light(NamedTuple):
    """All that shading asks about a moment. Directions point to the light, session frame; colours are linear RGB."""

    key: Triple  # direction to the sun, or at night the moon
    key_colour: Triple
    sun: Triple  # direction to the sun, wherever it is
    sun_colour: Triple  # of its disc and the glow about it
    moon: Triple
    zenith: Triple
    horizon: Triple
    bounce: Triple  # from the ground, on what faces down
    fog: Triple
    cloud_lit: Triple
    cloud_dark: Triple
    fog_density: float  # a metre
    mist_height: float  # metres over which fog thins out upwards
    cloud: float
    stars: float
    night: float  # how brightly windows are lit
    snow: float
    wet: float
    rainbow: float
    bow: Triple  # direction to the middle of the rainbow's circle, below the horizon
    spring: float
    autumn: float
    winter: float
    soil: Triple
    exposure: float
    saturation: float
    contrast: float
    lift: Triple
    tint: Triple


# Sun height in degrees -> colours; between rows they blend.
_HEIGHTS = (-18.0, -9.0, -3.0, 2.0, 9.0, 22.0, 50.0)
_ZENITH = ((0.008, 0.013, 0.034), (0.02, 0.035, 0.11), (0.07, 0.10, 0.28), (0.15, 0.22, 0.46), (0.17, 0.33, 0.66),
           (0.14, 0.36, 0.78), (0.12, 0.34, 0.78))  # fmt: skip
_HORIZON = ((0.022, 0.036, 0.078), (0.10, 0.10, 0.20), (0.50, 0.25, 0.26), (1.02, 0.50, 0.26), (0.98, 0.74, 0.50),
            (0.68, 0.80, 0.90), (0.60, 0.77, 0.92))  # fmt: skip
_SUN = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.15, 0.04, 0.02), (1.9, 0.74, 0.26), (2.75, 1.66, 0.86), (2.75, 2.25, 1.66),
        (2.75, 2.5, 2.12))  # fmt: skip
_MOONLIGHT = (0.20, 0.27, 0.44)
_HIGHEST = np.radians(56.0)
_BOW_DEPTH = np.radians(22.0)  # how far below the horizon the middle of a rainbow is: its top is 20 degrees above
_BOW_ASIDE = 35.0  # degrees to the side that its middle is at most
_CLEAR_AIR, _THICK_FOG = 0.0011, 0.055  # density a metre

# saturation, contrast, lift of the darks, tint
_GRADES: dict[str, tuple[float, float, Triple, Triple]] = {
    "natural": (1.0, 1.08, (0.0, 0.0, 0.0), (1.01, 1.0, 0.985)),
    "pastel": (0.78, 0.80, (0.10, 0.085, 0.105), (1.03, 0.99, 1.02)),
    "vivid": (1.42, 1.14, (0.0, 0.0, 0.0), (1.02, 1.0, 0.98)),
    "muted": (0.58, 0.95, (0.03, 0.03, 0.035), (1.02, 1.0, 0.95)),
    "mono": (0.0, 1.12, (0.012, 0.014, 0.02), (1.02, 1.0, 0.96)),
}


def light_of(spec: SceneSpec, conditions: Conditions, time_s: float) -> Light:
    """The light of a moment.

    Only lightning asks for the time: under the same conditions the world otherwise looks the same at any time.
    """
    c = conditions
    sun = _sun(c.hour)
    height = float(np.degrees(np.arcsin(-sun[1])))
    day = float(np.interp(height, (-10.0, 6.0), (0.0, 1.0)))
    overcast = _smooth((c.cloud - 0.45) / 0.55)
    gloom = max(overcast, 0.85 * c.storm, 0.6 * c.rain)
    zenith, horizon = _at(height, _ZENITH), _at(height, _HORIZON)
    grey = 0.55 * float(horizon.mean()) + 0.45 * float(zenith.mean())
    zenith = zenith + (np.array([0.86, 0.93, 1.0]) * grey * 0.9 - zenith) * 0.85 * gloom
    horizon = horizon + (np.array([0.96, 0.98, 1.0]) * grey * 1.15 - horizon) * 0.85 * gloom
    dark = 1.0 - 0.62 * c.storm
    zenith, horizon = zenith * dark, horizon * dark
    sunlight = _at(height, _SUN) * (1.0 - 0.9 * gloom) * (1.0 - 0.75 * c.fog)
    moon = _direction(np.radians(34.0), np.radians(-24.0 + 4.0 * ((c.hour + 6.0) % 24.0 - 6.0)))
    moonlight = np.array(_MOONLIGHT) * (1.0 - day) * (1.0 - 0.8 * gloom) if height < -4.0 else np.zeros(3)
    by_moon = moonlight.sum() > sunlight.sum()
    flash = _lightning(spec.seed, c.storm, time_s)
    night = float(np.interp(height, (-6.0, 7.0), (1.0, 0.0)))
    night = max(night, 0.55 * c.storm, 0.3 * gloom * day)
    haze = _CLEAR_AIR * (1.0 + 2.0 * gloom + 1.5 * (1.0 - day)) + _THICK_FOG * c.fog**2 + 0.006 * (c.rain + c.snowfall)
    fog = (0.72 * horizon + 0.28 * zenith) * (1.0 + 0.15 * c.fog)
    saturation, contrast, lift, tint = _GRADES[spec.palette]
    exposure = float(np.interp(height, (-18.0, -6.0, 2.0, 20.0), (1.75, 1.3, 0.92, 0.64))) * (1.0 + 2.2 * flash)
    grass = np.mean(BIOMES[spec.biome].grass, axis=0) * (1 - c.snow_cover) + 0.8 * c.snow_cover
    bounce = 0.06 * horizon + grass * (0.40 * horizon + 0.22 * sunlight)
    return Light(
        key=_triple(moon if by_moon else sun),
        key_colour=_triple(moonlight if by_moon else sunlight),
        sun=_triple(sun),
        sun_colour=_triple(_at(height, _SUN) * (1.0 - 0.92 * gloom)),
        moon=_triple(moon),
        zenith=_triple(zenith),
        horizon=_triple(horizon),
        bounce=_triple(bounce),
        fog=_triple(fog),
        cloud_lit=_triple((0.62 * horizon + 0.30 * _at(height, _SUN)) * (1 - 0.45 * gloom) * dark),
        cloud_dark=_triple((0.50 * horizon + 0.42 * zenith) * (1 - 0.25 * gloom)),
        fog_density=float(haze),
        mist_height=float(60.0 - 42.0 * c.fog),
        cloud=float(max(c.cloud, 0.95 * c.storm)),
        stars=float(np.interp(height, (-12.0, -5.0), (1.0, 0.0)) * (1.0 - gloom)),
        night=float(night),
        snow=float(c.snow_cover),
        wet=float(c.wetness),
        rainbow=float(c.rainbow * day),
        bow=_triple(_bow(c.hour)),
        spring=float(c.season[0]),
        autumn=float(c.season[2]),
        winter=float(c.season[3]),
        soil=BIOMES[spec.biome].soil,
        exposure=float(exposure),
        saturation=saturation,
        contrast=contrast,
        lift=lift,
        tint=tint,
    )


def _sun(hour: float) -> np.ndarray:
    """Direction to the sun: it rises ahead on the right, passes behind the first camera, sets ahead on the left."""
    height = np.sin((hour - 6.0) / 12.0 * np.pi) * _HIGHEST
    return _direction(height, np.radians(_sun_azimuth(hour)))


def _sun_azimuth(hour: float) -> float:
    """Degrees from +z towards +x."""
    return 40.0 + (hour - 6.0) * 23.75


def _bow(hour: float) -> np.ndarray:
    """Direction to the middle of the rainbow.

    In nature that is the point opposite the sun: at noon all of the bow would be below the horizon, and at most hours
    it would be nowhere near the first camera's view. So that who asks for a rainbow gets to see one, its middle is always
    at the height where the whole arc fits into a picture, and as near to straight ahead of the first camera as leaves
    it on the side away from the sun; but when the sun itself is ahead, early and late, not farther than where half of
    it is in the picture. Like all of the sky it stays where it is when the camera turns.
    """
    opposite = (_sun_azimuth(hour) + 360.0) % 360.0 - 180.0
    azimuth = float(np.sign(opposite)) * min(max(abs(opposite) - 90.0, 0.0), _BOW_ASIDE)
    return _direction(-_BOW_DEPTH, np.radians(azimuth))


def _direction(height: float, azimuth: float) -> np.ndarray:
    """Unit vector, session frame, at a height above the horizon and an azimuth from +z towards +x."""
    flat = np.cos(height)
    return np.array([flat * np.sin(azimuth), -np.sin(height), flat * np.cos(azimuth)])


def _lightning(seed: int, storm: float, time_s: float) -> float:
    """How bright lightning is: a few flickering flashes a minute, falling off within a third of a second."""
    if storm <= 0.3:
        return 0.0
    total = 0.0
    for slot in (int(time_s // 2.5) - 1, int(time_s // 2.5)):
        rng = generator(seed, "lightning", slot)
        if rng.random() < 0.45 * storm:
            since = time_s - (slot + float(rng.random())) * 2.5
            if 0.0 <= since < 0.4:
                total += (1.0 - since / 0.4) ** 2 * (0.6 + 0.4 * np.cos(since * 40.0))
    return min(total, 1.0) * storm


def _at(height: float, rows: tuple[Triple, ...]) -> np.ndarray:
    return np.array([np.interp(height, _HEIGHTS, channel) for channel in zip(*rows, strict=True)])


def _smooth(t: float) -> float:
    t = min(max(t, 0.0), 1.0)
    return t * t * (3 - 2 * t)


def _triple(values: np.ndarray) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])
