"""Which frames are used for what: some are held out to measure on, and of the rest those that show something new, sharply."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keepworld.camera import PoseSource
from keepworld.capture import CapturedFrame
from keepworld.errors import ExportError

from keepworld_exporters.stages.sharpness import sharpness

MIN_SHIFT = 8.0  # pixels the picture has to move before a frame counts as new
SHARPER = 1.1  # how much sharper than the first of frames that show the same another must be to be taken for it
BLURRED = 0.6  # of its neighbours' sharpness: below, a frame is left out where they show what it shows
NEIGHBOURS = 3  # on each side, that a frame's sharpness is compared with
SAME_VIEW = (
    0.25  # of the picture's width: how far it may move between two frames for what is between to be seen in them
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Frames by use: `used` make the scene, `heldout` are never looked at until the report measures on them."""

    used: tuple[CapturedFrame, ...]
    heldout: tuple[CapturedFrame, ...]


def select(
    frames: Sequence[CapturedFrame], *, holdout: int, typical_depth: float, first: int | None = None
) -> Selection:
    """Hold out every `holdout`-th frame (0: none), and of the rest use those that show something new, the sharpest of each view.

    Args:
        frames: in order.
        holdout: 0, or at least 2.
        typical_depth: of what is seen, the capture's units; from it follows how far a step moves the picture.
        first: which is held out first; None for one in the middle of the first `holdout`.

    Raises:
        ExportError: there are no frames.
    """
    if not frames:
        raise ExportError("the capture holds no whole chunk yet: there is nothing to export")
    if holdout and holdout < 2:
        raise ValueError(f"holdout must be 0 or at least 2, got {holdout}")
    held = set(range(holdout // 2 if first is None else first, len(frames), holdout)) if holdout else set()
    free = [frame for number, frame in enumerate(frames) if number not in held]
    used = _without_blurred([_sharpest(group) for group in _views(free, typical_depth)], typical_depth)
    return Selection(used=tuple(used), heldout=tuple(frames[number] for number in sorted(held)))


def _views(frames: Sequence[CapturedFrame], typical_depth: float) -> list[list[CapturedFrame]]:
    """Frames in order, gathered by what they show: a group's all move the picture by less than `MIN_SHIFT` from its first."""
    groups: list[list[CapturedFrame]] = []
    for frame in frames:
        if groups and picture_shift(groups[-1][0], frame, typical_depth) < MIN_SHIFT:
            groups[-1].append(frame)
        else:
            groups.append([frame])
    return groups


def _sharpest(group: Sequence[CapturedFrame]) -> CapturedFrame:
    """The frame of a group to use: its first, unless another is clearly sharper. Frames that were drawn are all sharp."""
    if len(group) == 1 or group[0].camera.source is PoseSource.RENDERED:
        return group[0]
    scores = [sharpness(frame.image()) for frame in group]
    best = int(np.argmax(scores))
    return group[best] if scores[best] > SHARPER * scores[0] else group[0]


def _without_blurred(frames: list[CapturedFrame], typical_depth: float) -> list[CapturedFrame]:
    """Leave out frames much less sharp than those before and after them, where these show what they show."""
    if len(frames) < 3 or frames[0].camera.source is PoseSource.RENDERED:
        return frames
    scores = np.array([sharpness(frame.image()) for frame in frames])
    kept = [frames[0]]
    for number in range(1, len(frames) - 1):
        about = np.r_[scores[max(0, number - NEIGHBOURS) : number], scores[number + 1 : number + 1 + NEIGHBOURS]]
        gap = picture_shift(kept[-1], frames[number + 1], typical_depth)
        if scores[number] >= BLURRED * np.median(about) or gap > SAME_VIEW * frames[number].camera.width:
            kept.append(frames[number])
    return [*kept, frames[-1]]


def cover(frames: Sequence[CapturedFrame], count: int, *, typical_depth: float) -> list[CapturedFrame]:
    """At most `count` of the frames, in order, such that no frame is far from what the nearest of them shows.

    A way that is gone twice is not looked at twice, as `evenly` would. Source: the farthest-first rule for k centres
    (Gonzalez 1985), which is within twice the best; the first frame begins.
    """
    if len(frames) <= count:
        return list(frames)

    def apart(chosen: CapturedFrame) -> np.ndarray:
        return np.array([picture_shift(chosen, frame, typical_depth) for frame in frames])

    taken, nearest = [0], apart(frames[0])
    while len(taken) < count:
        taken.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, apart(frames[taken[-1]]))
    return [frames[number] for number in sorted(taken)]


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
