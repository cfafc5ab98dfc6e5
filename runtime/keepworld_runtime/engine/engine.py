"""The engine: the sessions, and the loop that has their chunks drawn."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Callable, Mapping

from keepworld.motion import NEUTRAL

from keepworld_runtime.engine.admission import ChunkCosts, admit_realtime
from keepworld_runtime.engine.errors import (
    ChunkBrokenError,
    DrainingError,
    RequestError,
    SessionNotFoundError,
    TooManySessionsError,
    UnknownFamilyError,
    WorkerFailedError,
)
from keepworld_runtime.engine.events import Asked
from keepworld_runtime.engine.group import ChunkDrawn, WorkerGroup, WorldBrokenError, WorldFailedError
from keepworld_runtime.engine.limits import Limits
from keepworld_runtime.engine.outbox import NoticeKind
from keepworld_runtime.engine.pace import Pace, PaceMode
from keepworld_runtime.engine.process import GroupLostError
from keepworld_runtime.engine.scheduler import choose
from keepworld_runtime.engine.session import Attachment, Session, SessionStatus, Work
from keepworld_runtime.engine.snapshot import Snapshot, SnapshotStore
from keepworld_runtime.families.family import Capabilities, ChunkRequest, Family, WorldSpec

logger = logging.getLogger(__name__)

MAX_TRIES = 3  # of one chunk, and of bringing the workers back
_MAX_ENDED = 1000  # ended sessions that are remembered, so that ending one twice is fine
_DEADLINE_FACTOR = 10  # a chunk that takes this many times what was measured will not come


class Engine:
    """Holds the sessions and has one worker group draw for all of them.

    Args:
        families: by name.
        group: what draws; the engine starts it, and starts it again when it is lost.
        limits: bounds on sessions.
        chunk_floor_s: no chunk is given up before this.
        warm_s: how long one of a family's first chunks may take.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        families: Mapping[str, Family],
        group: WorkerGroup,
        limits: Limits,
        *,
        chunk_floor_s: float = 20.0,
        warm_s: float = 1800.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.families = families
        self.limits = limits
        self.ready = asyncio.Event()
        self._group = group
        self._chunk_floor_s = chunk_floor_s
        self._warm_s = warm_s
        self._clock = clock
        self._costs = ChunkCosts()
        self._sessions: dict[str, Session] = {}
        self._ended: dict[str, Session] = {}
        self._snapshots = SnapshotStore(limits.max_snapshots)
        self._wake = asyncio.Event()
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
        return self._costs.expected_s(name, _default_spec(capabilities), capabilities.chunk_frames)

    def sessions(self) -> list[Session]:
        """The sessions that have not ended, oldest first."""
        return list(self._sessions.values())

    def session(self, session_id: str, token: str) -> Session:
        """Find a session, ended ones for a while too.

        Raises:
            SessionNotFoundError: there is none with this id and token.
        """
        session = self._sessions.get(session_id) or self._ended.get(session_id)
        if session is None or not session.has_token(token):
            raise SessionNotFoundError
        return session

    def create(self, family: Family, spec: WorldSpec, start: Snapshot | None = None) -> Session:
        """Make a session, that goes on from `start` if there is one; its world is opened as soon as the worker has time.

        Raises:
            TooManySessionsError, DrainingError: there is no room, or no time.
        """
        self._refuse_while_draining()
        if len(self._sessions) >= self.limits.max_sessions:
            raise TooManySessionsError(
                f"this server holds {self.limits.max_sessions} sessions already; close one",
                retry_s=5.0,
                limit=str(self.limits.max_sessions),
            )
        session = Session(family, spec, start, limits=self.limits, clock=self._clock, wake=self._wake.set)
        self._sessions[session.id] = session
        logger.info(
            "session open session=%s family=%s size=%dx%d",
            session.id,
            family.capabilities.name,
            spec.width,
            spec.height,
        )
        self._wake.set()
        return session

    def attach(self, session: Session, pace: Pace) -> Attachment:
        """Give a session to a stream.

        Raises:
            RealtimeCapacityError: it cannot be kept to the clock.
            SessionClosedError, WorkerFailedError, DrainingError: it is too late.
        """
        self._refuse_while_draining()
        session.check_open()
        self._admit(session, pace)
        return session.attach(pace)

    def set_pace(self, session: Session, pace: Pace) -> None:
        """Change a session's pace.

        Raises:
            RealtimeCapacityError: it cannot be kept to the clock.
        """
        self._admit(session, pace)
        session.set_pace(pace)

    def add_event(self, session: Session, asked: Asked) -> int:
        """Keep an event, and have the workers prepare it; gives the chunk it starts with.

        Raises:
            EventPastError, QueueFullError: it is too late for it, or too many wait.
        """
        chunk = session.add_event(asked)
        if session.generation == self._group.generation:  # else it is prepared when the world has been opened
            self._group.prepare(session.id, asked.event)
        return chunk

    def take_snapshot(self, session: Session) -> Snapshot:
        """Keep a session's world as it is after its last whole chunk.

        Raises:
            SessionClosedError, WorkerFailedError, ChunkBrokenError: it has ended.
            SnapshotTooLargeError: it cannot be kept.
        """
        session.check_open()
        snapshot = Snapshot(family=session.family, spec=session.spec, state=session.world_state, chunks=session.chunks)
        self._snapshots.add(snapshot)
        return snapshot

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """Find a snapshot.

        Raises:
            SnapshotNotFoundError: there is none of this id, or it has gone.
        """
        return self._snapshots.get(snapshot_id)

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
            await self._start_group()
            for family in self.families.values():
                await self._warm(family)
            self.ready.set()
            while True:
                await self._step()
        finally:
            await self._group.stop()

    async def drain(self, grace_s: float) -> None:
        """Begin nothing more, tell every reader, and let go of them when they have what was made or the grace is over."""
        self._is_draining = True
        self._wake.set()
        attached = [session for session in self.sessions() if session.attachment]
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
        for session in self.sessions():
            if not session.attachment and now_s - session.idle_since_s >= self.limits.idle_s:
                logger.info("session idle session=%s", session.id)
                self.close(session)
        turns = [turn for session in self.sessions() if (turn := session.turn(now_s, self._costs))]
        choice = choose([] if self._is_draining else turns, now_s)
        if choice.key is not None:
            await self._serve(choice.key)
            return
        if self._is_draining:
            self._resting.set()
        leases_s = (s.idle_since_s + self.limits.idle_s for s in self._sessions.values() if not s.attachment)
        await self._wait_until(min(choice.wake_s, *leases_s, math.inf))

    async def _wait_until(self, time_s: float) -> None:
        try:
            async with asyncio.timeout(None if math.isinf(time_s) else max(0.0, time_s - self._clock())):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _serve(self, session: Session) -> None:
        """Draw a session's next chunk; if nobody reads it yet, only open its world."""
        work = session.begin() if session.attachment else None
        for attempt in range(MAX_TRIES):
            try:
                await self._open(session)
                if work:
                    await self._draw(session, work, is_retry=attempt > 0)
                return
            except GroupLostError as error:
                logger.warning("worker lost session=%s chunk=%d: %s", session.id, session.begun, error)
                await self._start_group()
            except WorldFailedError as error:
                logger.warning("world failed session=%s chunk=%d: %s", session.id, session.begun, error)
                session.generation = -1
            except WorldBrokenError as error:
                logger.warning("chunk broken session=%s chunk=%d: %s", session.id, session.chunks, error)
                self._fail(
                    session,
                    ChunkBrokenError(
                        f"chunk {session.chunks} came out as nothing that can be shown; create a new session, or go on "
                        "from a snapshot another way",
                        chunk=str(session.chunks),
                    ),
                )
                return
        self._fail(
            session,
            WorkerFailedError(
                "the worker failed on this chunk again and again, and the session's world could not be brought back; "
                "create a new session"
            ),
        )

    async def _open(self, session: Session) -> None:
        """See to it that the workers hold the session's world as it was after its last whole chunk."""
        if session.generation == self._group.generation:
            return
        if session.generation is not None and session.status is SessionStatus.OPEN:
            session.notify(NoticeKind.WORKER_RESTARTED, "the worker was restarted; the session goes on where it was")
        session.generation = -1
        name = session.family.capabilities.name
        await self._group.open(session.id, name, session.spec, session.world_state)
        session.generation = self._group.generation
        for event in session.events:
            self._group.prepare(session.id, event)

    async def _draw(self, session: Session, work: Work, *, is_retry: bool) -> None:
        spec, name, frames = session.spec, session.family.capabilities.name, len(work.request.controls)
        expected_s = self._costs.expected_s(name, spec, frames)
        within_s = max(self._chunk_floor_s, _DEADLINE_FACTOR * expected_s)
        started_s = self._clock()
        async for drawn in self._group.draw(session.id, work.request, skip=work.given, within_s=within_s):
            if isinstance(drawn, ChunkDrawn):
                session.finish(work, drawn.change, drawn.draw_s)
                chunk_s = self._clock() - started_s
                if not is_retry:
                    self._costs.measure(name, spec, frames, chunk_s)
                logger.debug(
                    "made session=%s chunk=%d frames=%d draw_ms=%.1f made_ms=%.1f",
                    session.id, work.request.chunk, frames, drawn.draw_s * 1e3, chunk_s * 1e3,
                )  # fmt: skip
            else:
                session.give(work, drawn.data, drawn.drawn_s)

    async def _start_group(self) -> None:
        for attempt in itertools.count(1):
            try:
                await self._group.start()
                return
            except GroupLostError as error:
                logger.error("the worker did not start, attempt %d of %d: %s", attempt, MAX_TRIES, error)
                if attempt == MAX_TRIES:
                    raise

    async def _warm(self, family: Family) -> None:
        """Draw two chunks that nobody sees, so that the first that somebody waits for is not slower than the others.

        Whatever comes of it, the family is served: sessions are told what is wrong with it.
        """
        capabilities = family.capabilities
        spec = _default_spec(capabilities)
        world = f"warm {capabilities.name}"
        try:
            await self._group.open(world, capabilities.name, spec, None)
            for chunk in range(2):
                await self._warm_chunk(world, capabilities, spec, chunk)
        except (WorldFailedError, WorldBrokenError) as error:
            logger.warning("warming failed family=%s: %s", capabilities.name, error)
        except GroupLostError as error:
            logger.warning("warming failed family=%s: %s", capabilities.name, error)
            await self._start_group()
        self._group.close(world)

    async def _warm_chunk(self, world: str, capabilities: Capabilities, spec: WorldSpec, chunk: int) -> None:
        frames = capabilities.frames_in(chunk)
        request = ChunkRequest(chunk=chunk, controls=(NEUTRAL,) * frames, poses=(None,) * frames)
        started_s = self._clock()
        async for _ in self._group.draw(world, request, skip=0, within_s=self._warm_s):
            pass
        if chunk > 0:
            chunk_s = self._clock() - started_s
            self._costs.measure(capabilities.name, spec, frames, chunk_s)

    def _admit(self, session: Session, pace: Pace) -> None:
        if pace.mode is PaceMode.REALTIME:
            others = [
                (other.capabilities, other.spec)
                for other in self.sessions()
                if other is not session and other.attachment and other.pace.mode is PaceMode.REALTIME
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
        if len(self._ended) > _MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        self._wake.set()

    def _refuse_while_draining(self) -> None:
        if self._is_draining:
            raise DrainingError("the server is stopping", retry_s=5.0)


def _default_spec(capabilities: Capabilities) -> WorldSpec:
    width, height = capabilities.sizes[0]
    return WorldSpec(prompt="", seed=0, width=width, height=height, mode=next(iter(capabilities.modes)))
