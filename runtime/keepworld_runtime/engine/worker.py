"""A worker process: loads the families, opens worlds, draws their chunks one after another.

The main thread draws, and hands each frame over before it draws the next: a thread that did so beside it would wait longer for
Python's lock than the copy takes. Others listen for commands, prepare events, and say that the process is alive. When the
server goes, however it goes, so does the worker: its command pipe ends, and the kernel sends SIGKILL. Where a group has several
ranks, each is told the same in the same order, and the first alone gives frames.
"""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from keepworld_runtime import logs
from keepworld_runtime.engine.arena import SLOTS, Arena
from keepworld_runtime.engine.messages import (
    Alive,
    Answer,
    Broken,
    Close,
    Command,
    Draw,
    Drawn,
    Failed,
    Finished,
    Open,
    Opened,
    Prepare,
    Ready,
    Release,
    Task,
)
from keepworld_runtime.families import Chosen
from keepworld_runtime.families.family import BrokenChunkError, FrameData, Model, Place, World
from keepworld_runtime.journal.state import StateChange

logger = logging.getLogger(__name__)

_ALIVE_EVERY_S = 0.5
_PR_SET_PDEATHSIG = 1
_DRAWING_NICENESS = 5
_PARTS = ("image", "depth", "labels", "confidence")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSetup:
    """What workers are started with.

    Attributes:
        families: by name, those to be loaded.
        num_threads: how many threads the families may draw with, in all ranks together.
        num_ranks: how many processes draw each chunk together.
        slot_bytes: how much memory one frame can take.
        log_level: of their log, which goes to stderr.
        log_format: of it, one of `logs.FORMATS`.
    """

    families: Mapping[str, Chosen]
    num_threads: int
    slot_bytes: int
    log_level: str
    num_ranks: int = 1
    log_format: str = "text"


def main(setup: WorkerSetup, place: Place, commands: Connection, answers: Connection, arena: Arena) -> None:
    """Run a worker until its command pipe ends."""
    _die_with_parent()
    name = "worker" if place.num_ranks == 1 else f"worker {place.rank}"
    logs.configure(setup.log_level, setup.log_format, name)
    line = Line(commands, answers, arena, prepares_beside=place.num_ranks == 1)
    line.start()
    _give_way()
    try:
        models = {name: chosen.make().load(place) for name, chosen in setup.families.items()}
    except Exception as error:  # the family's own; the server says it to whoever started it, and ends this process
        logger.exception("loading failed")
        line.say(Failed(0, f"{type(error).__name__}: {error}"))
        threading.Event().wait()
    line.say(Ready())
    Worker(models, line, place).run()


def _die_with_parent() -> None:
    """Leave signals to the server, end with it, and keep stdout for what the server says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C and service managers signal whole process groups
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(2, 1)


def _give_way() -> None:
    """Let this thread, which draws, and those it starts go behind whoever brings to people what has been drawn.

    On Linux niceness is a thread's own; where it is the whole process's, the other threads do too little to suffer.
    """
    os.nice(_DRAWING_NICENESS)


class Line:
    """The worker's end of the pipes: commands in, answers and frames out, and a sign of life.

    Args:
        commands, answers, arena: what connects it with the server.
        prepares_beside: whether events are prepared beside the drawing. Ranks that draw together do all things in one order.

    Attributes:
        work: what to do, one after the other.
        preparations: what to do beside that.
    """

    def __init__(self, commands: Connection, answers: Connection, arena: Arena, *, prepares_beside: bool) -> None:
        self._commands = commands
        self._answers = answers
        self._arena = arena
        self._slot = 0
        self._speaking = threading.Lock()
        self._free_slots = threading.Semaphore(SLOTS)
        self._prepares_beside = prepares_beside
        self.work: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self.preparations: queue.SimpleQueue[Prepare] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin to listen, and to say that this process is alive."""
        for act in (self._listen, self._stay_alive):
            threading.Thread(target=act, daemon=True).start()

    def say(self, answer: Answer) -> None:
        """Tell the server."""
        self._send(answer)

    def give(self, call: int, frame: FrameData, drawn_s: float) -> None:
        """Send a frame, of which nothing is needed afterwards; waits only when the server is far behind."""
        self._send(self._stored(call, frame, drawn_s))

    def _listen(self) -> None:
        try:
            while True:
                command: Command = self._commands.recv()
                if isinstance(command, Release):
                    self._free_slots.release()
                elif isinstance(command, Prepare) and self._prepares_beside:
                    self.preparations.put(command)
                else:
                    self.work.put(command)
        except (EOFError, OSError):
            os._exit(0)

    def _stay_alive(self) -> None:
        while True:
            time.sleep(_ALIVE_EVERY_S)
            self._send(Alive())

    def _stored(self, call: int, frame: FrameData, drawn_s: float) -> Drawn | Failed:
        """Copy a frame into the next slot; slots become free in the order they were taken."""
        parts = dict(_parts(frame))
        self._free_slots.acquire()
        try:
            layout = self._arena.write(self._slot, tuple(parts.values()))
        except ValueError as error:
            return Failed(call, str(error))
        drawn = Drawn(call, self._slot, layout, tuple(parts), frame.index, frame.c2w, frame.K, drawn_s)
        self._slot = (self._slot + 1) % SLOTS
        return drawn

    def _send(self, answer: Answer | Alive) -> None:
        """Put something into the pipe; if nobody is at its end, end."""
        try:
            with self._speaking:
                self._answers.send(answer)
        except OSError:
            os._exit(0)


class Worker:
    """Draws for the worlds that it holds."""

    def __init__(self, models: Mapping[str, Model], line: Line, place: Place) -> None:
        self._models = models
        self._line = line
        self._place = place
        self._worlds: dict[str, World] = {}
        self._told: dict[str, frozenset[str]] = {}  # the parts of each world's state that the server has

    def run(self) -> None:
        """Do as commanded, for ever."""
        threading.Thread(target=self._prepare_all, daemon=True).start()
        while True:
            command = self._line.work.get()
            if isinstance(command, Close):
                self._forget(command.world)
            elif isinstance(command, Prepare):
                self._prepare(command)
            else:
                self._answer(command)

    def _answer(self, command: Open | Draw) -> None:
        answer: Opened | Finished | Broken | Failed
        try:
            answer = self._open(command) if isinstance(command, Open) else self._draw(command)
        except BrokenChunkError as error:
            answer = Broken(command.call, str(error))
        except Exception as error:  # the family's own; the server decides what becomes of the session
            logger.exception("world %s failed", command.world)
            answer = Failed(command.call, f"{type(error).__name__}: {error}")
        if isinstance(answer, Broken | Failed):
            self._forget(command.world)
        self._line.say(answer)

    def _open(self, command: Open) -> Opened:
        world = self._models[command.family].open(command.spec)
        if command.state is not None:
            world.restore(command.state)
        self._worlds[command.world] = world
        self._told[command.world] = frozenset(command.state.parts if command.state else ())
        return Opened(command.call)

    def _draw(self, command: Draw) -> Finished:
        world = self._worlds[command.world]
        frames = iter(world.next_chunk(command.request))
        draw_s = 0.0
        while True:
            started_s = time.monotonic()
            frame = next(frames, None)
            drawn_s = time.monotonic()
            draw_s += drawn_s - started_s
            if frame is None:
                return Finished(command.call, self._change(command.world, world), draw_s)
            if frame.index >= command.skip and self._place.rank == 0:
                self._line.give(command.call, frame, drawn_s)

    def _change(self, name: str, world: World) -> StateChange:
        """What of a world's state the server has not been told; other ranks than the first keep it to themselves."""
        state = world.state()
        if self._place.rank > 0:
            return StateChange(b"", (), {})
        change = StateChange.of(state, self._told[name])
        self._told[name] = frozenset(change.names)
        return change

    def _prepare_all(self) -> None:
        while True:
            self._prepare(self._line.preparations.get())

    def _prepare(self, command: Prepare) -> None:
        world = self._worlds.get(command.world)
        if world is None:
            return
        try:
            world.prepare(command.event)
        except Exception:  # the chunk that needs the event tries again, and says so if it fails too
            logger.exception("preparing an event failed world=%s", command.world)

    def _forget(self, name: str) -> None:
        self._worlds.pop(name, None)
        self._told.pop(name, None)


def _parts(frame: FrameData) -> Iterator[tuple[str, Any]]:
    """The arrays of a frame that are there, by name."""
    for name in _PARTS:
        array = getattr(frame, name)
        if array is not None:
            yield name, array
