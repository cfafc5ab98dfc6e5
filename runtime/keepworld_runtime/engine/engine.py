"""The engine: the sessions, and the loop that has their chunks drawn and kept."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence

from keepworld_runtime.engine import continuation, history, remake
from keepworld_runtime.engine.admission import ChunkCosts, admit_realtime
from keepworld_runtime.engine.archive import Archive
from keepworld_runtime.engine.attachment import Attachment
from keepworld_runtime.engine.drawing import Drawing, default_spec
from keepworld_runtime.engine.errors import (
    DrainingError,
    JournalFailedError,
    RequestError,
    SessionClosedError,
    SessionNotFoundError,
    TooManySessionsError,
    UnknownFamilyError,
)
from keepworld_runtime.engine.events import EventTimeline
from keepworld_runtime.engine.fairness import Shares
from keepworld_runtime.engine.group import WorkerGroup
from keepworld_runtime.engine.keeper import Keeper, to_its_end
from keepworld_runtime.engine.limits import Limits
from keepworld_runtime.engine.opening import Begin, Opener
from keepworld_runtime.engine.outbox import NoticeKind
from keepworld_runtime.engine.pace import Pace
from keepworld_runtime.engine.remake import Remade, Walked
from keepworld_runtime.engine.scheduler import choose
from keepworld_runtime.engine.session import Session, SessionStatus
from keepworld_runtime.engine.snapshot import Start
from keepworld_runtime.families.family import Continuation, Family, WorldSpec, WorldState
from keepworld_runtime.journal.journal import Journal
from keepworld_runtime.journal.record import Asked
from keepworld_runtime.journal.specs import Origin
from keepworld_runtime.journal.tree import Line, Point, Waiting

logger = logging.getLogger(__name__)

_MAX_ENDED = 1000  # ended sessions that are remembered, so that ending one twice is fine


class Engine:
    """Holds the sessions and has one worker group draw for all of them.

    Args:
        families: by name.
        group: what draws; the engine starts it, and starts it again when it is lost.
        journal: what all that happens is kept in.
        limits: bounds on sessions.
        chunk_floor_s: no chunk is given up before this.
        warm_s: how long one of a family's first chunks may take.
        tenant_of: whose session of this id is; all are one tenant's where nobody says.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        families: Mapping[str, Family],
        group: WorkerGroup,
        journal: Journal,
        limits: Limits,
        *,
        chunk_floor_s: float = 20.0,
        warm_s: float = 1800.0,
        tenant_of: Callable[[str], str | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.families = families
        self.limits = limits
        self.ready = asyncio.Event()
        self._group = group
        self._keeper = Keeper(journal)
        self._clock = clock
        self._costs = ChunkCosts()
        self._shares = Shares(tenant_of)
        self._drawing = Drawing(
            group, self._keeper, self._costs, self._fail, chunk_floor_s=chunk_floor_s, warm_s=warm_s, clock=clock
        )
        self._wake = asyncio.Event()
        self._opener = Opener(self._keeper, limits, clock, self._wake.set)
        self._sessions: dict[str, Session] = {}
        self._ended: dict[str, Session] = {}
        self._num_coming = 0
        self.archive = Archive(self._keeper, families, limits.max_snapshots)
        self._resting = asyncio.Event()
        self._is_draining = False

    # Sessions

    def family(self, name: str) -> Family:
        """Look a family up.

        Raises:
            UnknownFamilyError: it is not served here.
        """
        if name not in self.families:
            known = ", ".join(self.families)
            raise UnknownFamilyError(f"unknown family {name[:64]!r}; known: {known}", field="family", known=known)
        return self.families[name]

    def chunk_s(self, name: str) -> float:
        """The measured time of a chunk of a family's default size; 0 before the first."""
        capabilities = self.families[name].capabilities
        return self._costs.expected_s(name, default_spec(capabilities), capabilities.chunk_frames)

    def sessions(self) -> list[Session]:
        """The sessions that have not ended, oldest first; not those that draw something again within the server."""
        return [session for session in self._sessions.values() if not session.is_inner]

    def session(self, session_id: str, token: str) -> Session:
        """Find a session, ended ones for a while too.

        Raises:
            SessionNotFoundError: there is none with this id and token.
        """
        session = self._sessions.get(session_id) or self._ended.get(session_id)
        if session is None or not session.has_token(token):
            raise SessionNotFoundError
        return session

    async def bring_back(self) -> None:
        """Find the sessions that the journal has; their worlds are opened when there is time."""
        for session in await self._opener.kept(self.families):
            self._sessions[session.id] = session

    async def create(
        self,
        family: Family,
        spec: WorldSpec,
        start: Start | None = None,
        *,
        events: Sequence[Asked] = (),
    ) -> Session:
        """Make a session, that goes on from `start` if there is one; its world is opened as soon as the worker has time.

        Raises:
            TooManySessionsError, DrainingError: there is no room, or no time.
            EventPastError, QueueFullError: an event comes too late, or there are too many.
        """
        journal, told = self._keeper.journal, family.capabilities
        timeline = EventTimeline(told.of(spec), max_pending=self.limits.max_pending_events)
        for asked in events:
            timeline.add(asked, next_chunk=start.point.chunks if start else 0)
        waiting = timeline.waiting

        def begin() -> tuple[Point, WorldState | None]:
            if start:
                return start.point, journal.state(start.point)
            return journal.begin(Origin(family=told.name, version=told.version, spec=spec)), None

        return await to_its_end(self._open(family, spec, begin, waiting))

    async def branch(self, session: Session, chunks: int | None, line: int) -> Session:
        """Make a second session that goes on from a chunk of this one, which need only not have been closed.

        Raises:
            SessionClosedError: it has been.
            ChunkNotMadeError: it has no such line or chunk.
            TooManySessionsError, DrainingError: there is no room, or no time.
        """
        if session.status is SessionStatus.CLOSED:
            raise SessionClosedError("this session has been closed")
        family = session.family
        spec, past = await history.branched(self._keeper, session, line, chunks)
        opening = self._open(family, spec, lambda: (past.point, past.state), past.waiting)
        return await to_its_end(opening)

    async def walked(self, source: Session | Start) -> Walked:
        """What a session's line, or a snapshot, was made from.

        Raises:
            SessionClosedError: it has been closed, or forgotten.
        """
        return await remake.walked(self._keeper, source)

    def remake(self, walked: Walked, session_id: str) -> Remade:
        """Draw a walk again from its beginning, in turn with what sessions want; nothing of it is kept. Close it after.

        Raises:
            DrainingError: there is no time.
        """
        self._refuse_while_draining()
        remade = self._opener.again(walked, session_id)
        self._sessions[session_id] = remade.session
        self._wake.set()
        return remade

    async def rewind(self, session: Session, chunks: int, line: int) -> None:
        """Put a session back to a chunk of one of its lines; who reads it loses it.

        Raises:
            SessionClosedError, WorkerFailedError, ChunkBrokenError: it has ended.
            ChunkNotMadeError: it has no such line or chunk.
        """
        try:
            await to_its_end(history.rewind(self._keeper, session, line, chunks, self.limits.max_lines))
        except JournalFailedError as error:
            self._fail(session, error)
            raise

    async def lines(self, session: Session) -> list[Line]:
        """A session's lines, as far as they are whole; none once it has been closed."""
        return await self._keeper.do(self._keeper.journal.lines, session.id)

    async def attach(self, session: Session, pace: Pace, last_seq: int | None = None, line: int = 0) -> Attachment:
        """Give a session to a stream; with `last_seq`, so that what follows that frame comes, sent before or not.

        Raises:
            RealtimeCapacityError: it cannot be kept to the clock.
            SessionClosedError, WorkerFailedError, DrainingError: it is too late.
            SessionRewoundError, ChunkNotMadeError: it has no such frame, on this line.
        """
        async with session.changing:
            self._refuse_while_draining()
            session.check_open()
            self._admit(session, pace)
            if last_seq is not None:
                await history.resume(self._keeper, session, last_seq, line)
            return session.attach(pace)

    def set_pace(self, session: Session, pace: Pace) -> None:
        """Change a session's pace.

        Raises:
            RealtimeCapacityError: it cannot be kept to the clock.
        """
        self._admit(session, pace)
        session.set_pace(pace)

    async def add_event(self, session: Session, asked: Asked) -> int:
        """Keep an event, and have the workers prepare it; gives the chunk it starts with.

        Raises:
            EventPastError, QueueFullError: it is too late for it, or too many wait.
        """
        chunk = session.add_event(asked)
        if session.generation == self._group.generation:  # else it is prepared when the world has been opened
            self._group.prepare(session.id, asked.event)
        await self._keeper.do(self._keeper.journal.save_waiting, session.id, session.waiting)
        return chunk

    async def cancel_event(self, session: Session, request_id: str) -> int:
        """Take back an event that waits; gives the chunk that goes without it.

        Raises:
            EventNotFoundError: none of this request id waits.
        """
        chunk = session.cancel_event(request_id)
        await self._keeper.do(self._keeper.journal.save_waiting, session.id, session.waiting)
        return chunk

    async def extend(self, session: Session, request_id: str, asked: str, read: Callable[[], Continuation]) -> int:
        """Have a session go on from what `read` gives; gives the chunk that does: see `continuation.extend`."""
        return await to_its_end(continuation.extend(self._keeper, session, request_id, asked, read))

    def close(self, session: Session) -> None:
        """End a session. A chunk of it in the making is drawn to its end and dropped."""
        if session.status is SessionStatus.OPEN:
            session.close()
            self._forget(session)

    # The loop

    async def run(self) -> None:
        """Start the workers, then have chunks drawn until cancelled.

        Raises:
            GroupLostError, LoadFailedError: the workers cannot be brought (back) to life.
        """
        try:
            await self._drawing.start()
            for family in self.families.values():
                await self._drawing.warm(family)
            self.ready.set()
            while True:
                await self._step()
        finally:
            await self._group.stop()
            await self._keeper.close()

    async def drain(self, grace_s: float) -> None:
        """Begin nothing more, tell every reader, and let go of them when they have what was made or the grace is over."""
        self._is_draining = True
        self._wake.set()
        attached = [session for session in self._sessions.values() if session.attachment]
        for session in attached:
            session.notify(NoticeKind.DRAINING, "the server is stopping")
        try:
            async with asyncio.timeout(grace_s):
                if self.ready.is_set():
                    await self._resting.wait()
                while any(len(session.outbox) and session.attachment for session in attached):
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            logger.info("draining took longer than its grace of %.1f s", grace_s)
        for session in attached:
            if session.attachment:
                session.attachment.end(DrainingError("the server is stopping", retry_s=5.0))

    async def _step(self) -> None:
        """Draw one chunk, or wait until there is one to draw."""
        now_s = self._clock()
        self._wake.clear()
        for session in list(self._sessions.values()):
            if not session.attachment and now_s - session.idle_since_s >= self.limits.idle_s:
                logger.info("session idle session=%s", session.id)
                self.close(session)
        given_s = self._shares.given_s
        turns = [turn for each in self._sessions.values() if (turn := each.turn(now_s, self._costs, given_s(each.id)))]
        choice = choose([] if self._is_draining else turns, now_s, self._shares.owed_s)
        if choice.key is not None:
            await self._serve(choice.key, others_wait=not all(turn.is_realtime for turn in turns))
            return
        if self._is_draining:
            self._resting.set()
        leases_s = (s.idle_since_s + self.limits.idle_s for s in self._sessions.values() if not s.attachment)
        await self._wait_until(min(choice.wake_s, *leases_s, math.inf))

    async def _serve(self, session: Session, *, others_wait: bool) -> None:
        """Have a session's next chunk drawn, and count what it took."""
        is_realtime, started_s = session.pace.is_realtime, self._clock()
        await self._drawing.serve(session)
        took_s = self._clock() - started_s
        if not is_realtime:
            self._shares.give(session.id, took_s)
        elif others_wait:
            self._shares.keep_waiting(took_s)

    async def _wait_until(self, time_s: float) -> None:
        try:
            async with asyncio.timeout(None if math.isinf(time_s) else max(0.0, time_s - self._clock())):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _open(
        self,
        family: Family,
        spec: WorldSpec,
        begin: Begin,
        waiting: Sequence[Waiting],
    ) -> Session:
        self._refuse_while_draining()
        if len(self.sessions()) + self._num_coming >= self.limits.max_sessions:
            raise TooManySessionsError(
                f"this server holds {self.limits.max_sessions} sessions already; close one",
                retry_s=5.0,
                limit=str(self.limits.max_sessions),
            )
        self._num_coming += 1
        try:
            session = await self._opener.new(family, spec, begin, waiting)
        finally:
            self._num_coming -= 1
        self._sessions[session.id] = session
        self._wake.set()
        return session

    def _admit(self, session: Session, pace: Pace) -> None:
        if pace.is_realtime:
            others = [
                (other.capabilities, other.spec)
                for other in self.sessions()
                if other is not session and other.attachment and other.pace.is_realtime
            ]
            admit_realtime(self._costs, session.capabilities, session.spec, others)

    def _fail(self, session: Session, reason: RequestError) -> None:
        if session.status is SessionStatus.OPEN:  # it may have been closed while its chunk was drawn
            session.fail(reason)
            self._forget(session)

    def _forget(self, session: Session) -> None:
        logger.info("session %s session=%s chunks=%d", session.status, session.id, session.chunks)
        self._group.close(session.id)
        self._sessions.pop(session.id, None)
        self._ended[session.id] = session
        if session.status is SessionStatus.CLOSED:
            self._keeper.soon(self._keeper.journal.remove_session, session.id)
        if len(self._ended) > _MAX_ENDED:
            oldest = self._ended.pop(next(iter(self._ended)))
            self._keeper.soon(self._keeper.journal.remove_session, oldest.id)
        self._wake.set()

    def _refuse_while_draining(self) -> None:
        if self._is_draining:
            raise DrainingError("the server is stopping", retry_s=5.0)
