"""Going back: for a reader who lost frames, to an earlier chunk, or onto another line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from keepworld_runtime.engine.errors import ChunkNotMadeError, SessionRewoundError, StreamReplacedError
from keepworld_runtime.engine.events import EventTimeline
from keepworld_runtime.engine.keeper import Keeper
from keepworld_runtime.engine.session import Session
from keepworld_runtime.engine.work import Work
from keepworld_runtime.families.family import WorldSpec, WorldState
from keepworld_runtime.journal.journal import Journal
from keepworld_runtime.journal.record import Asked
from keepworld_runtime.journal.tree import Line, Point, Waiting

logger = logging.getLogger(__name__)

NO_FRAME = 2**64 - 1  # the `last_seq` of a reader who has none


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """A point that a session can go to.

    Attributes:
        state: the world's, there.
        waiting: the events that wait there.
    """

    point: Point
    state: WorldState | None
    waiting: tuple[Waiting, ...]


async def resume(keeper: Keeper, session: Session, last_seq: int, line: int) -> None:
    """Have a session give every frame after `last_seq` again, and the ends of their chunks; an older stream loses it.

    Raises:
        SessionRewoundError: the session is not on that line any more.
        ChunkNotMadeError: it has not made such a frame.
    """
    if line not in (0, session.line):
        raise SessionRewoundError(f"the session is on line {session.line}, not on {line}", line=str(session.line))
    capabilities, next_seq = session.capabilities, 0 if last_seq == NO_FRAME else last_seq + 1
    if next_seq > capabilities.first_frame_of(session.begun):
        raise ChunkNotMadeError(f"the session has not made frame {last_seq}", field="attach.last_seq")
    session.fence(StreamReplacedError("another stream has attached to this session"))
    chunk = capabilities.chunk_of(next_seq)
    is_boundary = chunk > 0 and next_seq == capabilities.first_frame_of(chunk)
    made, state = await _made(keeper, session, chunk - is_boundary, chunk)
    session.check_open()
    end = made.pop(0) if is_boundary and made else None
    if next_seq < session.next_seq:
        session.make_again(made, state, next_seq)
    else:
        session.outbox = session.outbox.handed_on(next_seq)
        session.deliver_from(next_seq)
    if end:
        session.give_end_again(end)


async def branched(keeper: Keeper, session: Session, line: int, chunks: int | None) -> tuple[WorldSpec, Past]:
    """What a session finds that branches off this one's line, and what its world was opened with.

    Raises:
        ChunkNotMadeError: there is no such line, or not so many chunks.
    """
    journal, current = keeper.journal, session.line
    pending, rule = _pending(session), _chunk_rule(session)

    def find() -> tuple[WorldSpec, Past]:
        now = journal.line(session.id, current).point
        then = _find(journal, session.id, line or current, chunks)
        return journal.origin(now).spec, _past(journal, now, then, pending, rule)

    return await keeper.do(find)


async def rewind(keeper: Keeper, session: Session, line: int, chunks: int, max_lines: int) -> None:
    """Put a session back to a chunk of one of its lines; who reads it loses it.

    Raises:
        ChunkNotMadeError: it has no such line, or not so many chunks on it.
    """
    journal = keeper.journal
    async with session.changing:
        session.check_open()
        current = session.line
        await keeper.do(_find, journal, session.id, line or current, chunks)
        session.check_open()
        pending, rule = _pending(session), _chunk_rule(session)
        session.drop_work(SessionRewoundError("the session has been put on another line; attach again"))

        def go() -> tuple[Line, Past]:
            now = journal.line(session.id, current).point
            then = _find(journal, session.id, line or current, chunks)
            found = _past(journal, now, then, pending, rule)
            return journal.rewind(session.id, current, then, found.waiting, max_lines), found

        target, found = await keeper.do(go)
        session.check_open()
        session.go_to(target.number, found.point.chunks, found.state, found.waiting)
    logger.info("session rewound session=%s line=%d chunks=%d", session.id, target.number, session.chunks)


def _find(journal: Journal, session_id: str, line: int, chunks: int | None) -> Point:
    """The point on a session's line after so many chunks, or all."""
    found = next((each.point for each in journal.lines(session_id) if each.number == line), None)
    if found is None:
        raise ChunkNotMadeError(f"the session has no line {line}", field="line")
    if chunks is not None and chunks > found.chunks:
        raise ChunkNotMadeError(f"line {line} has {found.chunks} chunks, not {chunks}", field="chunks")
    return found if chunks is None else journal.at(found, chunks)


def _past(
    journal: Journal, now: Point, then: Point, pending: list[Asked], chunk_of: Callable[[Asked, int], int]
) -> Past:
    """What a session finds that goes from `now` to `then`.

    Events that were asked for at a time of their own wait there unless they have begun there; those that were asked for
    without one are part of what is undone.

    Args:
        pending: the events that wait now, or are in a chunk that is not kept.
        chunk_of: which chunk an event starts with, given the next.
    """
    shared = sum(a == b for a, b in zip(journal.digests(now), journal.digests(then), strict=False))
    undone = [asked for kept in journal.records(now, shared) for asked in kept.begun.events]
    begun = [asked for kept in journal.records(then, shared) for asked in kept.begun.events]
    scheduled = [asked for asked in (*undone, *pending) if asked.is_scheduled and asked not in begun]
    waiting = (Waiting(chunk=chunk_of(asked, then.chunks), asked=asked) for asked in scheduled)
    return Past(
        point=then, state=journal.state(then), waiting=tuple(each for each in waiting if each.chunk >= then.chunks)
    )


def _pending(session: Session) -> list[Asked]:
    """Those that have not begun for good."""
    return [*session.taken, *(each.asked for each in session.waiting)]


def _chunk_rule(session: Session) -> Callable[[Asked, int], int]:
    """Which chunk an event starts with, in a world such as the session's."""
    return EventTimeline(session.capabilities, max_pending=1).chunk_of


async def _made(keeper: Keeper, session: Session, first: int, chunk: int) -> tuple[list[Work], WorldState | None]:
    """The chunks that have been made, from number `first` on, and the world's state before number `chunk`."""
    journal = keeper.journal

    def read() -> tuple[list[Work], WorldState | None]:
        head = journal.line(session.id, session.line).point
        records, digests = journal.records(head, first), journal.digests(head, first)
        works = [Work(begun=kept.begun, digest=digest) for kept, digest in zip(records, digests, strict=True)]
        return works, journal.state(journal.at(head, min(chunk, head.chunks)))

    while True:
        num_made = session.chunks
        found = await keeper.do(read)
        if session.chunks == num_made:  # else one more has come to its end meanwhile
            return found
