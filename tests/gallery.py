"""A family for tests, `gallery`: a world that begins with a picture, which hangs on a wall behind a ball.

Its depth and cameras are exact, its places look like no other, and every frame shows the same, but that the ball turns red when
it is told to: for those who train on what they walked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from keepworld.camera import Camera, PoseSource, Units, intrinsics
from keepworld.motion import Rates
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
from numpy.typing import NDArray

from tests import scenes
from tests.exporters.room import BALL, GROUND, WALL, mottled

RED = "the ball turns red"
LEFT, TOP, ACROSS, DOWN = -2.0, -1.5, 4.0, 2.5  # of the picture on the wall, metres


class GalleryFamily:
    capabilities = Capabilities(
        name="gallery",
        version="1",
        summary="a picture on a wall",
        licence="CC0-1.0",
        units=Units.METRES,
        pose_source=PoseSource.RENDERED,
        modes={"fly": ("move_forward",)},
        accepts_paths=True,
        rates=Rates(move=1.0, turn=1.0),
        sizes=((96, 72),),
        min_side=16,
        max_pixels=100_000,
        size_multiple=8,
        fov_x=math.radians(70),
        has_depth=True,
        takes_image=True,
        vocabulary={},
        events={"ball": (RED,)},
    )

    def read_prompt(self, text: str) -> Reading:
        return Reading(used=(), ignored=tuple(text.split()))

    def read_event(self, text: str) -> Reading:
        if text != RED:
            raise ValueError(f"there is only {RED!r}")
        return Reading(used=(text,), ignored=())

    def load(self, place: Place) -> GalleryModel:
        return GalleryModel()


def family(options: FamilyOptions) -> Family:
    return GalleryFamily()


class GalleryModel:
    def open(self, spec: WorldSpec) -> GalleryWorld:
        return GalleryWorld(spec)


class GalleryWorld:
    def __init__(self, spec: WorldSpec) -> None:
        self._spec = spec
        self._is_red = False

    def prepare(self, event: Event) -> None:
        pass

    def next_chunk(self, request: ChunkRequest) -> Iterator[FrameData]:
        self._is_red |= bool(request.events)
        for index, pose in enumerate(request.poses):
            yield self._frame(index, np.eye(4) if pose is None else pose)

    def state(self) -> WorldState:
        return WorldState(head=b"red" if self._is_red else b"")

    def restore(self, state: WorldState) -> None:
        self._is_red = state.head == b"red"

    def surface(self) -> Surface | None:
        return None

    def _frame(self, index: int, c2w: NDArray[np.float64]) -> FrameData:
        width, height = self._spec.width, self._spec.height
        K = intrinsics(width, height, GalleryFamily.capabilities.fov_x)
        wall = scenes.Solid(WALL.low, WALL.high, self._wall)
        ball = scenes.Solid(BALL.low, BALL.high, scenes.plain(200, 20, 20) if self._is_red else mottled, ball=True)
        camera = Camera(c2w=c2w, K=K, width=width, height=height)
        image, depth, labels = scenes.render([wall, GROUND, ball], camera)
        return FrameData(index=index, c2w=c2w, K=K, image=image, depth=depth, labels=labels, confidence=None)

    def _wall(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        colours = mottled(points)
        if (picture := self._spec.image) is not None:
            across, down = (points[:, 0] - LEFT) / ACROSS, (points[:, 1] - TOP) / DOWN
            there = (across >= 0) & (across < 1) & (down >= 0) & (down < 1)
            rows, columns = (down[there] * picture.shape[0]).astype(int), (across[there] * picture.shape[1]).astype(int)
            colours[there] = picture[rows, columns]
        return colours
