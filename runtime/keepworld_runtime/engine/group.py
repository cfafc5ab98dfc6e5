"""The seam between the engine and whatever draws: a group of workers, here one process on this machine.

A group is lost when its process dies, falls silent or does not finish in time. It is the engine that then starts it again
and opens its worlds again; `generation` tells it which worlds are from before.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from keepworld_runtime.engine.messages import Close, Draw, Failed, Finished, Open, Opened, Ready
from keepworld_runtime.engine.process import FrameDrawn, GroupLostError, Process
from keepworld_runtime.engine.worker import WorkerSetup
from keepworld_runtime.families.family import ChunkRequest, WorldSpec


class WorldFailedError(Exception):
    """The family raised while opening or drawing one world; the others are well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a worker may take, in seconds: to load, to say that it is alive, to open a world."""

    load_s: float = 300.0
    silence_s: float = 15.0
    open_s: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkDrawn:
    """The end of a chunk: the world's state after it, and the time spent in the family."""

    state: bytes
    draw_s: float


class WorkerGroup(Protocol):
    """Draws chunks for worlds. One call at a time."""

    generation: int

    async def start(self) -> None:
        """Start the workers, after `stop` or a loss too; every world is new then and `generation` has grown."""
        ...

    async def open(self, world: str, family: str, spec: WorldSpec, state: bytes | None) -> None:
        """Open a world; with `state`, as it was then."""
        ...

    def draw(
        self, world: str, request: ChunkRequest, *, skip: int, within_s: float
    ) -> AsyncIterator[FrameDrawn | ChunkDrawn]:
        """Draw a chunk within a time: each frame from `skip` on as soon as it exists, then the chunk's end."""
        ...

    def close(self, world: str) -> None:
        """Forget a world, as soon as nothing is drawn."""
        ...

    async def stop(self) -> None:
        """End the workers."""
        ...


class LocalGroup:
    """One spawned process on this machine.

    Args:
        setup: what the worker is started with.
        patience: how long it may take.
    """

    def __init__(self, setup: WorkerSetup, patience: Patience = Patience()) -> None:
        self._setup = setup
        self._patience = patience
        self._process: Process | None = None
        self._calls = itertools.count(1)
        self.generation = 0

    @property
    def pid(self) -> int | None:
        """The worker's process, or None."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the worker and wait until it has loaded its families."""
        await self.stop()
        self.generation += 1
        self._process = Process(self._setup, self._patience.silence_s)
        await self._answer(0, Ready, self._patience.load_s)

    async def open(self, world: str, family: str, spec: WorldSpec, state: bytes | None) -> None:
        """Open a world; with `state`, as it was then."""
        call = next(self._calls)
        self._live().tell(Open(call, world, family, spec, state))
        await self._answer(call, Opened, self._patience.open_s)

    async def draw(
        self, world: str, request: ChunkRequest, *, skip: int, within_s: float
    ) -> AsyncIterator[FrameDrawn | ChunkDrawn]:
        """Draw a chunk within a time: each frame from `skip` on as soon as it exists, then the chunk's end."""
        call = next(self._calls)
        process = self._live()
        process.tell(Draw(call, world, request, skip))
        until_s = time.monotonic() + within_s
        while True:
            answer = await process.answer(call, until_s)
            if isinstance(answer, FrameDrawn):
                yield answer
            elif isinstance(answer, Finished):
                yield ChunkDrawn(state=answer.state, draw_s=answer.draw_s)
                return
            elif isinstance(answer, Failed):
                raise WorldFailedError(answer.error)

    def close(self, world: str) -> None:
        """Forget a world, as soon as nothing is drawn."""
        if self._process:
            self._process.tell(Close(world))

    async def stop(self) -> None:
        """End the worker."""
        process, self._process = self._process, None
        if process:
            await asyncio.to_thread(process.end)

    def _live(self) -> Process:
        if self._process is None:
            raise GroupLostError("the worker has not been started")
        return self._process

    async def _answer(self, call: int, kind: type[Ready | Opened], within_s: float) -> None:
        answer = await self._live().answer(call, time.monotonic() + within_s)
        if isinstance(answer, Failed):
            raise WorldFailedError(answer.error)
        assert isinstance(answer, kind)
