"""A family that draws nothing: it gives prepared frames, so that what a server does beside drawing can be measured.

Serve it as ``null=keepworld_runtime.bench.null``; `keepworld bench load` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from keepworld.camera import PoseSource, Units, intrinsics
from keepworld.motion import Rates
from numpy.typing import NDArray

from keepworld_runtime.families.family import (
    Capabilities,
    ChunkRequest,
    Event,
    Family,
    FamilyOptions,
    FrameData,
    Place,
    Reading,
    Surface,
    WorldSpec,
    WorldState,
)

PREPARED = 8  # pictures, shown over and over
_GRAIN = (
    4.0  # standard deviation of the noise: a JPEG of quality 90 then has as many bytes as one of a diorama's meadow
)


class NullFamily:
    """A `Family` of which nothing depends on prompt, seed or controls."""

    capabilities = Capabilities(
        name="null",
        version="1",
        summary="Prepared frames, for measuring servers.",
        licence="Apache-2.0",
        units=Units.MODEL,
        pose_source=PoseSource.COMMANDED,
        modes=MappingProxyType({"walk": ("move_forward", "turn_yaw")}),
        accepts_paths=False,
        rates=Rates(move=1.0, turn=1.0),
        sizes=((832, 480), (512, 288)),
        min_side=16,
        max_pixels=1920 * 1080,
        size_multiple=8,
        fov_x=math.radians(70),
        has_depth=False,
        vocabulary=MappingProxyType({}),
        events=MappingProxyType({}),
    )

    def read_prompt(self, text: str) -> Reading:
        """Ignores every word."""
        return Reading(used=(), ignored=tuple(text.split()))

    def read_event(self, text: str) -> Reading:
        """Refuses every event."""
        raise ValueError("nothing ever happens here")

    def load(self, place: Place) -> NullModel:
        """Loads nothing."""
        return NullModel()


def family(options: FamilyOptions) -> Family:
    """The family, which has no options."""
    return NullFamily()


class NullModel:
    """Opens worlds that are all the same."""

    def open(self, spec: WorldSpec) -> NullWorld:
        """Make one."""
        return NullWorld(spec)


class NullWorld:
    """A `World` that stands still."""

    def __init__(self, spec: WorldSpec) -> None:
        self._pictures = prepared(spec.width, spec.height)
        self._K = intrinsics(spec.width, spec.height, NullFamily.capabilities.fov_x)

    def prepare(self, event: Event) -> None:
        """There are none."""

    def next_chunk(self, request: ChunkRequest) -> Iterator[FrameData]:
        """The prepared pictures in turn."""
        first = NullFamily.capabilities.first_frame_of(request.chunk)
        for index in range(len(request.controls)):
            image = self._pictures[(first + index) % PREPARED]
            yield FrameData(
                index=index, c2w=np.eye(4), K=self._K, image=image, depth=None, labels=None, confidence=None
            )

    def state(self) -> WorldState:
        """Nothing is kept."""
        return WorldState(head=b"")

    def restore(self, state: WorldState) -> None:
        """Nothing is needed."""

    def surface(self) -> Surface | None:
        """There is none."""
        return None


@lru_cache(maxsize=4)
def prepared(width: int, height: int) -> NDArray[np.uint8]:
    """Pictures [PREPARED, H, W, 3] of soft hills with some grain, about as hard to encode as a rendered meadow."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[0:height, 0:width] / height
    hills = sum(rng.normal(size=3) * 20 / k * np.sin(k * (3 * u + 2 * v) + k)[..., None] for k in range(1, 9))
    clean = 128 + np.stack([np.roll(hills, 4 * index, axis=1) for index in range(PREPARED)])
    return np.clip(clean + rng.normal(scale=_GRAIN, size=clean.shape), 0, 255).astype(np.uint8)
