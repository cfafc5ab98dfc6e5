"""How a session is walked: by hands that steer as it goes, or by a plan known beforehand."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keepworld import plans, wire
from keepworld.capabilities import FamilyCapabilities, Limits
from keepworld.feed import Feed, new_id
from keepworld.frames import Chunk, Encoding, Frame, Receipt, Walk
from keepworld.inputs import Input, Script, TellingInput, reader
from keepworld.link import Link
from keepworld.motion import Control
from keepworld.timeline import Happening, PlannedEvent, Timeline
from keepworld.v1 import world_service_pb2
from keepworld.wire import Settings

Hands = Input | Callable[[], Control | None]

_POLL_S = 0.02
_REPEAT_S = 0.5  # well within the server's dead-man time


class Walker:
    """Steers a session, one walk at a time: a new one takes over from the one before.

    Args:
        feed: of the session.
        capabilities, mode: of it; what its axes honour is checked before anything is sent.
        limits: of its server.
        records_everything: whether every frame has to be fit for a capture.
    """

    def __init__(
        self, feed: Feed, capabilities: FamilyCapabilities, mode: str, limits: Limits, *, records_everything: bool
    ) -> None:
        self._feed = feed
        self._capabilities = capabilities
        self._mode = mode
        self._limits = limits
        self._records_everything = records_everything
        self._hands: asyncio.Task[bool] | None = None

    def settings(self, encoding: str, *, depth: bool, pace: str, only_scripted: bool) -> Settings:
        """How the stream shall run.

        Raises:
            ValueError: pace or encoding is none, or not one for this session.
        """
        if pace not in wire.PACES:
            raise ValueError(f"pace must be one of {', '.join(wire.PACES)}, got {pace!r}")
        if encoding not in [*Encoding]:
            raise ValueError(f"encoding must be one of {', '.join(Encoding)}, got {encoding!r}")
        if self._records_everything and not Encoding(encoding).is_lossless:
            raise ValueError(f"encoding must be lossless in a session that records everything, got {encoding!r}")
        wants_depth = (depth or self._records_everything) and self._capabilities.has_depth
        return Settings(encoding=Encoding(encoding), depth=wants_depth, pace=pace, only_scripted=only_scripted)

    def script(self, script: str | Script) -> list[plans.Portion]:
        """A plan of motion words.

        Raises:
            ValueError: a step is not in the grammar, or of an axis that the mode does not honour.
        """
        script = Script(script) if isinstance(script, str) else script
        segments = script.segments(rates=self._capabilities.rates, fps=self._capabilities.fps)
        for segment in segments:
            self._check_axes(segment.control)
        return plans.script(segments, self._limits)

    def path(self, c2ws: NDArray[np.float64]) -> list[plans.Portion]:
        """A plan of cameras, [N, 4, 4] camera to world.

        Raises:
            ValueError: they are no rigid motions, or the family follows none.
        """
        if not self._capabilities.accepts_paths:
            raise ValueError(f"{self._capabilities.name} does not follow paths; steer it")
        return plans.path(c2ws, self._limits)

    def _check_axes(self, control: Control) -> None:
        honoured = self._capabilities.modes.get(self._mode, ())
        unknown = control.used_axes() - set(honoured)
        if unknown:
            wrong = ", ".join(sorted(unknown))
            raise ValueError(f"mode {self._mode!r} does not honour {wrong}; it has {', '.join(honoured)}")

    # By hand

    async def live(self, controls: Hands | None, settings: Settings) -> AsyncGenerator[Frame | Chunk, None]:
        """Frames and chunks, steered as they are made, until the hands are done."""
        read = None if controls is None else reader(controls)
        changed = controls.changed if isinstance(controls, TellingInput) else None
        hands: asyncio.Task[bool] | None = None
        item: Frame | Chunk | None = None
        try:
            while True:
                await self._feed.run_as(settings)
                if hands is None or self._hands is not hands:  # another walk came between
                    await self.let_go()
                    hands = self._hands = asyncio.create_task(self._hold(read, changed))
                if hands.done() and hands.result() and not isinstance(item, Frame):
                    return
                item = await self._feed.take(record_from=None)
                yield item
        finally:
            if self._hands is hands:
                await self.let_go()
                if settings.pace == "realtime":  # a promise that somebody else may need
                    self._feed.rest()

    async def _hold(
        self, read: Callable[[], Control | None] | None, changed: Callable[[], Awaitable[None]] | None
    ) -> bool:
        """Send what hands do when it changes, and often enough that the server knows that they are there.

        Returns:
            Whether they are done, and not just none.
        """
        if read is None:
            return False
        loop = asyncio.get_running_loop()
        last: Control | None = None
        sent_s = 0.0
        while True:
            control = read()
            if control is None:
                return True
            now_s = loop.time()
            if control != last or now_s - sent_s >= _REPEAT_S:
                self._check_axes(control)
                self._feed.send("control", wire.live_control(control))
                last, sent_s = control, now_s
            if changed is None:
                await asyncio.sleep(_POLL_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await changed()

    async def let_go(self) -> None:
        """Take the hands off."""
        hands, self._hands = self._hands, None
        if hands is not None:
            hands.cancel()
            await asyncio.gather(hands, return_exceptions=True)

    # Known beforehand

    async def walk(
        self, plan: Sequence[plans.Portion], settings: Settings, *, record_from: int | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """Queue a plan, portion by portion, and give the chunks up to its end."""
        await self.let_go()
        feed, rest = self._feed, deque(plan)
        while True:
            await feed.run_as(settings)
            while (
                rest and max(0, feed.queued.until - feed.next_number) + rest[0].frames <= self._limits.max_queued_frames
            ):
                await feed.queue(rest.popleft())
            if not rest and feed.next_number >= feed.queued.until:
                feed.is_quiet = True
                return
            item = await feed.take(record_from=record_from)
            if isinstance(item, Chunk):
                yield item

    async def run(self, plan: Sequence[plans.Portion], *, depth: bool, pace: str, events: Iterable[Happening]) -> Walk:
        """Walk a plan to its end, past what was made before it, and sum it up; events count from its start."""
        started_s = time.monotonic()
        settings = self.settings("png", depth=depth, pace=pace, only_scripted=True)
        timeline, feed = Timeline(events), self._feed
        await self.let_go()
        await feed.run_as(settings)
        was_quiet = feed.is_quiet
        if was_quiet:  # then the path begins with the next frame, and events can be in time for it
            await self._plan_events(timeline, feed.next_number)
        first = await feed.queue(plan[0])
        if not was_quiet:
            await self._plan_events(timeline, first)
        last, chunk_ms = first, []
        async with contextlib.aclosing(self.walk(plan[1:], settings, record_from=first)) as chunks:
            async for chunk in chunks:
                if chunk.frames[-1].number >= first:
                    last = chunk.frames[-1].number
                    chunk_ms.append(chunk.latency.chunk_ms)
        return Walk(
            first_frame=first,
            last_frame=last,
            chunks=len(chunk_ms),
            frames=last + 1 - first,
            seconds=(last + 1 - first) / self._capabilities.fps,
            wall_s=time.monotonic() - started_s,
            chunk_ms=statistics.median(chunk_ms),
        )

    async def _plan_events(self, timeline: Timeline, first: int) -> None:
        for event in timeline:
            start_s = first / self._capabilities.fps
            await self.ask_event(event if event.at is None else replace(event, at=start_s + event.at))

    async def ask_event(self, event: PlannedEvent) -> Receipt:
        """Ask for an event."""
        request_id = new_id()

        async def find(_: Link) -> Receipt | None:
            waiting = [each for each in await self._feed.waiting_events() if each.id == request_id]
            return Receipt(applies_to_chunk=waiting[0].chunk, id=request_id) if waiting else None

        await self.attach()
        return await self._feed.ask(request_id, wire.event(request_id, event), find=find)

    async def cancel_event(self, event_id: str) -> Receipt:
        """Ask for an event not to happen."""
        request_id = new_id()
        await self.attach()
        return await self._feed.ask(request_id, wire.cancel_event(request_id, event_id))

    async def ask(self, request_id: str, request: world_service_pb2.StreamSessionRequest) -> Receipt:
        """Ask for something that the server does once, however often it is asked under this id."""
        await self.attach()
        return await self._feed.ask(request_id, request)

    async def attach(self) -> None:
        """Be attached; if that is new, nothing is made yet, so that an event meant for the first chunk is in time for it."""
        await self._feed.run_as(self.settings("png", depth=True, pace="fast", only_scripted=True), keep=True)
