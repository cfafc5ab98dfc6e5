"""Which frames are used for what: some are held out to measure on, and of the rest those that show something new."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keepworld.capture import CapturedFrame
from keepworld.errors import ExportError

MIN_SHIFT = 8.0  # pixels the picture has to move before a frame counts as new


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Frames by use: `used` make the scene, `heldout` are never looked at until the report measures on them."""

    used: tuple[CapturedFrame, ...]
    heldout: tuple[CapturedFrame, ...]


def select(frames: Sequence[CapturedFrame], *, holdout: int, typical_depth: float) -> Selection:
    """Hold out every `holdout`-th frame (0: none), and thin out frames of a camera that hardly moved.

    Args:
        frames: in order.
        holdout: 0, or at least 2.
        typical_depth: of what is seen, the capture's units; from it follows how far a step moves the picture.

    Raises:
        ExportError: there are no frames.
    """
    if not frames:
        raise ExportError("the capture holds no whole chunk yet: there is nothing to export")
    if holdout and holdout < 2:
        raise ValueError(f"holdout must be 0 or at least 2, got {holdout}")
    held = set(range(holdout // 2, len(frames), holdout)) if holdout else set()
    used: list[CapturedFrame] = []
    for number, frame in enumerate(frames):
        if number not in held and (not used or picture_shift(used[-1], frame, typical_depth) >= MIN_SHIFT):
            used.append(frame)
    return Selection(used=tuple(used), heldout=tuple(frames[number] for number in sorted(held)))


def picture_shift(before: CapturedFrame, after: CapturedFrame, typical_depth: float) -> float:
    """About how many pixels the picture moves from one frame to another."""
    turn = before.camera.c2w[:3, :3].T @ after.camera.c2w[:3, :3]
    angle = math.acos(max(-1.0, min(1.0, (float(np.trace(turn)) - 1) / 2)))
    step = float(np.linalg.norm(after.camera.centre - before.camera.centre)) / typical_depth
    return float(before.camera.K[0, 0]) * (angle + step)


def evenly(frames: Sequence[CapturedFrame], count: int) -> list[CapturedFrame]:
    """At most `count` of the frames, spread evenly, in order."""
    if len(frames) <= count:
        return list(frames)
    return [frames[round((k + 0.5) * len(frames) / count - 0.5)] for k in range(count)]
