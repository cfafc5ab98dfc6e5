"""The diorama's row in the table: what it can do, and how its words are read."""

from __future__ import annotations

import math
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from keepworld.camera import PoseSource, Units

from keepworld_runtime.families.diorama.event_words import EXAMPLES
from keepworld_runtime.families.diorama.events import parse_event
from keepworld_runtime.families.diorama.prompt import imagine, understand
from keepworld_runtime.families.diorama.vocabulary import VOCABULARY
from keepworld_runtime.families.diorama.walk import MODES, RATES
from keepworld_runtime.families.family import Capabilities, Place, Reading, WorldSpec

if TYPE_CHECKING:
    from keepworld_runtime.families.diorama.world import DioramaWorld

_SCENES_KEPT = 4

CAPABILITIES = Capabilities(
    name="diorama",
    version="1",
    summary=(
        "A procedural low-poly world, drawn by ray casting on the CPU from a documented vocabulary of words and a seed. "
        "Not a neural model: it makes what its words name and nothing else, with exact depth and cameras."
    ),
    licence="Apache-2.0",
    units=Units.METRES,
    pose_source=PoseSource.RENDERED,
    modes=MODES,
    accepts_paths=True,
    rates=RATES,
    sizes=((512, 288), (832, 480), (640, 360), (384, 216), (256, 144), (960, 544), (1280, 720)),
    min_side=64,
    max_pixels=1920 * 1080,
    size_multiple=8,
    fov_x=math.radians(75.0),
    has_depth=True,
    takes_recording=True,
    vocabulary=MappingProxyType(VOCABULARY),
    events=MappingProxyType(EXAMPLES),
)


class DioramaModel:
    """The loaded family: it builds scenes, and keeps the last few for other sessions of the same prompt and seed."""

    def __init__(self, num_threads: int) -> None:
        # Numba and Embree take seconds to load: only what draws imports them.
        from keepworld_runtime.families.diorama.scene import build_scene

        self._num_threads = num_threads
        self._scene_of = lru_cache(maxsize=_SCENES_KEPT)(build_scene)

    def open(self, spec: WorldSpec) -> DioramaWorld:
        """Make a world."""
        from keepworld_runtime.families.diorama.world import DioramaWorld

        scene_spec, opening = imagine(spec.prompt, spec.seed)
        return DioramaWorld(spec, self._scene_of(scene_spec), opening, CAPABILITIES, self._num_threads)


class DioramaFamily:
    """A `keepworld_runtime.families.family.Family`."""

    capabilities = CAPABILITIES

    def read_prompt(self, text: str) -> Reading:
        """Say how a prompt will be understood."""
        return understand(text).reading

    def read_event(self, text: str) -> Reading:
        """Say how an event will be understood; a ValueError lists what is known."""
        return parse_event(text)[1]

    def load(self, place: Place) -> DioramaModel:
        """Load and compile what drawing needs; a ValueError refuses more than one process."""
        if place.num_ranks != 1:
            raise ValueError(f"the diorama draws in one process, got num_ranks = {place.num_ranks}")
        return DioramaModel(place.num_threads)
