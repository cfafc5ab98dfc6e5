"""What a family is: the seam between the engine and whatever draws worlds.

A `Family` is light: it describes itself and reads words, and the server keeps it at hand. `Family.load` is heavy and is
called once in a worker process; the `Model` it gives opens `World`s, one a session. The engine asks a world for chunks,
keeps the few bytes of `World.state` after each, and can make the same world again from them in another process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import IntFlag
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from keepworld.camera import PoseSource, Units
from keepworld.motion import Control, Rates
from numpy.typing import NDArray

DTYPES = ("auto", "float32", "bfloat16")
OFFLOADS = ("none", "encoders", "blocks")


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
        takes_image: whether a world can begin with a given picture.
        takes_clip: whether a world can go on from given frames,
        min_clip_frames: and how many it needs.
        takes_recording: whether a world can go on from a recording of a walk through it.
        vocabulary: heading -> words, for families that understand a fixed vocabulary; empty for those that read anything.
        events: heading -> example phrases of what can be asked for during the walk.
        weights: which ones it draws with, as a hash; "" for a family without, or where they were not hashed.
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
    takes_image: bool = False
    takes_clip: bool = False
    min_clip_frames: int = 1
    takes_recording: bool = False
    vocabulary: Mapping[str, tuple[str, ...]]
    events: Mapping[str, tuple[str, ...]]
    weights: str = ""

    def frames_in(self, chunk: int) -> int:
        """How many frames chunk number `chunk` has."""
        return self.first_chunk_frames if chunk == 0 else self.chunk_frames

    def first_frame_of(self, chunk: int) -> int:
        """The number, counted from the session's start, of the first frame of a chunk."""
        return 0 if chunk == 0 else self.first_chunk_frames + (chunk - 1) * self.chunk_frames

    def chunk_of(self, frame: int) -> int:
        """The chunk that a frame, counted from the session's start, is in."""
        behind_first = frame - self.first_chunk_frames
        return 0 if behind_first < 0 else 1 + behind_first // self.chunk_frames

    def of(self, spec: WorldSpec) -> Capabilities:
        """The same with the length of the chunk 0 that such a world has."""
        return replace(self, first_chunk_frames=self.chunk_frames) if spec.clip else self


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How a text was understood: the words that counted, as "heading: word", and those that were ignored."""

    used: tuple[str, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clip:
    """Frames that a world goes on from: its first frame follows the last of them.

    Attributes:
        frames: [N, H, W, 3] uint8, sRGB, of any size.
        c2ws: [N, 4, 4] camera to world, float64, OpenCV axes, the family's units; None: the camera stands still.
        is_from_here: whether cameras are told from the first of them, which is where the camera of the world that goes on is.
    """

    frames: NDArray[np.uint8]
    c2ws: NDArray[np.float64] | None
    is_from_here: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recording:
    """A walk through a world from its first frame on, whole chunks: the same world goes on where it ended.

    Attributes:
        mode: the way of moving.
        controls: one a frame.
        c2ws: [N, 4, 4] camera to world of each frame, float64, OpenCV axes, the family's units.
        events: each with the number of the chunk it began with, in that order.
    """

    mode: str
    controls: tuple[Control, ...]
    c2ws: NDArray[np.float64]
    events: tuple[tuple[int, Event], ...]


Continuation = Clip | Recording


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldSpec:
    """What a session asks for. Two worlds of one spec and version are the same to the byte.

    Attributes:
        prompt: the world in words.
        seed: which of the worlds of these words.
        width, height: of its frames, pixels.
        mode: the way of moving.
        image: [H, W, 3] uint8, sRGB, of any size: what the first frame shows; None: the family's choice.
        clip: what it goes on from; such a world's chunk 0 has as many frames as every other.
    """

    prompt: str
    seed: int
    width: int
    height: int
    mode: str
    image: NDArray[np.uint8] | None = field(default=None, compare=False)
    clip: Clip | None = field(default=None, compare=False)


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
        continuation: what it goes on from, in place of what was seen last; None: that.
        is_live: somebody steers by what they see: the first frame, which shows it, is to be with them soon. What is drawn
            is the same.
    """

    chunk: int
    controls: tuple[Control, ...]
    poses: tuple[NDArray[np.float64] | None, ...]
    events: tuple[Event, ...] = ()
    continuation: Continuation | None = None
    is_live: bool = False


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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WorldState:
    """A world after a whole chunk, to be kept.

    Attributes:
        head: what changes with every chunk; small.
        parts: name -> bytes that never change under that name, such as a chunk's latents: sent and stored once.
    """

    head: bytes
    parts: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))


class BrokenChunkError(Exception):
    """A chunk came out as nothing that can be shown: not-a-number, or black throughout. Doing it again changes nothing."""


class World(Protocol):
    """One session's world."""

    def prepare(self, event: Event) -> None:
        """Do beforehand what `event` will need, on any thread; the request that brings it waits for that."""
        ...

    def next_chunk(self, request: ChunkRequest) -> Iterator[FrameData]:
        """Draw a chunk, giving each frame, in order, as soon as it exists. State moves on only when all have been given.

        Raises:
            BrokenChunkError: it came out broken; no broken frame is given.
        """
        ...

    def state(self) -> WorldState:
        """All that `restore` needs to go on after the last whole chunk."""
        ...

    def restore(self, state: WorldState) -> None:
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


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyOptions:
    """How a family shall be run.

    Attributes:
        checkpoint: the folder that its weights lie in; None for families that have none.
        variant: which of a model's released weights; None: the family's choice.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        dtype: "float32", "bfloat16", or "auto" for what the device is fast with.
        offload: "none", "encoders" (text and image encoders leave the device after use) or "blocks" (the network's blocks
            too are brought in one by one): less memory, more time.
        memory: the policy that chooses what a view sees again; None: the one that the model was trained with.
        kernels: optional kernels to use where they are installed, in order of preference, such as "flash-attn".
        reference_noise: draw randomness as the published code does, all of it at the start, to compare with it.

    Raises:
        ValueError: a choice is not one of those.
    """

    checkpoint: Path | None = None
    variant: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    offload: str = "none"
    memory: str | None = None
    kernels: tuple[str, ...] = ()
    reference_noise: bool = False

    def __post_init__(self) -> None:
        for name, known in (("dtype", DTYPES), ("offload", OFFLOADS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    @property
    def given(self) -> tuple[str, ...]:
        """The names of those that are not as they are by default."""
        return tuple(each.name for each in fields(self) if getattr(self, each.name) != each.default)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where in a group of processes a model is loaded, and how they find each other.

    Attributes:
        rank, num_ranks: which of how many processes this is; all of them are asked the same, in the same order.
        rendezvous: URL for `torch.distributed.init_process_group`; "" when there is one process.
        num_threads: for drawing.
    """

    rank: int = 0
    num_ranks: int = 1
    rendezvous: str = ""
    num_threads: int


class Family(Protocol):
    """A row of the table in `families/__init__.py`, made by its module's `family(options)`."""

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

    def load(self, place: Place) -> Model:
        """Load what drawing needs: weights, compiled kernels. Heavy; called once, in each process of a worker group.

        Raises:
            ValueError: the family cannot be spread over so many processes.
        """
        ...
