"""The seam between the engine and whatever draws: a group of workers, here processes on this machine.

A group is lost when one of its processes dies, falls silent or does not finish in time. It is the engine that then starts
it again and opens its worlds again; `generation` tells it which worlds are from before.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from keepworld_runtime.engine.messages import Broken, Close, Draw, Failed, Finished, Open, Opened, Prepare, Ready
from keepworld_runtime.engine.process import FrameDrawn, GroupLostError
from keepworld_runtime.engine.ranks import Ranks, RanksDisagreeError
from keepworld_runtime.engine.worker import WorkerSetup
from keepworld_runtime.families.family import ChunkRequest, Event, WorldSpec, WorldState
from keepworld_runtime.journal.state import StateChange


class WorldFailedError(Exception):
    """The family raised while opening or drawing one world; the others are well."""


class WorldBrokenError(Exception):
    """A chunk came out as nothing that can be shown, and would again."""


class LoadFailedError(Exception):
    """A family could not be loaded, and could not if it were tried again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a worker may take, in seconds.

    Attributes:
        load_s: to load its families.
        silence_s: to say that it is alive.
        open_s: to open a world.
        warm_s: to draw a chunk for the first time, before anything is known of how long one takes.
    """

    load_s: float = 1800.0
    silence_s: float = 15.0
    open_s: float = 300.0
    warm_s: float = 1800.0

    def __post_init__(self) -> None:
        for name in ("load_s", "silence_s", "open_s", "warm_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"patience.{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkDrawn:
    """The end of a chunk: what of the world's state has changed, and the time spent in the family."""

    change: StateChange
    draw_s: float


class WorkerGroup(Protocol):
    """Draws chunks for worlds. One call at a time; `prepare` and `close` at any time."""

    generation: int

    async def start(self) -> None:
        """Start the workers, after `stop` or a loss too; every world is new then and `generation` has grown."""
        ...

    async def open(self, world: str, family: str, spec: WorldSpec, state: WorldState | None) -> None:
        """Open a world; with `state`, as it was then, which counts as told."""
        ...

    def draw(
        self, world: str, request: ChunkRequest, *, skip: int, within_s: float
    ) -> AsyncIterator[FrameDrawn | ChunkDrawn]:
        """Draw a chunk within a time: each frame from `skip` on as soon as it exists, then the chunk's end."""
        ...

    def prepare(self, world: str, event: Event) -> None:
        """Have an open world do beforehand what an event will need."""
        ...

    def close(self, world: str) -> None:
        """Forget a world, as soon as nothing is drawn."""
        ...

    async def stop(self) -> None:
        """End the workers."""
        ...


class LocalGroup:
    """Spawned processes on this machine: one, or several ranks that draw each chunk together.

    Args:
        setup: what the workers are started with.
        patience: how long they may take.
    """

    def __init__(self, setup: WorkerSetup, patience: Patience = Patience()) -> None:
        self._setup = setup
        self._patience = patience
        self._ranks: Ranks | None = None
        self._calls = itertools.count(1)
        self.generation = 0

    @property
    def pids(self) -> list[int | None]:
        """The workers' processes, by rank; none before they have been started."""
        return self._ranks.pids if self._ranks else []

    async def start(self) -> None:
        """Start the workers and wait until they have loaded their families.

        Raises:
            LoadFailedError: a family could not be loaded.
            GroupLostError: a worker died or took too long.
        """
        await self.stop()
        self.generation += 1
        self._ranks = Ranks(self._setup, self._patience.silence_s)
        try:
            await self._answer(0, Ready, self._patience.load_s)
        except (WorldFailedError, RanksDisagreeError) as error:
            raise LoadFailedError(str(error)) from None

    async def open(self, world: str, family: str, spec: WorldSpec, state: WorldState | None) -> None:
        """Open a world; with `state`, as it was then, whose parts count as told."""
        call = next(self._calls)
        self._live().tell(Open(call, world, family, spec, state))
        await self._answer(call, Opened, self._patience.open_s)

    async def draw(
        self, world: str, request: ChunkRequest, *, skip: int, within_s: float
    ) -> AsyncIterator[FrameDrawn | ChunkDrawn]:
        """Draw a chunk within a time: each frame from `skip` on as soon as it exists, then the chunk's end."""
        call = next(self._calls)
        ranks = self._live()
        ranks.tell(Draw(call, world, request, skip))
        async for answer in ranks.answers(call, time.monotonic() + within_s):
            if isinstance(answer, FrameDrawn):
                yield answer
            elif isinstance(answer, Finished):
                yield ChunkDrawn(change=answer.change, draw_s=answer.draw_s)
            elif isinstance(answer, Broken):
                raise WorldBrokenError(answer.error)
            elif isinstance(answer, Failed):
                raise WorldFailedError(answer.error)

    def prepare(self, world: str, event: Event) -> None:
        """Have an open world do beforehand what an event will need."""
        if self._ranks:
            self._ranks.tell(Prepare(world, event))

    def close(self, world: str) -> None:
        """Forget a world, as soon as nothing is drawn."""
        if self._ranks:
            self._ranks.tell(Close(world))

    async def stop(self) -> None:
        """End the workers."""
        ranks, self._ranks = self._ranks, None
        if ranks:
            await ranks.end()

    def _live(self) -> Ranks:
        if self._ranks is None:
            raise GroupLostError("the workers have not been started")
        return self._ranks

    async def _answer(self, call: int, kind: type[Ready | Opened], within_s: float) -> None:
        async for answer in self._live().answers(call, time.monotonic() + within_s):
            if isinstance(answer, Failed):
                raise WorldFailedError(answer.error)
            assert isinstance(answer, kind)
