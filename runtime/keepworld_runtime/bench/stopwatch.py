"""The time that stages take, on a GPU or a CPU, without holding them up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


class Stopwatch:
    """Notes when stages begin and end: on a GPU by events in its stream, on a CPU by the clock.

    Args:
        device: that they run on.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spans: list[tuple[str, Callable[[], float]]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside; a name may come several times."""
        if self._device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            yield
            end.record()
            self._spans.append((name, lambda: begin.elapsed_time(end) / 1000))
        else:
            began = time.perf_counter()
            yield
            taken = time.perf_counter() - began
            self._spans.append((name, lambda: taken))

    def wrapped(self, name: str, function: Callable[P, T]) -> Callable[P, T]:
        """The same function, each call of it timed."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.stage(name):
                return function(*args, **kwargs)

        return timed

    def now(self) -> float:
        """Seconds, when all that was begun is done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def take(self) -> list[tuple[str, float]]:
        """Names and seconds of the stages since the last time, in order; waits until they are done."""
        self.now()
        spans, self._spans = self._spans, []
        return [(name, seconds()) for name, seconds in spans]
