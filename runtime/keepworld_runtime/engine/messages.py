"""What the server says to a worker and what it answers. Pixels go beside these, through the arena."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.engine.arena import Layout
from keepworld_runtime.families.family import ChunkRequest, Event, WorldSpec, WorldState
from keepworld_runtime.journal.state import StateChange


@dataclass(frozen=True, slots=True)
class Open:
    """Open a world; with `state`, as it was then."""

    call: int
    world: str
    family: str
    spec: WorldSpec
    state: WorldState | None


@dataclass(frozen=True, slots=True)
class Draw:
    """Draw a chunk; the first `skip` frames are not wanted again."""

    call: int
    world: str
    request: ChunkRequest
    skip: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Do beforehand what an event will need; not answered."""

    world: str
    event: Event


@dataclass(frozen=True, slots=True)
class Close:
    """Forget a world."""

    world: str


@dataclass(frozen=True, slots=True)
class Release:
    """A frame has been copied out of its slot."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Every family is loaded."""

    call: int = 0


@dataclass(frozen=True, slots=True)
class Opened:
    """The world is open."""

    call: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A frame lies in the arena. `has` says which of image, depth, labels and confidence it has."""

    call: int
    slot: int
    layout: Layout
    has: tuple[str, ...]
    index: int
    c2w: NDArray[np.float64]
    K: NDArray[np.float64]
    drawn_s: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The chunk is whole: what of the world's state has changed, and the time spent in the family."""

    call: int
    change: StateChange
    draw_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The family raised; `error` is for the log."""

    call: int
    error: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The chunk came out as nothing that can be shown; `error` is for the log."""

    call: int
    error: str


@dataclass(frozen=True, slots=True)
class Alive:
    """Said again and again."""


Task = Open | Draw | Prepare | Close
Command = Task | Release
Answer = Ready | Opened | Drawn | Finished | Failed | Broken
