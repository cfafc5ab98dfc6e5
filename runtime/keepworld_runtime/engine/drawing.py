"""How a chunk comes about: its world opened, drawn by the workers, tried again when they are lost, and kept."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from keepworld.motion import NEUTRAL

from keepworld_runtime.engine.admission import ChunkCosts
from keepworld_runtime.engine.errors import ChunkBrokenError, JournalFailedError, RequestError, WorkerFailedError
from keepworld_runtime.engine.group import ChunkDrawn, WorkerGroup, WorldBrokenError, WorldFailedError
from keepworld_runtime.engine.keeper import Keeper
from keepworld_runtime.engine.outbox import NoticeKind
from keepworld_runtime.engine.process import GroupLostError
from keepworld_runtime.engine.session import Session, SessionStatus
from keepworld_runtime.engine.work import Work
from keepworld_runtime.families.family import Capabilities, ChunkRequest, Clip, Continuation, Family, WorldSpec
from keepworld_runtime.journal.tree import Made

logger = logging.getLogger(__name__)

MAX_TRIES = 3  # of one chunk, and of bringing the workers back
_DEADLINE_FACTOR = 10  # a chunk that takes this many times what was measured will not come


class Drawing:
    """Has one worker group draw, a chunk at a time.

    Args:
        group: started here, and started again when it is lost.
        keeper: where every chunk is kept before its end is told.
        costs: what chunks take.
        fail: ends a session.
        chunk_floor_s: no chunk is given up before this.
        warm_s: how long one of a family's first chunks may take.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        group: WorkerGroup,
        keeper: Keeper,
        costs: ChunkCosts,
        fail: Callable[[Session, RequestError], None],
        *,
        chunk_floor_s: float,
        warm_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._group = group
        self._keeper = keeper
        self._costs = costs
        self._fail = fail
        self._chunk_floor_s = chunk_floor_s
        self._warm_s = warm_s
        self._clock = clock

    async def serve(self, session: Session) -> None:
        """Draw a session's next chunk; if nobody reads it yet, only open its world."""
        work = session.begin() if session.attachment else None
        begun = self._begun(session, work) if work else None
        for attempt in range(MAX_TRIES):
            try:
                await self._open(session)
                if work and begun and session.is_making(work):
                    await self._draw(session, work, begun, is_retry=attempt > 0)
                return
            except JournalFailedError as error:
                self._fail(session, error)
                return
            except GroupLostError as error:
                logger.warning("worker lost session=%s chunk=%d: %s", session.id, session.begun, error)
                await self.start()
            except WorldFailedError as error:
                logger.warning("world failed session=%s chunk=%d: %s", session.id, session.begun, error)
                session.generation = -1
            except WorldBrokenError as error:
                logger.warning("chunk broken session=%s chunk=%d: %s", session.id, session.chunks, error)
                self._give_up(
                    work,
                    session,
                    ChunkBrokenError(
                        f"chunk {session.chunks} came out as nothing that can be shown; branch off an earlier chunk, or go "
                        "on from a snapshot, another way",
                        chunk=str(session.chunks),
                    ),
                )
                return
        self._give_up(
            work,
            session,
            WorkerFailedError(
                "the worker failed on this chunk again and again, and the session's world could not be brought back; "
                "create a new session"
            ),
        )

    def _give_up(self, work: Work | None, session: Session, reason: RequestError) -> None:
        """End a session, unless the chunk is not wanted any more anyway."""
        if work is None or session.is_making(work):
            self._fail(session, reason)

    async def _open(self, session: Session) -> None:
        """See to it that the workers hold the session's world as it was after its last whole chunk."""
        if session.generation == self._group.generation:
            return
        if session.generation is not None and session.status is SessionStatus.OPEN:
            session.notify(NoticeKind.WORKER_RESTARTED, "the worker was restarted; the session goes on where it was")
        session.generation = -1
        name, state = session.family.capabilities.name, session.world_state
        await self._group.open(session.id, name, session.spec, state)
        if session.world_state is state:  # else it has gone elsewhere meanwhile
            session.generation = self._group.generation
        for each in session.waiting:
            self._group.prepare(session.id, each.asked.event)

    async def _draw(self, session: Session, work: Work, begun: asyncio.Task[None], *, is_retry: bool) -> None:
        spec, name = session.spec, session.family.capabilities.name
        request = replace(await self._request(work), is_live=session.pace.is_realtime)
        frames, taken_in = len(request.controls), _frames_in(request.continuation)
        expected_s = self._costs.expected_s(name, spec, frames + taken_in)
        within_s = max(self._chunk_floor_s, _DEADLINE_FACTOR * expected_s)
        started_s = self._clock()
        async for drawn in self._group.draw(session.id, request, skip=len(work.frames), within_s=within_s):
            if not isinstance(drawn, ChunkDrawn):
                await begun  # what has been seen of a chunk will be made again as it was
                session.give(work, drawn.data, drawn.drawn_s)
            elif session.is_making(work):
                session.finish(work, drawn.change, drawn.draw_s, self._kept(session, work, drawn))
                chunk_s = self._clock() - started_s
                if not is_retry and not taken_in:
                    self._costs.measure(name, spec, frames, chunk_s)
                logger.debug(
                    "made session=%s chunk=%d frames=%d draw_ms=%.1f made_ms=%.1f",
                    session.id, request.chunk, frames, drawn.draw_s * 1e3, chunk_s * 1e3,
                )  # fmt: skip

    async def _request(self, work: Work) -> ChunkRequest:
        """What makes a chunk, what it goes on from included.

        Raises:
            JournalFailedError: the journal does not give that back.
        """
        blobs = self._keeper.journal.blobs
        if work.begun.given is None:
            return work.begun.request(blobs)
        try:
            return await self._keeper.do(work.begun.request, blobs)
        except ValueError as error:
            raise JournalFailedError(f"what chunk {work.begun.number} goes on from is damaged") from error

    def _begun(self, session: Session, work: Work) -> asyncio.Task[None]:
        """Keep what a chunk is made from, if it is made for the first time."""
        journal = self._keeper.journal
        if work.digest is None:
            return self._keeper.do(journal.save_begun, session.id, work.begun)
        return self._keeper.do(lambda: None)

    def _kept(self, session: Session, work: Work, drawn: ChunkDrawn) -> asyncio.Future[bytes]:
        """Have a chunk kept; its digest, when it is."""
        if work.digest is not None:
            known: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            known.set_result(work.digest)
            return known
        made = Made(begun=work.begun, frames=tuple(work.frames), change=drawn.change)
        kept = self._keeper.do(self._keeper.journal.commit, session.id, session.line, made)
        kept.add_done_callback(partial(self._end_if_failed, session))
        return kept

    def _end_if_failed(self, session: Session, kept: asyncio.Task[bytes]) -> None:
        error = None if kept.cancelled() else kept.exception()
        if isinstance(error, RequestError):
            self._fail(session, error)

    async def start(self) -> None:
        """Start the workers.

        Raises:
            GroupLostError, LoadFailedError: they cannot be brought to life.
        """
        for attempt in itertools.count(1):
            try:
                await self._group.start()
                return
            except GroupLostError as error:
                logger.error("the worker did not start, attempt %d of %d: %s", attempt, MAX_TRIES, error)
                if attempt == MAX_TRIES:
                    raise

    async def warm(self, family: Family) -> None:
        """Draw two chunks that nobody sees, so that the first that somebody waits for is not slower than the others.

        Whatever comes of it, the family is served: sessions are told what is wrong with it.
        """
        capabilities = family.capabilities
        spec = default_spec(capabilities)
        world = f"warm {capabilities.name}"
        try:
            await self._group.open(world, capabilities.name, spec, None)
            for chunk in range(2):
                await self._warm_chunk(world, capabilities, spec, chunk)
        except (WorldFailedError, WorldBrokenError) as error:
            logger.warning("warming failed family=%s: %s", capabilities.name, error)
        except GroupLostError as error:
            logger.warning("warming failed family=%s: %s", capabilities.name, error)
            await self.start()
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


def _frames_in(continuation: Continuation | None) -> int:
    if continuation is None:
        return 0
    return len(continuation.frames) if isinstance(continuation, Clip) else len(continuation.controls)


def default_spec(capabilities: Capabilities) -> WorldSpec:
    """A world of a family's default size."""
    width, height = capabilities.sizes[0]
    return WorldSpec(prompt="", seed=0, width=width, height=height, mode=next(iter(capabilities.modes)))
