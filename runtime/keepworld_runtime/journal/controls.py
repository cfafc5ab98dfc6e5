"""Controls, one a frame, as JSON has them: equal ones in a row once, with their number."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from keepworld.motion import Control


def encode(controls: Sequence[Control]) -> list[list[float]]:
    """A row for each run of equal ones."""
    runs = [(control, len(list(same))) for control, same in itertools.groupby(controls)]
    return [[frames, *c.move, *c.turn, c.speed, c.buttons] for c, frames in runs]


def decode(rows: Any, most: int) -> tuple[Control, ...]:
    """The controls of such rows, at most so many.

    Raises:
        ValueError: there are none, or more.
    """
    runs = [(int(frames), _control(values)) for frames, *values in rows]
    total = sum(frames for frames, _ in runs)
    if not 0 < total <= most or any(frames < 1 for frames, _ in runs):
        raise ValueError(f"there must be 1 to {most} frames, got {total}")
    return tuple(control for frames, control in runs for _ in range(frames))


def _control(values: Sequence[float]) -> Control:
    right, down, forward, yaw, pitch, roll, speed, buttons = values
    return Control(move=(right, down, forward), turn=(yaw, pitch, roll), speed=speed, buttons=int(buttons))
