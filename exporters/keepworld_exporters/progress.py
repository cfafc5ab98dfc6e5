"""How far an export has got, told to whoever asked: nobody, a terminal, or a program."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from keepworld_exporters import memory

INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an export is: `share` of all the work in [0, 1], `left_s` seconds to go, None while that is a guess.

    `memory_bytes` is what the process holds at that moment.
    """

    stage: str
    share: float
    left_s: float | None
    memory_bytes: int


class Clock:
    """Goes through the stages of an export, timing each and telling how far along the whole is.

    Args:
        weights: stage -> about how long it takes compared to the others, in the order they come.
        tell: called at most every `INTERVAL_S`, and at the beginning and end of each stage.
        after: a clock of what was done before, whose figures stand before this one's.

    Attributes:
        seconds: what each stage took.
        processor_s: of processors' time, also of processes begun in it; another program beside this one hardly changes it.
        peak_bytes: the most memory the process held in each.
    """

    def __init__(
        self, weights: Mapping[str, float], tell: Callable[[Progress], None], *, after: Clock | None = None
    ) -> None:
        self.seconds: dict[str, float] = dict(after.seconds) if after else {}
        self.processor_s: dict[str, float] = dict(after.processor_s) if after else {}
        self.peak_bytes: dict[str, int] = dict(after.peak_bytes) if after else {}
        self._weights, self._tell = weights, tell
        self._done, self._began, self._told = 0.0, time.monotonic(), 0.0

    @contextmanager
    def stage(self, name: str, steps: int = 1) -> Iterator[Callable[[], None]]:
        """Time a stage; what comes back is to be called after each of its `steps`."""
        began, worked, count = time.monotonic(), _worked_s(), 0
        memory.give_back()
        memory.forget_peak()
        self._report(name, 0.0, always=True)

        def step() -> None:
            nonlocal count
            count += 1
            self._report(name, min(1.0, count / max(1, steps)))

        yield step
        self._done += self._weights[name]
        self.seconds[name] = time.monotonic() - began
        self.processor_s[name] = _worked_s() - worked
        self.peak_bytes[name] = memory.peak()
        self._report(name, 0.0, always=True)

    def taken(self) -> dict[str, dict[str, float]]:
        """What the stages have taken so far, as a report has it."""
        return {
            "seconds": {name: round(seconds, 2) for name, seconds in self.seconds.items()},
            "processor_s": {name: round(seconds, 2) for name, seconds in self.processor_s.items()},
            "peak_bytes": dict(self.peak_bytes),
        }

    def _report(self, stage: str, part: float, *, always: bool = False) -> None:
        now = time.monotonic()
        if not always and now - self._told < INTERVAL_S:
            return
        self._told = now
        share = min(1.0, (self._done + part * self._weights.get(stage, 0.0)) / sum(self._weights.values()))
        elapsed = now - self._began
        left_s = elapsed * (1 - share) / share if share > 0.05 else None
        self._tell(Progress(stage=stage, share=share, left_s=left_s, memory_bytes=memory.resident()))


def _worked_s() -> float:
    """Processors' time so far: this process's, and that of those it began which have ended."""
    return sum(os.times()[:4])


def told_s(seconds: float) -> str:
    """A time in words that are as exact as a guess can be."""
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )


def bar(stream: TextIO) -> Callable[[Progress], None]:
    """Draw progress as a bar on a terminal's one line."""

    def tell(progress: Progress) -> None:
        filled = int(28 * progress.share)
        left = "" if progress.left_s is None else f"  {told_s(progress.left_s)} left"
        left += f"  {progress.memory_bytes / 1e9:.1f} GB" if progress.memory_bytes else ""
        line = f"\r{'█' * filled}{'░' * (28 - filled)} {100 * progress.share:3.0f} %  {progress.stage}{left}"
        stream.write(f"{line:<84}"[:120])
        if progress.share >= 1:
            stream.write("\n")
        stream.flush()

    return tell


def json_lines(stream: TextIO) -> Callable[[Progress], None]:
    """Write progress as one JSON object a line: `stage`, `share`, `left_s` and `memory_bytes`, as `Progress` has them."""

    def tell(progress: Progress) -> None:
        line = {
            "stage": progress.stage,
            "share": round(progress.share, 4),
            "left_s": None if progress.left_s is None else round(progress.left_s, 1),
            "memory_bytes": progress.memory_bytes,
        }
        stream.write(json.dumps(line) + "\n")
        stream.flush()

    return tell
