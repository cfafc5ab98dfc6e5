"""A worker process: loads the families, opens worlds, draws their chunks one after another.

Three threads: one listens for commands, one says that it is alive, the main one draws. When the server goes, however it
goes, so does the worker: its command pipe ends, and the kernel sends SIGKILL.
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
    line = Line(commands, answers)
    line.start()
    models = {name: import_family(module).load(num_threads=setup.num_threads) for name, module in setup.modules.items()}
    line.say(Ready())
    Worker(models, arena, line).run()


def _die_with_parent() -> None:
    """Leave signals to the server, end with it, and keep stdout for what the server says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C and service managers signal whole process groups
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(2, 1)


class Line:
    """The worker's end of the pipes: commands in, answers out, and a sign of life."""

    def __init__(self, commands: Connection, answers: Connection) -> None:
        self._commands = commands
        self._answers = answers
        self._speaking = threading.Lock()
        self._free_slots = threading.Semaphore(SLOTS)
        self.work: queue.SimpleQueue[Open | Draw | Close] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin to listen, and to say that this process is alive."""
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._stay_alive, daemon=True).start()

    def say(self, answer: Answer | Alive) -> None:
        """Tell the server; if it is gone, end."""
        try:
            with self._speaking:
                self._answers.send(answer)
        except OSError:
            os._exit(0)

    def wait_for_slot(self) -> None:
        """Wait until a slot of the arena is free. They become free in the order they were taken."""
        self._free_slots.acquire()

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

    def _stay_alive(self) -> None:
        while True:
            time.sleep(_ALIVE_EVERY_S)
            self.say(Alive())


class Worker:
    """Draws for the worlds that it holds."""

    def __init__(self, models: Mapping[str, Model], arena: Arena, line: Line) -> None:
        self._models = models
        self._arena = arena
        self._line = line
        self._worlds: dict[str, World] = {}
        self._slot = 0

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
                self._hand_over(command.call, frame, drawn_s)

    def _hand_over(self, call: int, frame: FrameData, drawn_s: float) -> None:
        parts = dict(_parts(frame))
        self._line.wait_for_slot()
        layout = self._arena.write(self._slot, tuple(parts.values()))
        self._line.say(Drawn(call, self._slot, layout, tuple(parts), frame.index, frame.c2w, frame.K, drawn_s))
        self._slot = (self._slot + 1) % SLOTS


def _parts(frame: FrameData) -> Iterator[tuple[str, Any]]:
    """The arrays of a frame that are there, by name."""
    for name in _PARTS:
        array = getattr(frame, name)
        if array is not None:
            yield name, array
