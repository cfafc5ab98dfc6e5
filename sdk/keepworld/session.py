"""A session: a world of your own on a server, and the walks through it."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from keepworld import plans, wire, wire_world
from keepworld.capabilities import FamilyCapabilities, Limits, Snapshot
from keepworld.capture import Capture
from keepworld.errors import CaptureError, NotFoundError, UnavailableError, from_grpc, printable
from keepworld.feed import Feed, new_id
from keepworld.frames import Chunk, Encoding, Frame, Receipt, Walk
from keepworld.inputs import Input, Script, reader
from keepworld.link import Link
from keepworld.motion import Control
from keepworld.progress import WalkProgress
from keepworld.recording import provenance_of
from keepworld.v1 import world_service_pb2
from keepworld.v1.world_service_pb2_grpc import WorldServiceStub
from keepworld.wire import Settings

Hands = Input | Callable[[], Control]
PlannedEvent = tuple[float, str]

_POLL_S = 0.02
_REPEAT_S = 0.5  # well within the server's dead-man time


class AsyncSession:
    """A world, and the walk through it. Opened by `AsyncClient.sessions.open`; ``async with`` closes it.

    Attributes:
        id: what the server calls it.
        model: its family of worlds.
        seed: what it was made from besides the prompt.
        size: width and height of its frames.
        mode: the way of moving.
        reading: how the prompt was understood.
        capabilities: what its family can do, and how long the session's own chunk 0 is.
        is_closed: whether `close` has been called.
    """

    def __init__(
        self,
        stub: WorldServiceStub,
        response: world_service_pb2.CreateSessionResponse,
        *,
        prompt: str,
        capabilities: FamilyCapabilities,
        limits: Limits,
        record: str | Path | bool | None,
        deadline_s: float,
        progress: bool,
    ) -> None:
        info = wire_world.session_info(response.session)
        self.id, self.model, self.seed, self.size, self.mode = info.id, info.model, info.seed, info.size, info.mode
        self.reading = wire_world.reading(response)
        self.capabilities = capabilities
        self._stub = stub
        self._prompt = prompt
        self._token = response.token
        self._limits = limits
        self._deadline_s = deadline_s
        self._records_walks = record is not False
        self._feed = Feed(
            stub,
            self.id,
            response.token,
            provenance=provenance_of(info, prompt, capabilities, self.reading),
            capabilities=capabilities,
            first_number=info.frames,
            folder=record if isinstance(record, str | Path) else None,
            progress=WalkProgress(wanted=progress),
            deadline_s=deadline_s,
        )
        self._hands: asyncio.Task[None] | None = None
        self.is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {self.model}, seed {self.seed}, {self.size[0]}x{self.size[1]}>"

    async def stream(
        self,
        controls: Hands | Script | str | None = None,
        *,
        encoding: str = "raw",
        depth: bool = False,
        pace: str = "realtime",
    ) -> AsyncGenerator[Chunk, None]:
        """Walk, chunk by chunk: without end for an input, to its end for a script. Chunks already made come first.

        Args:
            controls: an input (see `keepworld.inputs`), a function that gives a `Control`, motion words or a `Script`;
                None stands still.
            encoding: how pictures travel: "raw", "png", or "jpeg" (lossy; decoding needs Pillow).
            depth: send depth, labels and confidence with each frame.
            pace: "realtime" keeps to the clock, "fast" does not wait for it, "pause" is never more than a chunk ahead of
                the one you have.

        Raises:
            ValueError: an argument is wrong, or an input uses an axis that the session's mode does not honour.
            ServerError: the server refused, or the stream broke; the next call attaches again.
        """
        if isinstance(controls, Script | str):
            settings = self._checked(encoding, depth=depth, pace=pace, only_scripted=True)
            plan = self._script(controls)
            async with contextlib.aclosing(self._walk(plan, settings)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        settings = self._checked(encoding, depth=depth, pace=pace, only_scripted=False)
        async with contextlib.aclosing(self._live(controls, settings)) as items:
            async for item in items:
                if isinstance(item, Chunk):
                    yield item

    async def frames(
        self,
        controls: Hands | None = None,
        *,
        encoding: str = "raw",
        depth: bool = False,
        pace: str = "realtime",
    ) -> AsyncGenerator[Frame, None]:
        """Walk, frame by frame, each as soon as it is here: less delay than `stream`, which waits for whole chunks."""
        settings = self._checked(encoding, depth=depth, pace=pace, only_scripted=False)
        async with contextlib.aclosing(self._live(controls, settings)) as items:
            async for item in items:
                if isinstance(item, Frame):
                    yield item

    async def steer(self, script: str | Script, *, depth: bool = True, pace: str = "fast") -> Walk:
        """Walk a script to its end, recording it for `capture`.

        Args:
            script: motion words, as in ``"forward 6s, look left 90deg"``, or a `Script`.
            depth: record depth, labels and confidence too, if the family has them; exports need them.
            pace: as for `stream`.

        Raises:
            ValueError: a step is not in the grammar.
            ServerError: the server refused, or the stream broke.
        """
        return await self._run(self._script(script), depth=depth, pace=pace, events=())

    async def follow(
        self,
        path: NDArray[np.float64],
        *,
        events: Iterable[PlannedEvent] = (),
        depth: bool = True,
        pace: str = "fast",
    ) -> Walk:
        """Be at the given cameras, one a frame, recording the walk for `capture`.

        Args:
            path: [N, 4, 4] camera to world, OpenCV axes, the session's frame: see `keepworld.paths`.
            events: (seconds from the path's start, text) of what shall happen on the way.
            depth: as for `steer`.
            pace: as for `stream`.

        Raises:
            ValueError: the path is not made of rigid motions, or the family follows none.
            ServerError: the server refused, or the stream broke.
        """
        if not self.capabilities.accepts_paths:
            raise ValueError(f"{self.model} does not follow paths; steer it")
        plan = plans.path(path, self._limits)
        return await self._run(plan, depth=depth, pace=pace, events=tuple(events))

    async def event(
        self,
        text: str,
        *,
        at: float | None = None,
        chunk: int | None = None,
        ramp: float = 2.0,
        duration: float | None = None,
    ) -> Receipt:
        """Have something happen, with the next chunk if not said otherwise.

        Args:
            text: what, as in "a thunderstorm rolls in".
            at: when, seconds of the session's world.
            chunk: with which chunk instead.
            ramp: seconds until it has come in fully.
            duration: seconds until it goes again; None: it stays.

        Raises:
            InvalidRequestError: the server does not understand it, or it is too late for it; the stream goes on.
        """
        if at is not None and chunk is not None:
            raise ValueError("give at or chunk, not both")
        # Not attached yet: nothing shall be made, so that an event meant for the first chunk is in time for it.
        settings = self._checked("png", depth=True, pace="fast", only_scripted=True)
        link = await self._feed.attached(settings, keep=True)
        request_id = new_id()
        request = wire.event(request_id, text, at=at, chunk=chunk, ramp=ramp, duration=duration)
        return await link.ask(request_id, request)

    async def snapshot(self) -> Snapshot:
        """Keep the world on the server as it is after its last whole chunk, which may be ahead of what you have seen.

        Open a session with ``snapshot=`` to go on from there. Events that wait for a later chunk are not part of it.

        Raises:
            ServerError: the session has ended, or the world is too large to be kept.
        """
        request_id = new_id()
        request = world_service_pb2.CreateSnapshotRequest(request_id=request_id, session_id=self.id, token=self._token)
        with from_grpc(request_id):
            response = await self._stub.CreateSnapshot(request, timeout=self._deadline_s)
        return Snapshot(
            id=printable(response.snapshot.snapshot_id, 200),
            chunks=response.snapshot.chunks,
            frames=response.snapshot.frames,
            model=self.model,
            prompt=self._prompt,
            seed=self.seed,
            size=self.size,
            mode=self.mode,
        )

    async def capture(self, folder: str | Path | None = None) -> Capture:
        """What has been recorded: every `steer` and `follow`, or everything if the session was opened with a folder.

        Args:
            folder: where it shall lie. Without one it stays where it is: in the folder given to `open`, or in a
                temporary one that goes with the `Capture`.

        Raises:
            CaptureError: nothing was recorded, or the folder is in use.
        """
        if self._feed.recorder is None:
            raise CaptureError("nothing was recorded: steer or follow, or open the session with record='folder'")
        return await self._feed.recorder.capture(folder)

    async def close(self) -> None:
        """End the session on the server and free what it holds here; recorded captures stay."""
        if self.is_closed:
            return
        self.is_closed = True
        await self._let_go()
        try:
            await self._feed.close()
        finally:
            request = world_service_pb2.CloseSessionRequest(session_id=self.id, token=self._token)
            with contextlib.suppress(NotFoundError, UnavailableError), from_grpc():
                await self._stub.CloseSession(request, timeout=self._deadline_s)

    # What all walks share

    def _checked(self, encoding: str, *, depth: bool, pace: str, only_scripted: bool) -> Settings:
        if pace not in wire.PACES:
            raise ValueError(f"pace must be one of {', '.join(wire.PACES)}, got {pace!r}")
        if encoding not in [*Encoding]:
            raise ValueError(f"encoding must be one of {', '.join(Encoding)}, got {encoding!r}")
        if self._feed.records_everything and encoding == Encoding.JPEG:
            raise ValueError("encoding must be lossless in a session that records everything, got 'jpeg'")
        wants_depth = (depth or self._feed.records_everything) and self.capabilities.has_depth
        return Settings(encoding=Encoding(encoding), depth=wants_depth, pace=pace, only_scripted=only_scripted)

    def _script(self, script: str | Script) -> list[plans.Portion]:
        script = Script(script) if isinstance(script, str) else script
        segments = script.segments(rates=self.capabilities.rates, fps=self.capabilities.fps)
        for segment in segments:
            self._check_axes(segment.control)
        return plans.script(segments, self._limits)

    def _check_axes(self, control: Control) -> None:
        honoured = self.capabilities.modes.get(self.mode, ())
        unknown = control.used_axes() - set(honoured)
        if unknown:
            wrong = ", ".join(sorted(unknown))
            raise ValueError(f"mode {self.mode!r} does not honour {wrong}; it has {', '.join(honoured)}")

    # Walks by hand

    async def _live(self, controls: Hands | None, settings: Settings) -> AsyncGenerator[Frame | Chunk, None]:
        read = None if controls is None else reader(controls)
        hands: asyncio.Task[None] | None = None
        try:
            while True:
                link = await self._feed.attached(settings)
                if hands is None or self._hands is not hands:  # another walk came between
                    await self._let_go()
                    hands = self._hands = asyncio.create_task(self._hold(link, read))
                if hands.done():
                    hands.result()
                yield await self._feed.take(link, record_from=None)
        finally:
            if self._hands is hands:
                await self._let_go()

    async def _hold(self, link: Link, read: Callable[[], Control] | None) -> None:
        """Send what hands do when it changes, and often enough that the server knows that they are there."""
        if read is None:
            return
        loop = asyncio.get_running_loop()
        last: Control | None = None
        sent_s = 0.0
        while not link.has_ended:
            control = read()
            now_s = loop.time()
            if control != last or now_s - sent_s >= _REPEAT_S:
                self._check_axes(control)
                link.send("control", wire.live_control(control))
                last, sent_s = control, now_s
            await asyncio.sleep(_POLL_S)

    async def _let_go(self) -> None:
        hands, self._hands = self._hands, None
        if hands is not None:
            hands.cancel()
            await asyncio.gather(hands, return_exceptions=True)

    # Walks known beforehand

    async def _walk(
        self, plan: Sequence[plans.Portion], settings: Settings, *, record_from: int | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """Queue a plan, portion by portion, and give the chunks up to its end."""
        await self._let_go()
        feed, rest = self._feed, deque(plan)
        while True:
            link = await feed.attached(settings)
            while (
                rest
                and max(0, feed.scripted_until - feed.next_number) + rest[0].frames <= self._limits.max_queued_frames
            ):
                await feed.queue(link, rest.popleft())
            if not rest and feed.next_number >= feed.scripted_until:
                feed.is_quiet = True
                return
            item = await feed.take(link, record_from=record_from)
            if isinstance(item, Chunk):
                yield item

    async def _run(
        self, plan: Sequence[plans.Portion], *, depth: bool, pace: str, events: Sequence[PlannedEvent]
    ) -> Walk:
        """Walk a plan to its end, past what was made before it, and sum it up."""
        started_s = time.monotonic()
        settings = self._checked("png", depth=depth, pace=pace, only_scripted=True)
        await self._let_go()
        link = await self._feed.attached(settings)
        was_quiet = self._feed.is_quiet
        if was_quiet:  # then the path begins with the next frame, and events can be in time for it
            await self._plan_events(events, self._feed.next_number)
        first = await self._feed.queue(link, plan[0])
        if not was_quiet:
            await self._plan_events(events, first)
        last, chunk_ms = first, []
        async with contextlib.aclosing(
            self._walk(plan[1:], settings, record_from=first if self._records_walks else None)
        ) as chunks:
            async for chunk in chunks:
                if chunk.frames[-1].number >= first:
                    last = chunk.frames[-1].number
                    chunk_ms.append(chunk.latency.chunk_ms)
        return Walk(
            first_frame=first,
            last_frame=last,
            chunks=len(chunk_ms),
            frames=last + 1 - first,
            seconds=(last + 1 - first) / self.capabilities.fps,
            wall_s=time.monotonic() - started_s,
            chunk_ms=statistics.median(chunk_ms),
        )

    async def _plan_events(self, events: Sequence[PlannedEvent], first: int) -> None:
        for seconds, text in events:
            await self.event(text, at=first / self.capabilities.fps + seconds)
