"""What a family is: the seam between the engine and whatever draws worlds.

A `Family` is light: it describes itself and reads words, and the server keeps it at hand. `Family.load` is heavy and is
called once in a worker process; the `Model` it gives opens `World`s, one a session. The engine asks a world for chunks,
keeps the few bytes of `World.state` after each, and can make the same world again from them in another process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Protocol

import numpy as np
from keepworld.camera import PoseSource, Units
from keepworld.motion import Control, Rates
from numpy.typing import NDArray


class Label(IntFlag):
    """What a pixel shows, beside its colour."""

    SKY = 1  # nothing was hit; depth is 0
    MOVING = 2  # not part of the lasting world: animals, balloons, rain; exporters leave it out


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a family can do, as told to clients. Sizes in pixels, angles in radians, times in seconds.

    Attributes:
        modes: name of each way of moving -> the control axes (of `keepworld.motion.AXES`) it honours.
        accepts_paths: whether cameras can be given one by one instead of controls.
        rates: how fast full deflection is.
        sizes: the offered (width, height), the default first; any other within `max_pixels` works if `any_size`.
        size_multiple: width and height are multiples of this.
        vocabulary: heading -> words, for families that understand a fixed vocabulary; empty for those that read anything.
        events: heading -> example phrases of what can be asked for during the walk.
    """

    name: str
    version: str
    summary: str
    licence: str
    units: Units
    pose_source: PoseSource
    modes: Mapping[str, tuple[str, ...]]
    accepts_paths: bool
    rates: Rates
    sizes: tuple[tuple[int, int], ...]
    min_side: int
    max_pixels: int
    size_multiple: int
    fov_x: float
    fps: float = 24.0
    first_chunk_frames: int = 13
    chunk_frames: int = 16
    group_frames: int = 4
    max_prompt_chars: int = 2000
    has_depth: bool
    vocabulary: Mapping[str, tuple[str, ...]]
    events: Mapping[str, tuple[str, ...]]

    def frames_in(self, chunk: int) -> int:
        """How many frames chunk number `chunk` has."""
        return self.first_chunk_frames if chunk == 0 else self.chunk_frames

    def first_frame_of(self, chunk: int) -> int:
        """The number, counted from the session's start, of the first frame of a chunk."""
        return 0 if chunk == 0 else self.first_chunk_frames + (chunk - 1) * self.chunk_frames


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How a text was understood: the words that counted, as "heading: word", and those that were ignored."""

    used: tuple[str, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldSpec:
    """What a session asks for. Two worlds of one spec and version are the same to the byte."""

    prompt: str
    seed: int
    width: int
    height: int
    mode: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something prompted to happen, from the first frame of the chunk it is handed over with.

    `ramp_s` is how long it takes to come in fully; after `duration_s` it goes again, over another `ramp_s` (None: stays).
    """

    text: str
    ramp_s: float
    duration_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkRequest:
    """What to draw next.

    Attributes:
        chunk: its number, from 0.
        controls: one a frame.
        poses: one a frame: c2w [4, 4] to be at exactly, or None where the control steers.
        events: those that start with this chunk.
    """

    chunk: int
    controls: tuple[Control, ...]
    poses: tuple[NDArray[np.float64] | None, ...]
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FrameData:
    """One drawn frame.

    Attributes:
        index: its place in the chunk, from 0.
        c2w: [4, 4] camera to world, float64, OpenCV axes.
        K: [3, 3] intrinsics in pixels.
        image: [H, W, 3] uint8, sRGB.
        depth: [H, W] float32 along +z in the family's units, 0 for sky; None if the family has none.
        labels: [H, W] uint8 of `Label` bits; None if the family has none.
        confidence: [H, W] uint8, 255 = sure: how far depth and colour speak of one and the same surface; or None.
    """

    index: int
    c2w: NDArray[np.float64]
    K: NDArray[np.float64]
    image: NDArray[np.uint8]
    depth: NDArray[np.float32] | None
    labels: NDArray[np.uint8] | None
    confidence: NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surface:
    """A world's lasting geometry: vertices [V, 3] float64, the session's frame; faces [F, 3], anticlockwise from outside."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]


class World(Protocol):
    """One session's world."""

    def next_chunk(self, request: ChunkRequest) -> Iterator[FrameData]:
        """Draw a chunk, giving each frame, in order, as soon as it exists. State moves on only when all have been given."""
        ...

    def state(self) -> bytes:
        """All that `restore` needs to go on after the last whole chunk; small."""
        ...

    def restore(self, state: bytes) -> None:
        """Become the world that `state` came from, opened with the same spec."""
        ...

    def surface(self) -> Surface | None:
        """The true geometry, lasting things only, for families that have one: what exports are measured against."""
        ...


class Model(Protocol):
    """A loaded family, in a worker."""

    def open(self, spec: WorldSpec) -> World:
        """Make a world."""
        ...


class Family(Protocol):
    """A row of the table in `families/__init__.py`."""

    capabilities: Capabilities

    def read_prompt(self, text: str) -> Reading:
        """Say how a prompt will be understood."""
        ...

    def read_event(self, text: str) -> Reading:
        """Say how an event will be understood.

        Raises:
            ValueError: it is not one this family can bring about; the message lists those it can.
        """
        ...

    def load(self, *, num_threads: int) -> Model:
        """Load what drawing needs: weights, compiled kernels. Heavy; called once, in a worker."""
        ...
