"""How fast a session's chunks are made, and when the next may begin."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PaceMode(StrEnum):
    """In every pace nothing is dropped, and a slow reader slows only itself."""

    REALTIME = "realtime"  # by the clock, at the family's frames a second
    AS_FAST_AS_POSSIBLE = "as fast as possible"
    PAUSE_ON_SLOW_READER = "pause on slow reader"  # every chunk but the last must have been acknowledged


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """A pace; with `only_scripted` a chunk is made only while scripted steps or cameras are queued."""

    mode: PaceMode
    only_scripted: bool = False

    @property
    def is_realtime(self) -> bool:
        """Whether chunks are due by the clock."""
        return self.mode is PaceMode.REALTIME


class PlayoutClock:
    """When the next frame of a realtime session must be shown.

    A frame that came late was shown late, and all after it follow from there: lost time is not made up for by a burst.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self.next_s = 0.0

    def restart(self, now_s: float) -> None:
        """Want the next frame now."""
        self.next_s = now_s

    def show_chunk(self, first_ready_s: float, num_frames: int) -> None:
        """Count a chunk whose first frame was there at `first_ready_s`."""
        self.next_s = max(self.next_s, first_ready_s) + num_frames / self._fps
