"""What steers a session: the walk that is queued, and what hands do now. Read at a chunk's start, not before."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keepworld.motion import NEUTRAL, Control, Segment
from numpy.typing import NDArray

from keepworld_runtime.engine.errors import QueueFullError

Pose = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Touch:
    """A live control as it arrived: `at_s` on this machine's clock, `client_time_us` on the sender's."""

    control: Control
    client_time_us: int
    at_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Steering:
    """What steers one chunk.

    Attributes:
        controls: one a frame.
        poses: one a frame: c2w [4, 4] to be at, or None where the control steers.
        touch: the live control that steers for the first time here; None if there is no new one.
    """

    controls: tuple[Control, ...]
    poses: tuple[Pose | None, ...]
    touch: Touch | None


class ControlTrack:
    """Queued frames first; where they end, the live control, for as long as its dead-man time.

    Args:
        dead_man_s: after this without a live control the camera stands still.
        max_queued: how many frames may be queued.
    """

    def __init__(self, *, dead_man_s: float, max_queued: int) -> None:
        self._dead_man_s = dead_man_s
        self._max_queued = max_queued
        self._queue: deque[Segment | Pose] = deque()
        self._touch: Touch | None = None
        self._touch_is_new = False
        self.queued = 0

    def touch(self, control: Control, client_time_us: int, at_s: float) -> None:
        """Steer live from the next chunk on. Of several between two chunks the last counts."""
        self._touch = Touch(control=control, client_time_us=client_time_us, at_s=at_s)
        self._touch_is_new = True

    def queue_segments(self, segments: Sequence[Segment]) -> int:
        """Queue a scripted walk; gives how many frames were queued before it."""
        return self._queue_all(segments, sum(segment.frames for segment in segments))

    def queue_poses(self, poses: Sequence[Pose]) -> int:
        """Queue cameras, one a frame; gives how many frames were queued before them."""
        return self._queue_all(poses, len(poses))

    def clear(self) -> None:
        """Forget everything."""
        self._queue.clear()
        self.queued = 0
        self._touch = None

    @property
    def opening_frames(self) -> int:
        """How many frames a world shows before the first control moves it: one, where it begins, or none on a path."""
        return 0 if self._queue and not isinstance(self._queue[0], Segment) else 1

    def sample(self, num_frames: int, now_s: float, *, live: bool = True, opens: bool = False) -> Steering:
        """Take what steers the next `num_frames`.

        Args:
            num_frames: how many.
            now_s: the time, for the dead-man rule.
            live: whether hands steer where nothing is queued; else the camera stands still.
            opens: whether these are a world's first frames, so that `opening_frames` of them use no control up.
        """
        still = self.opening_frames if opens else 0
        controls: list[Control] = [NEUTRAL] * still
        poses: list[Pose | None] = [None] * still
        while self._queue and len(controls) < num_frames:
            head = self._queue.popleft()
            if isinstance(head, Segment):
                used = min(head.frames, num_frames - len(controls))
                controls += [head.control] * used
                poses += [None] * used
                if used < head.frames:
                    self._queue.appendleft(Segment(head.control, head.frames - used))
            else:
                controls.append(NEUTRAL)
                poses.append(head)
        self.queued -= len(controls) - still
        rest = num_frames - len(controls)
        held, touch = self._held(now_s) if live and rest else (NEUTRAL, None)
        return Steering(
            controls=(*controls, *[held] * rest),
            poses=(*poses, *[None] * rest),
            touch=touch,
        )

    def _held(self, now_s: float) -> tuple[Control, Touch | None]:
        """The control that hands hold, and the touch it came by if it has not steered before."""
        if self._touch is None:
            return NEUTRAL, None
        new, self._touch_is_new = self._touch_is_new, False
        if now_s - self._touch.at_s > self._dead_man_s:
            self._touch = None
            return NEUTRAL, None
        return self._touch.control, self._touch if new else None

    def _queue_all(self, items: Sequence[Segment] | Sequence[Pose], num_frames: int) -> int:
        before = self.queued
        if before + num_frames > self._max_queued:
            raise QueueFullError(
                f"{before} frames are queued and {num_frames} more would pass the limit of {self._max_queued}",
                queued=str(before),
                limit=str(self._max_queued),
            )
        self._queue.extend(items)
        self.queued = before + num_frames
        return before
