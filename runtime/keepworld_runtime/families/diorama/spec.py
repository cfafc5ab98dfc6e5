"""The words the diorama's modules share: what a scene is made from, what a moment in it is like, what meshes are made of.

Everything is in the session's frame: metres, x right, y down, z forward as the first camera looks; "up" is -y. Colours
are linear RGB in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

SEASONS = ("spring", "summer", "autumn", "winter")


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """Light and weather: all that can change smoothly. Two of them blend by blending each number.

    Attributes:
        hour: time of day in [0, 24); 12 is noon. Blends forwards round the clock.
        season: weights of `SEASONS`, adding up to 1.
        cloud, fog, rain, snowfall, storm, rainbow: how much of each, in [0, 1]. Storm brings wind, darkness and lightning.
        snow_cover, wetness: what lies on the ground, in [0, 1].
    """

    hour: float = 10.0
    season: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 0.0)
    cloud: float = 0.25
    fog: float = 0.0
    rain: float = 0.0
    snowfall: float = 0.0
    storm: float = 0.0
    rainbow: float = 0.0
    snow_cover: float = 0.0
    wetness: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneSpec:
    """What stands where, from the prompt's words and the seed. The strings are keys of `prompt.VOCABULARY`."""

    seed: int
    biome: str  # meadow | forest | mountains | desert | coast | tundra | jungle | farmland
    settlement: str  # none | cottage | hamlet | village
    density: str  # sparse | normal | dense
    palette: str  # natural | pastel | vivid | muted | mono
    landmark: str  # none | windmill | tower | lighthouse | abbey | bridge | stones | castle
    water: str  # none | pond | lake | river | sea


class Material(IntEnum):
    """What a face is made of, which decides its procedural texture and how it takes the light."""

    PLAIN = 0
    TERRAIN = 1
    WATER = 2
    PLANKS = 3
    PLASTER = 4
    STONE = 5
    ROOF = 6
    WINDOW = 7  # lit at night
    FOLIAGE = 8
    NEEDLES = 9
    BARK = 10
    ROCK = 11
    GLOW = 12  # shines by itself


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """A triangle mesh with what it is made of.

    Attributes:
        vertices: [V, 3] float32.
        faces: [F, 3] int32, anticlockwise seen from outside.
        material: [F] uint8 of `Material`.
        colour: [F, 3] float32, linear RGB.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    material: NDArray[np.uint8]
    colour: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One instant: the conditions, and the things that are there beside the scene.

    Attributes:
        time_s: seconds since the session began.
        lasting: things that have arrived and stand still (a campfire, a new tree): part of the world.
        moving: things in motion or still arriving; their pixels are labelled `Label.MOVING`.
        lights: [N, 7] float32 point lights: position, linear RGB power, reach in metres.
    """

    time_s: float
    conditions: Conditions
    lasting: tuple[Part, ...] = ()
    moving: tuple[Part, ...] = ()
    lights: NDArray[np.float32] | None = None
