"""Fireworks, explosions and the sparks over a fire: closed forms of the time since they began."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.placing import Place, Spot, Viewer, choose, spots_of
from keepworld_runtime.families.diorama.shown import Shown
from keepworld_runtime.families.diorama.streaks import streaks
from keepworld_runtime.sampling.noise import generator

Floats = NDArray[np.float64]

_COLOURS = np.array(
    [(255, 90, 60), (255, 205, 90), (110, 220, 255), (190, 120, 255), (120, 255, 140), (255, 130, 190)], np.float64
)
_ASCENT_S, _BURST_S, _EVERY_S, _SPARKS = 0.9, 2.3, 0.62, 130
_DRAG, _FALL = 1.5, 1.6  # 1 / s; m / s^2, downwards, air included


def _flown(velocity: Floats, age_s: float) -> Floats:
    """How far sparks with velocities [N, 3] have come, slowed by the air and falling."""
    age_s = max(age_s, 0.0)
    return velocity * (1.0 - np.exp(-_DRAG * age_s)) / _DRAG + np.array([0.0, 0.5 * _FALL * age_s**2, 0.0])


class Fireworks:
    """Rockets that rise beyond the scene and burst."""

    def __init__(self, place: Place, viewer: Viewer) -> None:
        self._place, self._viewer = place, viewer

    def show(self, shown: Shown, *, age_s: float, time_s: float, amount: float) -> None:
        """See `things.Thing`."""
        latest = int((age_s + _ASCENT_S) / _EVERY_S)
        for number in range(max(0, latest - int((_BURST_S + 2 * _ASCENT_S) / _EVERY_S) - 1), latest + 1):
            rng = generator(self._viewer.seed, "firework", self._viewer.entry, number)
            self._burst(shown, age_s - number * _EVERY_S - _ASCENT_S, rng, amount)

    def _burst(self, shown: Shown, age_s: float, rng: np.random.Generator, amount: float) -> None:
        angle, distance, height, size, skipped = rng.random(5)
        if skipped > amount or not -_ASCENT_S < age_s < _BURST_S:
            return
        x, z = self._viewer.ahead(52.0 + 16.0 * distance, 0.9 * (angle - 0.5))
        foot = np.array([x, float(self._place.ground(np.asarray(x), np.asarray(z))), z])
        top = np.array([x, self._viewer.c2w[1, 3] - 9.0 - 11.0 * height, z])
        colours = _COLOURS[rng.permutation(len(_COLOURS))[:2]]
        if age_s < 0:
            parts = [max(0.0, 1.0 + (age_s - back) / _ASCENT_S) for back in (0.07, 0.0)]
            tail, head = (foot + (top - foot) * (1.0 - (1.0 - part) ** 2) for part in parts)
            shown.sparks.append(
                streaks(tail[None], head[None], radius=0.14, colour=(255.0, 214.0, 150.0), alpha=0.9, glows=True)
            )
            return
        direction = rng.standard_normal((_SPARKS, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        velocity = direction * (6.5 + 6.0 * size) * (0.75 + 0.25 * rng.random((_SPARKS, 1)))
        left = 1.0 - age_s / _BURST_S
        twinkle = 0.75 + 0.25 * np.sin(40.0 * age_s + 6.3 * rng.random(_SPARKS)) if left < 0.5 else 1.0
        colour = np.where(rng.random((_SPARKS, 1)) < 0.7, colours[0], colours[1])
        colour = colour + (255.0 - colour) * max(0.0, 0.7 - 4.5 * age_s)
        shown.sparks.append(
            streaks(
                top + _flown(velocity, age_s - 0.13), top + _flown(velocity, age_s),
                radius=0.13, colour=colour, alpha=min(1.0, 1.6 * left) * twinkle, glows=False,
            )
        )  # fmt: skip
        flash = 26.0 * float(np.exp(-2.6 * age_s))
        red, green, blue = (float(value) / 255.0 * flash for value in colours[0])
        shown.lights.append((float(top[0]), float(top[1]), float(top[2]), red, green, blue, 90.0))

    def footprint(self) -> list[tuple[float, float]]:
        """See `things.Thing`."""
        return []


class Explosion:
    """A fireball on the ground, with smoke that rises from it."""

    _FIRE, _SMOKE, _SHARDS = 70, 46, 90

    def __init__(self, place: Place, viewer: Viewer) -> None:
        spot = choose(place, viewer, distance=20.0, among=spots_of(place, "clearing"), room=1.5)
        self._at = np.array([spot.x, spot.y - 0.6, spot.z])
        rng = generator(viewer.seed, "explosion", viewer.entry)
        outwards = rng.standard_normal((self._FIRE + self._SMOKE + self._SHARDS, 3))
        outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
        outwards[:, 1] = -np.abs(outwards[:, 1]) * 0.9
        self._fire, self._smoke, self._shards = np.split(outwards, [self._FIRE, self._FIRE + self._SMOKE])
        self._vary = rng.random(self._SHARDS)

    def show(self, shown: Shown, *, age_s: float, time_s: float, amount: float) -> None:
        """See `things.Thing`."""
        vary = self._vary
        smoke = self._at + self._smoke * (2.6 * (1 - np.exp(-2.2 * age_s)) * (0.4 + vary[: self._SMOKE, None]))
        wind, rise = np.array([0.5, 0.0, 0.1]), np.array([0.0, -1.0, 0.0])
        smoke = smoke + wind * age_s + rise * (age_s * (0.8 + vary[: self._SMOKE, None]))
        grey = 46.0 + 40.0 * vary[: self._SMOKE, None] + np.zeros(3)
        faint = 0.55 * amount * min(1.0, 4.0 * age_s) * max(0.0, 1.0 - age_s / 6.0)
        size = (0.5 + 0.9 * vary[: self._SMOKE]) * (0.7 + 0.45 * age_s)
        shown.sparks.append(streaks(smoke, smoke, radius=size, colour=grey, alpha=faint, glows=False))
        if age_s < 1.1:
            left = 1.0 - age_s / 1.1
            fire = self._at + self._fire * (3.0 * (1 - np.exp(-6.0 * age_s)) * (0.25 + 0.75 * vary[: self._FIRE, None]))
            fire = fire - np.array([0.0, 1.2 * age_s, 0.0])
            heat = np.array([255.0, 60.0 + 150.0 * left, 20.0 + 120.0 * left**2]) * (0.55 + 0.45 * left)
            radius = (0.35 + 0.6 * vary[: self._FIRE]) * (0.6 + 0.7 * (1 - left))
            shown.sparks.append(streaks(fire, fire, radius=radius, colour=heat, alpha=0.75 * left**0.5, glows=False))
        if age_s < 1.8:
            velocity = self._shards * (7.0 + 9.0 * vary[:, None])
            tail, head = (self._at + _flown(velocity, age_s - back) - rise * 1.8 * age_s**2 for back in (0.06, 0.0))
            left = 1.0 - age_s / 1.8
            shown.sparks.append(streaks(tail, head, radius=0.05, colour=(255.0, 190.0, 90.0), alpha=left, glows=True))
        flash = 30.0 * float(np.exp(-3.5 * age_s))
        x, y, z = self._at
        shown.lights.append((float(x), float(y) - 1.2, float(z), flash, 0.6 * flash, 0.28 * flash, 45.0))

    def footprint(self) -> list[tuple[float, float]]:
        """See `things.Thing`."""
        return []


_EMBERS = generator(0, "embers").random((18, 4))


def embers(shown: Shown, spot: Spot, time_s: float, amount: float) -> None:
    """Sparks that rise from a fire and go out, over and over."""
    life_s = 1.2 + 0.9 * _EMBERS[:, 0]
    age_s = (time_s + 5.0 * _EMBERS[:, 1]) % life_s
    around = 2 * np.pi * _EMBERS[:, 2] + 1.5 * np.sin(1.9 * time_s + 6 * _EMBERS[:, 3])

    def at(age_s: Floats) -> Floats:
        wide = 0.12 + 0.16 * age_s
        up = 0.5 + (0.9 + 0.6 * _EMBERS[:, 3]) * age_s
        return np.stack([spot.x + wide * np.sin(around), spot.y - up, spot.z + wide * np.cos(around)], -1)

    left = 1.0 - age_s / life_s
    shown.sparks.append(
        streaks(at(age_s - 0.03), at(age_s), radius=0.014, colour=(255.0, 165.0, 60.0), alpha=amount * left, glows=True)
    )
