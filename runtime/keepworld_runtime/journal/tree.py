"""Places in the journal, and what points at them."""

from __future__ import annotations

from dataclasses import dataclass

from keepworld_runtime.families.family import FrameData
from keepworld_runtime.journal.continuations import Given
from keepworld_runtime.journal.record import Asked, Begun
from keepworld_runtime.journal.state import StateChange


@dataclass(frozen=True, slots=True)
class Point:
    """A world after some of its chunks.

    Attributes:
        world: which.
        chunk: the row of the last of them; None: nothing has been made.
        chunks: how many.
    """

    world: int
    chunk: int | None
    chunks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """Chunks one after the other, as one session has them.

    Attributes:
        number: from 1.
        point: where it ends.
        parent: the line it left; 0 for the first.
        shared: how many chunks it has in common with that one.
    """

    number: int
    point: Point
    parent: int
    shared: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A point that is kept for sessions to go on from.

    Attributes:
        id: a secret that opens it.
        name: for people.
        created_s: seconds since 1970.
    """

    id: str
    name: str
    point: Point
    created_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """An event and the chunk it waits for."""

    chunk: int
    asked: Asked


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptSession:
    """A session as it is kept.

    Attributes:
        token_digest: SHA-256 of its token.
        line: the one it is on.
        waiting: its events.
        begun: the chunk that was being made; None if it was made, or none was.
        continuation: what the chunk after that goes on from, if anything was given for it.
    """

    id: str
    token_digest: bytes
    line: Line
    waiting: tuple[Waiting, ...] = ()
    begun: Begun | None = None
    continuation: Given | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Made:
    """A chunk that has just been drawn."""

    begun: Begun
    frames: tuple[FrameData, ...]
    change: StateChange
