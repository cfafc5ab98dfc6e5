"""A gamepad, as Linux gives it: nothing to install.

Source of the numbers: the kernel's Documentation/input/gamepad.rst and joydev/joystick-api.rst.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import math
import os
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from keepworld.motion import MAX_SPEED, Control

DEVICES = Path("/dev/input")
_AGAIN_S = 0.5  # between attempts to find a pad again that was unplugged
_EVENT = struct.Struct("IhBB")  # milliseconds, value, kind, number
_BUTTON, _AXIS, _IS_INITIAL = 1, 2, 0x80
_FULL = 32767
# What the kernel calls the parts of a pad, whichever maker's.
_LEFT_X, _LEFT_Y, _LEFT_TRIGGER, _RIGHT_X, _RIGHT_Y, _RIGHT_TRIGGER = range(6)
_SHOULDER_RIGHT, _START = 0x137, 0x13B
# Which of them a number means, if the device does not say: as on an Xbox pad.
_USUAL_AXES = (0, 1, 2, 3, 4, 5, 0x10, 0x11)
_USUAL_BUTTONS = (0x130, 0x131, 0x133, 0x134, 0x136, 0x137, 0x13A, 0x13B, 0x13C, 0x13D, 0x13E)
_GET_AXES, _GET_BUTTONS = 0x80406A32, 0x84006A34


class Gamepad:
    """A gamepad: the left stick walks, the right one looks, the right shoulder button runs, Start ends the walk.

    A pad that is unplugged counts as let go; it is found again when it comes back.

    Args:
        deadzone: how far a stick may be from its middle and still count as let go, [0, 1).
        flies: whether the triggers go down (left) and up (right), for modes that can.
        run_speed: how much faster running is.
        device: such as "/dev/input/js1"; None: the first there is.

    Raises:
        ValueError: an argument is out of its range.
        OSError: there is no gamepad, or it may not be read.
    """

    def __init__(
        self, *, deadzone: float = 0.1, flies: bool = False, run_speed: float = 2.0, device: str | Path | None = None
    ) -> None:
        if not 0 <= deadzone < 1:
            raise ValueError(f"deadzone must be in [0, 1), got {deadzone}")
        if not 0 < run_speed <= MAX_SPEED:
            raise ValueError(f"run_speed must be in (0, {MAX_SPEED:g}], got {run_speed}")
        self._deadzone = deadzone
        self._flies = flies
        self._run_speed = run_speed
        self._device = Path(device) if device is not None else _first_device()
        self._clock: Callable[[], float] = time.monotonic
        self._try_after_s = 0.0
        self._is_over = False
        self._fileno: int | None = None
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> Control | None:
        """What hands do now; None once Start has been pressed, which ends the walk."""
        self._take_events()
        if self._buttons.get(_START):
            self._is_over = True
        if self._is_over:
            return None
        right, back = self._stick(_LEFT_X, _LEFT_Y)
        yaw, down = self._stick(_RIGHT_X, _RIGHT_Y)
        sinks = self._trigger(_LEFT_TRIGGER) - self._trigger(_RIGHT_TRIGGER) if self._flies else 0.0
        runs = self._buttons.get(_SHOULDER_RIGHT, False) and (right, back, sinks) != (0, 0, 0)
        return Control(move=(right, sinks, -back), turn=(yaw, -down, 0.0), speed=self._run_speed if runs else 1.0)

    def close(self) -> None:
        """Let go of the device."""
        if self._fileno is not None:
            os.close(self._fileno)
            self._fileno = None

    def _open(self) -> None:
        self._axes: dict[int, float] = {}
        self._buttons: dict[int, bool] = {}
        self._fileno = fileno = os.open(self._device, os.O_RDONLY | os.O_NONBLOCK)
        self._axis_names = _names(fileno, _GET_AXES, "B", 0x40) or _USUAL_AXES
        self._button_names = _names(fileno, _GET_BUTTONS, "H", 0x200) or _USUAL_BUTTONS

    def _take_events(self) -> None:
        if self._fileno is None:
            if self._clock() < self._try_after_s:
                return
            self._try_after_s = self._clock() + _AGAIN_S
            with contextlib.suppress(OSError):
                self._open()
            return
        try:
            while data := os.read(self._fileno, 64 * _EVENT.size):
                for _, value, kind, number in _EVENT.iter_unpack(data[: len(data) // _EVENT.size * _EVENT.size]):
                    self._note(value, kind & ~_IS_INITIAL, number)
        except BlockingIOError:
            pass  # that was all
        except OSError:  # unplugged
            self.close()
            self._axes, self._buttons = {}, {}

    def _note(self, value: int, kind: int, number: int) -> None:
        if kind == _AXIS and number < len(self._axis_names):
            self._axes[self._axis_names[number]] = max(-1.0, value / _FULL)
        elif kind == _BUTTON and number < len(self._button_names):
            self._buttons[self._button_names[number]] = bool(value)

    def _stick(self, x_name: int, y_name: int) -> tuple[float, float]:
        """A stick's place in the unit circle: 0 within the dead zone, from there on growing to 1."""
        x, y = self._axes.get(x_name, 0.0), self._axes.get(y_name, 0.0)
        length = math.hypot(x, y)
        if length <= self._deadzone:
            return 0.0, 0.0
        wanted = min(1.0, (length - self._deadzone) / (1 - self._deadzone))
        return x / length * wanted, y / length * wanted

    def _trigger(self, name: int) -> float:
        """How far a trigger is pulled, 0 to 1: at rest it is at -1."""
        pulled = (self._axes.get(name, -1.0) + 1) / 2
        return 0.0 if pulled <= self._deadzone else pulled


def _first_device() -> Path:
    devices = sorted(DEVICES.glob("js*"), key=lambda path: (len(path.name), path.name))
    if not devices:
        raise OSError(
            f"no gamepad: there is no {DEVICES}/js*; plug one in, or use Keyboard, Script or a function instead"
        )
    return devices[0]


def _names(fileno: int, request: int, kind: str, count: int) -> Sequence[int]:
    """What the device's driver says that its numbers mean; empty if it does not."""
    names = array.array(kind, [0] * count)
    try:
        fcntl.ioctl(fileno, request, names)
    except OSError:
        return ()
    return tuple(names)
