"""What the hands on the page do: the newest control it sent, and which of them the server was steered by."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from keepworld.frames import Chunk
from keepworld.motion import MOVE_AXES, NEUTRAL, TURN_AXES, Control, Vector

SILENCE_S = 1.0  # a page that holds a key says so four times a second
_REMEMBERED = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Steered:
    """That a control of the page steered a frame.

    Attributes:
        serial: the page's number of the control.
        frame: the first frame it steered.
        handed_s: when it was handed to the SDK.
        drawn_s, sent_s: when that frame was drawn and sent. Meant for a server on this machine, whose clock is ours.
    """

    serial: int
    frame: int
    handed_s: float
    drawn_s: float
    sent_s: float

    def told(self) -> dict[str, object]:
        """For the page, times in milliseconds."""
        times = {"handed": self.handed_s, "drawn": self.drawn_s, "sent": self.sent_s}
        return {"serial": self.serial, "frame": self.frame, **{name: at_s * 1000 for name, at_s in times.items()}}


@dataclass(frozen=True, slots=True)
class _Handed:
    serial: int
    control: Control
    at_s: float


class Hands:
    """An input for `Session.live`: what the page holds, less what the way of moving does not honour.

    Args:
        axes: what is honoured.
        clock: seconds.
    """

    def __init__(self, axes: Collection[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._axes = frozenset(axes)
        self._clock = clock
        self._control, self._serial, self._held_s = NEUTRAL, 0, 0.0
        self._handed: deque[_Handed] = deque(maxlen=_REMEMBERED)
        self._told = 0
        self._has_news = asyncio.Event()

    def hold(self, control: Control, serial: int) -> None:
        """Take what the page holds now."""
        self._control, self._serial, self._held_s = self._honoured(control), serial, self._clock()
        self._has_news.set()

    def let_go(self) -> None:
        """Hold nothing."""
        self._control = NEUTRAL
        self._has_news.set()

    async def changed(self) -> None:
        """Wait until the page holds something else."""
        await self._has_news.wait()

    def read(self) -> Control:
        """The control to hold; nothing if the page has fallen silent."""
        now_s = self._clock()
        self._has_news.clear()
        if now_s - self._held_s > SILENCE_S:
            self._control = NEUTRAL
        if not self._handed or self._handed[-1].serial != self._serial:
            self._handed.append(_Handed(self._serial, self._control, now_s))
        return self._control

    def steered(self, chunk: Chunk) -> Steered | None:
        """The newest control that a chunk was steered by, if it has not been told before."""
        held = chunk.controls[-1]
        first = next(frame for frame, control in zip(chunk.frames, chunk.controls, strict=True) if control == held)
        timing = first.timing
        if timing is None:
            return None
        for handed in reversed(self._handed):
            if handed.serial > self._told and handed.control == held and handed.at_s < timing.drawn_s:
                self._told = handed.serial
                return Steered(
                    serial=handed.serial,
                    frame=first.number,
                    handed_s=handed.at_s,
                    drawn_s=timing.drawn_s,
                    sent_s=timing.sent_s,
                )
        return None

    def _honoured(self, control: Control) -> Control:
        return Control(
            move=self._masked(control.move, MOVE_AXES),
            turn=self._masked(control.turn, TURN_AXES),
            speed=control.speed if "speed" in self._axes else 1.0,
        )

    def _masked(self, values: Vector, names: Sequence[str]) -> Vector:
        x, y, z = (value if name in self._axes else 0.0 for value, name in zip(values, names, strict=True))
        return (x, y, z)
