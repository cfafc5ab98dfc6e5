"""How far an export has got, told to whoever asked: nobody, a terminal, or a program."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an export is: `share` of all the work in [0, 1], `left_s` seconds to go, None while that is a guess."""

    stage: str
    share: float
    left_s: float | None


class Clock:
    """Goes through the stages of an export, timing each and telling how far along the whole is.

    Args:
        weights: stage -> about how long it takes compared to the others, in the order they come.
        tell: called at most every `INTERVAL_S`, and at the beginning and end of each stage.
    """

    def __init__(self, weights: Mapping[str, float], tell: Callable[[Progress], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._weights, self._tell = weights, tell
        self._done, self._began, self._told = 0.0, time.monotonic(), 0.0

    @contextmanager
    def stage(self, name: str, steps: int = 1) -> Iterator[Callable[[], None]]:
        """Time a stage; what comes back is to be called after each of its `steps`."""
        began, count = time.monotonic(), 0
        self._report(name, 0.0, always=True)

        def step() -> None:
            nonlocal count
            count += 1
            self._report(name, min(1.0, count / max(1, steps)))

        yield step
        self._done += self._weights[name]
        self.seconds[name] = time.monotonic() - began
        self._report(name, 0.0, always=True)

    def _report(self, stage: str, part: float, *, always: bool = False) -> None:
        now = time.monotonic()
        if not always and now - self._told < INTERVAL_S:
            return
        self._told = now
        share = min(1.0, (self._done + part * self._weights.get(stage, 0.0)) / sum(self._weights.values()))
        elapsed = now - self._began
        self._tell(Progress(stage, share, elapsed * (1 - share) / share if share > 0.05 else None))


def bar(stream: TextIO) -> Callable[[Progress], None]:
    """Draw progress as a bar on a terminal's one line."""

    def tell(progress: Progress) -> None:
        filled = int(28 * progress.share)
        left = "" if progress.left_s is None else f"  {progress.left_s:3.0f} s left"
        line = f"\r{'█' * filled}{'░' * (28 - filled)} {100 * progress.share:3.0f} %  {progress.stage}{left}"
        stream.write(f"{line:<76}"[:120])
        if progress.share >= 1:
            stream.write("\n")
        stream.flush()

    return tell


def json_lines(stream: TextIO) -> Callable[[Progress], None]:
    """Write progress as one JSON object a line."""

    def tell(progress: Progress) -> None:
        line = {
            "stage": progress.stage,
            "share": round(progress.share, 4),
            "left_s": None if progress.left_s is None else round(progress.left_s, 1),
        }
        stream.write(json.dumps(line) + "\n")
        stream.flush()

    return tell
