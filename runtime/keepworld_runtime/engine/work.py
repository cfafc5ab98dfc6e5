"""A chunk in the making."""

from __future__ import annotations

from dataclasses import dataclass, field

from keepworld_runtime.engine.track import Touch
from keepworld_runtime.families.family import FrameData
from keepworld_runtime.journal.record import Begun


@dataclass(kw_only=True, slots=True, eq=False)
class Work:
    """A chunk in the making: sampled once, drawn as often as it takes.

    Attributes:
        begun: what to draw.
        touch: the live control that steers for the first time in it.
        digest: the chunk's, if it is in the journal and only made again because a reader lost it.
        begun_s: when it was begun.
        frames: those that have been drawn.
        first_s: when the first of them was drawn.
    """

    begun: Begun
    touch: Touch | None = None
    digest: bytes | None = None
    begun_s: float = 0.0
    frames: list[FrameData] = field(default_factory=list)
    first_s: float = 0.0
