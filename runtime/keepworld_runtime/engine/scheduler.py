"""Whose chunk the worker draws next.

One worker draws for all, a chunk at a time, and a chunk cannot be interrupted. A realtime session's deadline is when its next
frame must be shown, and the earliest goes first, as late as the deadlines allow, so that controls are fresh. What they leave is
shared between tenants: the next is of the tenant that has been given least, however many sessions each has. A tenant's
sessions take turns: theirs is a deadline too, when each became ready plus the length of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")

MARGIN_S = 0.02  # for what a chunk takes beside drawing, and for clocks that wake late
MARGIN_SHARE = 0.15  # of the expected chunk time, which varies


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn(Generic[Key]):
    """A session that could have a chunk drawn now.

    Attributes:
        key: the session.
        deadline_s: when its next frame must be there.
        chunk_s: how long drawing is expected to take.
        is_realtime: whether it keeps to the clock, and so should be drawn late rather than early.
        given_s: what its tenant has been given beside that; counts where it is not realtime.
    """

    key: Key
    deadline_s: float
    chunk_s: float
    is_realtime: bool
    given_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Choice(Generic[Key]):
    """Draw for `key` now; or, if that is None, look again at `wake_s`."""

    key: Key | None
    wake_s: float = math.inf


def choose(turns: Iterable[Turn[Key]], now_s: float, owed_s: float = 0.0) -> Choice[Key]:
    """Choose whose chunk is drawn next; `owed_s` is what is owed to those that are not realtime, whatever was promised."""
    ordered = sorted(turns, key=lambda turn: turn.deadline_s)
    realtime = [turn for turn in ordered if turn.is_realtime]
    waiting = [turn for turn in ordered if not turn.is_realtime]
    latest_s = latest_start(realtime)
    if waiting:
        first = min(waiting, key=lambda turn: turn.given_s)
        if now_s + first.chunk_s <= latest_s or owed_s >= first.chunk_s:
            return Choice(first.key)
        # The waiting chunk would make a realtime one late: that goes first, early by no more than the waiting one takes.
        return Choice(realtime[0].key)
    if realtime and now_s >= latest_s:
        return Choice(realtime[0].key)
    return Choice(None, latest_s)


def latest_start(realtime: Sequence[Turn[Key]]) -> float:
    """When drawing must begin so that chunks, ordered by deadline, drawn one after the other, all are there in time."""
    latest_s, needed_s = math.inf, 0.0
    for turn in realtime:
        needed_s += turn.chunk_s * (1 + MARGIN_SHARE)
        latest_s = min(latest_s, turn.deadline_s - needed_s - MARGIN_S)
    return latest_s
