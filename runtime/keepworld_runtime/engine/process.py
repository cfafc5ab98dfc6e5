"""The server's end of one worker process: what it says, with pixels copied out of the arena, and whether it still lives."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import queue
import threading
import time
from dataclasses import dataclass

from keepworld_runtime.engine import worker
from keepworld_runtime.engine.arena import Arena
from keepworld_runtime.engine.messages import Alive, Answer, Command, Drawn, Release
from keepworld_runtime.families.family import FrameData, Place

logger = logging.getLogger(__name__)


class GroupLostError(Exception):
    """The workers are gone, with every world they held."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameDrawn:
    """A frame, and when it was drawn."""

    call: int
    data: FrameData
    drawn_s: float


Heard = Answer | FrameDrawn


class Process:
    """A spawned worker. Two threads of its own speak and listen, so that the event loop neither waits for it nor copies pixels.

    Args:
        setup: what the worker is started with.
        place: which of its group's ranks it is.
        silence_s: after so long without a sign of life it counts as lost.
    """

    def __init__(self, setup: worker.WorkerSetup, place: Place, silence_s: float) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy gRPC's threads half
        commands, self._commands = context.Pipe(duplex=False)
        self._answers, answers = context.Pipe(duplex=False)
        self._arena = Arena(setup.slot_bytes)
        self._silence_s = silence_s
        self._outgoing: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[Heard | None] = asyncio.Queue()
        self._process = context.Process(
            target=worker.main,
            args=(setup, place, commands, answers, self._arena),
            daemon=True,
            name=f"keepworld-worker-{place.rank}",
        )
        self._rank = place.rank
        self._process.start()
        commands.close()
        answers.close()
        self._heard_s = time.monotonic()
        self._threads = [threading.Thread(target=act, daemon=True) for act in (self._listen, self._speak)]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    def tell(self, command: Command) -> None:
        """Send a command, without waiting. That nobody is there to hear it shows when an answer is waited for."""
        self._outgoing.put(command)

    async def answer(self, call: int, until_s: float) -> Heard:
        """Wait for the next answer to a call.

        Raises:
            GroupLostError: the process has died, has fallen silent, or it is past `until_s`.
        """
        while True:
            heard = await self._next(until_s)
            if heard is None:
                self._inbox.put_nowait(None)
                raise GroupLostError(f"the worker died, exit code {self._process.exitcode}, rank {self._rank}")
            if heard.call == call:
                return heard

    def end(self) -> None:
        """End the process at once: it holds nothing that the server does not have. Blocks for some milliseconds."""
        self._process.kill()
        self._process.join()
        self._outgoing.put(None)
        for thread in self._threads:
            thread.join()
        self._process.close()  # else its pipes stay open for as long as anything, such as a logged error, refers to this
        self._commands.close()
        self._answers.close()
        self._arena.close()

    async def _next(self, until_s: float) -> Heard | None:
        while True:
            limit_s = min(until_s, self._heard_s + self._silence_s)
            try:
                async with asyncio.timeout(max(0.0, limit_s - time.monotonic())):
                    return await self._inbox.get()
            except TimeoutError:
                now_s = time.monotonic()
                if now_s >= until_s:
                    raise GroupLostError(f"the worker did not finish in time, rank {self._rank}") from None
                if now_s >= self._heard_s + self._silence_s:
                    raise GroupLostError(f"the worker fell silent, rank {self._rank}") from None

    def _listen(self) -> None:
        try:
            while True:
                heard: Answer | Alive = self._answers.recv()
                self._heard_s = time.monotonic()
                if not isinstance(heard, Alive):
                    self._post(self._fetch(heard) if isinstance(heard, Drawn) else heard)
        except (EOFError, OSError):
            self._post(None)

    def _speak(self) -> None:
        while command := self._outgoing.get():
            try:
                self._commands.send(command)  # blocks if a worker that was stopped no longer reads
            except OSError:
                logger.debug("the worker is gone; %s was not said", type(command).__name__)

    def _fetch(self, drawn: Drawn) -> FrameDrawn:
        arrays = dict(zip(drawn.has, self._arena.read(drawn.slot, drawn.layout), strict=True))
        self.tell(Release())
        data = FrameData(
            index=drawn.index,
            c2w=drawn.c2w,
            K=drawn.K,
            image=arrays["image"],
            depth=arrays.get("depth"),
            labels=arrays.get("labels"),
            confidence=arrays.get("confidence"),
        )
        return FrameDrawn(call=drawn.call, data=data, drawn_s=drawn.drawn_s)

    def _post(self, heard: Heard | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._inbox.put_nowait, heard)
        except RuntimeError:
            logger.debug("the event loop ended before the worker did")
