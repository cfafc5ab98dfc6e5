"""Threads that share work in the order of its steps: what is left of an earlier step is done before anything of a later one.

A picture is made in steps, each in parts that may be done side by side, each step after the whole of the one before. Whoever
has no part left to take waits, unless the next picture has been asked for: then that is begun in the meantime.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from queue import PriorityQueue

Part = Callable[[], None]
Steps = Sequence[Sequence[Part]]
_Entry = tuple[float, int, "_Job | None", Part | None]


class Crew:
    """Some threads, for as long as this object lives.

    Args:
        num_threads: how many.
    """

    def __init__(self, num_threads: int) -> None:
        self._entries: PriorityQueue[_Entry] = PriorityQueue()
        self._numbers = itertools.count()
        for _ in range(num_threads):
            threading.Thread(target=_work, args=(self._entries,), name="crew", daemon=True).start()
        weakref.finalize(self, _dismiss, self._entries, num_threads).atexit = False

    def begin(self, steps: Steps) -> Callable[[], None]:
        """Have steps done, after those of every earlier call.

        Returns:
            Waits until they are, and raises what a part raised, after which no further step was begun.
        """
        return _Job(steps, self._entries, self._numbers).wait


class _Job:
    """Steps, of which the next is given out by whoever ends the last part of the one before."""

    def __init__(self, steps: Steps, entries: PriorityQueue[_Entry], numbers: Iterator[int]) -> None:
        self._steps = iter(steps)
        self._entries, self._numbers, self._rank = entries, numbers, next(numbers)
        self._left = 0
        self._counting = threading.Lock()
        self._error: BaseException | None = None
        self._is_done = threading.Event()
        self._give_out()

    def wait(self) -> None:
        self._is_done.wait()
        if self._error is not None:
            raise self._error

    def do(self, part: Part) -> None:
        try:
            part()
        except BaseException as error:  # raised where it is waited for
            self._error = error
        with self._counting:
            self._left -= 1
            is_last = not self._left
        if is_last:
            self._give_out()

    def _give_out(self) -> None:
        parts = () if self._error else next(self._steps, ())
        if not parts:
            self._is_done.set()
            return
        self._left = len(parts)
        for part in parts:
            self._entries.put((self._rank, next(self._numbers), self, part))


def _work(entries: PriorityQueue[_Entry]) -> None:
    while True:
        _, _, job, part = entries.get()
        if job is None or part is None:
            return
        job.do(part)
        del job, part  # or the last picture would be held until the next comes


def _dismiss(entries: PriorityQueue[_Entry], num_threads: int) -> None:
    for number in range(num_threads):
        entries.put((float("inf"), number, None, None))
