"""What a session can go on from."""

from __future__ import annotations

from dataclasses import dataclass

from keepworld_runtime.families.family import Family, WorldSpec
from keepworld_runtime.journal.tree import Point, Snapshot


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Start:
    """A world after a whole chunk.

    Attributes:
        family, spec: what the world was opened with.
        point: where in the journal it is.
    """

    family: Family
    spec: WorldSpec
    point: Point


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Listed:
    """A snapshot and what it is of."""

    snapshot: Snapshot
    start: Start
