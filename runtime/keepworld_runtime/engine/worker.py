"""A worker process: loads the families, opens worlds, draws their chunks one after another.

The main thread draws; others listen for commands, send frames while the next is drawn, and say that the process is alive.
When the server goes, however it goes, so does the worker: its command pipe ends, and the kernel sends SIGKILL.
"""

from __future__ import annotations

import ctypes
import importlib
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

from keepworld_runtime.engine.arena import SLOTS, Arena
from keepworld_runtime.engine.messages import (
    Alive,
    Answer,
    Close,
    Command,
    Draw,
    Drawn,
    Failed,
    Finished,
    Open,
    Opened,
    Ready,
    Release,
)
from keepworld_runtime.families.family import Family, FrameData, Model, World

logger = logging.getLogger(__name__)

_ALIVE_EVERY_S = 0.5
_PR_SET_PDEATHSIG = 1
_PARTS = ("image", "depth", "labels", "confidence")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSetup:
    """What a worker is started with.

    Attributes:
        modules: name of each family -> the module whose `FAMILY` it is.
        num_threads: how many threads a family may draw with.
        slot_bytes: how much memory one frame can take.
        log_level: of this process's log, which goes to stderr.
    """

    modules: Mapping[str, str]
    num_threads: int
    slot_bytes: int
    log_level: str


def import_family(module: str) -> Family:
    """Import a family by its module."""
    family: Family = importlib.import_module(module).FAMILY
    return family


def main(setup: WorkerSetup, commands: Connection, answers: Connection, arena: Arena) -> None:
    """Run a worker until its command pipe ends."""
    _die_with_parent()
    logging.basicConfig(level=setup.log_level, format="%(asctime)s %(levelname)s worker %(name)s %(message)s")
    line = Line(commands, answers, arena)
    line.start()
    models = {name: import_family(module).load(num_threads=setup.num_threads) for name, module in setup.modules.items()}
    line.say(Ready())
    Worker(models, line).run()


def _die_with_parent() -> None:
    """Leave signals to the server, end with it, and keep stdout for what the server says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C and service managers signal whole process groups
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(2, 1)


@dataclass(frozen=True, slots=True)
class _Handover:
    """A drawn frame on its way to the arena; from here on its arrays are left alone."""

    call: int
    frame: FrameData
    drawn_s: float


class Line:
    """The worker's end of the pipes: commands in, answers and frames out, and a sign of life."""

    def __init__(self, commands: Connection, answers: Connection, arena: Arena) -> None:
        self._commands = commands
        self._answers = answers
        self._arena = arena
        self._slot = 0
        self._speaking = threading.Lock()
        self._free_slots = threading.Semaphore(SLOTS)
        self._outgoing: queue.Queue[Answer | _Handover] = queue.Queue(maxsize=SLOTS)
        self.work: queue.SimpleQueue[Open | Draw | Close] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin to listen, to speak, and to say that this process is alive."""
        for act in (self._listen, self._speak, self._stay_alive):
            threading.Thread(target=act, daemon=True).start()

    def say(self, answer: Answer) -> None:
        """Tell the server, after everything that was said before."""
        self._outgoing.put(answer)

    def give(self, call: int, frame: FrameData, drawn_s: float) -> None:
        """Send a frame while the next is drawn; waits only when the server is far behind."""
        self._outgoing.put(_Handover(call, frame, drawn_s))

    def _listen(self) -> None:
        try:
            while True:
                command: Command = self._commands.recv()
                if isinstance(command, Release):
                    self._free_slots.release()
                else:
                    self.work.put(command)
        except (EOFError, OSError):
            os._exit(0)

    def _speak(self) -> None:
        while True:
            answer = self._outgoing.get()
            self._send(self._stored(answer) if isinstance(answer, _Handover) else answer)

    def _stay_alive(self) -> None:
        while True:
            time.sleep(_ALIVE_EVERY_S)
            self._send(Alive())

    def _stored(self, given: _Handover) -> Drawn | Failed:
        """Copy a frame into the next slot; slots become free in the order they were taken."""
        frame, parts = given.frame, dict(_parts(given.frame))
        self._free_slots.acquire()
        try:
            layout = self._arena.write(self._slot, tuple(parts.values()))
        except ValueError as error:
            return Failed(given.call, str(error))
        drawn = Drawn(given.call, self._slot, layout, tuple(parts), frame.index, frame.c2w, frame.K, given.drawn_s)
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

    def __init__(self, models: Mapping[str, Model], line: Line) -> None:
        self._models = models
        self._line = line
        self._worlds: dict[str, World] = {}

    def run(self) -> None:
        """Do as commanded, for ever."""
        while True:
            command = self._line.work.get()
            if isinstance(command, Close):
                self._worlds.pop(command.world, None)
                continue
            try:
                self._line.say(self._open(command) if isinstance(command, Open) else self._draw(command))
            except Exception as error:  # the family's own; the server decides what becomes of the session
                logger.exception("world %s failed", command.world)
                self._worlds.pop(command.world, None)
                self._line.say(Failed(command.call, f"{type(error).__name__}: {error}"))

    def _open(self, command: Open) -> Opened:
        world = self._models[command.family].open(command.spec)
        if command.state is not None:
            world.restore(command.state)
        self._worlds[command.world] = world
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
                return Finished(command.call, world.state(), draw_s)
            if frame.index >= command.skip:
                self._line.give(command.call, frame, drawn_s)


def _parts(frame: FrameData) -> Iterator[tuple[str, Any]]:
    """The arrays of a frame that are there, by name."""
    for name in _PARTS:
        array = getattr(frame, name)
        if array is not None:
            yield name, array
