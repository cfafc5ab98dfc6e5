"""Hands to controls: what `Session.stream` can be steered by.

An input is anything with ``read() -> Control | None``, or a function that gives one; it is asked fifty times a second and
must answer at once. None ends the walk. One that also has ``async changed()`` is asked as soon as that returns. A `Script` is
a walk known beforehand.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from keepworld.gamepad import Gamepad
from keepworld.motion import MAX_SCRIPT_FRAMES, MAX_SPEED, Control, Rates, Segment, Vector, parse

__all__ = ["Gamepad", "Input", "Keyboard", "Script", "reader"]

_MAX_FILE_BYTES = 16 * 2**20


class Input(Protocol):
    """Something that says what hands do now."""

    def read(self) -> Control | None:
        """The control to hold from now on, None to end the walk; must not wait."""
        ...


@runtime_checkable
class TellingInput(Input, Protocol):
    """An input that says when hands have done something, so that nothing waits until it is asked next."""

    async def changed(self) -> None:
        """Wait until there is something new to `read`."""
        ...


class Script:
    """A walk known beforehand, in words or from a file.

    Args:
        source: motion words, as in ``"forward 6s, look left 90deg"``, or the path of a ``.json`` file: the same words as a
            string, or a list of steps, each in words or as ``{"frames": 24, "move": [0, 0, 1], "turn": [0.5, 0, 0],
            "speed": 1, "buttons": 0}`` with ``"seconds"`` in place of ``"frames"`` if that is easier.

    Raises:
        ValueError: the file is not such a script.
        OSError: it cannot be read.
    """

    def __init__(self, source: str | Path) -> None:
        is_file = isinstance(source, Path) or source.strip().endswith(".json")
        self._steps: list[object] = _read_steps(Path(source)) if is_file else [source]

    def segments(self, *, rates: Rates, fps: float) -> list[Segment]:
        """The walk as controls held for a number of frames.

        Raises:
            ValueError: a step cannot be read, or the walk is empty or too long.
        """
        segments: list[Segment] = []
        for number, step in enumerate(self._steps, 1):
            if isinstance(step, str):
                segments += parse(step, rates=rates, fps=fps)
            else:
                segments.append(_read_step(step, number, fps))
        if not segments or sum(segment.frames for segment in segments) > MAX_SCRIPT_FRAMES:
            raise ValueError(f"a walk must have 1 to {MAX_SCRIPT_FRAMES} frames")
        return segments


class Keyboard:
    """The keys of a terminal: W A S D move, the arrows look, R and F go up and down, Q and E lean; Shift runs; Esc ends the
    walk.

    A terminal tells when a key is pressed and repeated but not when it is let go, so a key counts as held for `hold_s`
    after it was last seen. The terminal is taken at the first `read` and given back by `close` or at the program's end.

    Raises:
        OSError: standard input is not a terminal.
    """

    _KEYS: Mapping[str, tuple[Vector, Vector]] = {
        "w": ((0, 0, 1), (0, 0, 0)), "s": ((0, 0, -1), (0, 0, 0)),
        "a": ((-1, 0, 0), (0, 0, 0)), "d": ((1, 0, 0), (0, 0, 0)),
        "r": ((0, -1, 0), (0, 0, 0)), "f": ((0, 1, 0), (0, 0, 0)),
        "q": ((0, 0, 0), (0, 0, -1)), "e": ((0, 0, 0), (0, 0, 1)),
        "\x1b[A": ((0, 0, 0), (0, 1, 0)), "\x1b[B": ((0, 0, 0), (0, -1, 0)),
        "\x1b[C": ((0, 0, 0), (1, 0, 0)), "\x1b[D": ((0, 0, 0), (-1, 0, 0)),
    }  # fmt: skip

    def __init__(
        self, *, hold_s: float = 0.5, run_speed: float = 2.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not (0 < hold_s <= 2 and 0 < run_speed <= MAX_SPEED):
            raise ValueError(f"hold_s must be in (0, 2] and run_speed in (0, {MAX_SPEED:g}]")
        self._hold_s = hold_s
        self._run_speed = run_speed
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._runs_until = 0.0
        self._is_over = False
        self._give_back: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        self._take_terminal()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> Control | None:
        """The sum of the keys held now; None once Esc has been pressed."""
        self._take_terminal()
        now = self._clock()
        for key in _split_keys(self._waiting_bytes()):
            self._is_over = self._is_over or key == "\x1b"
            name = key.lower() if len(key) == 1 else key
            if name in self._KEYS:
                self._seen[name] = now
                if len(key) == 1:
                    self._runs_until = now + self._hold_s if key.isupper() else 0.0
        if self._is_over:
            return None
        held = [self._KEYS[key] for key, at in self._seen.items() if now - at < self._hold_s]
        is_running = now < self._runs_until and any(any(move) for move, _ in held)
        return Control(
            move=_sum([move for move, _ in held]),
            turn=_sum([turn for _, turn in held]),
            speed=self._run_speed if is_running else 1.0,
        )

    def close(self) -> None:
        """Give the terminal back."""
        if self._give_back is not None:
            self._give_back()
            self._give_back = None
            atexit.unregister(self.close)

    def _take_terminal(self) -> None:
        if self._give_back is None:
            if not sys.stdin.isatty():
                raise OSError("Keyboard needs a terminal as standard input; use Script, or a function, instead")
            fileno = sys.stdin.fileno()
            self._give_back = partial(termios.tcsetattr, fileno, termios.TCSADRAIN, termios.tcgetattr(fileno))
            tty.setcbreak(fileno)
            atexit.register(self.close)

    def _waiting_bytes(self) -> bytes:
        fileno = sys.stdin.fileno()
        return os.read(fileno, 4096) if select.select([fileno], [], [], 0)[0] else b""


def reader(controls: Input | Callable[[], Control | None]) -> Callable[[], Control | None]:
    """The function behind an input.

    Raises:
        ValueError: it is not an input.
    """
    if isinstance(controls, Script | str):
        raise ValueError("a script is not an input that can be read moment by moment")
    if callable(controls):
        return controls
    return controls.read


def _split_keys(data: bytes) -> list[str]:
    """Cut what a terminal sent into keys; arrows come as three bytes, in two spellings."""
    text = data.decode(errors="ignore").replace("\x1bO", "\x1b[")
    keys = []
    at = 0
    while at < len(text):
        length = 3 if text.startswith("\x1b[", at) else 1
        keys.append(text[at : at + length])
        at += length
    return keys


def _sum(vectors: list[Vector]) -> Vector:
    x, y, z = (max(-1.0, min(1.0, float(sum(values)))) for values in zip((0, 0, 0), *vectors, strict=True))
    return (x, y, z)


def _read_steps(path: Path) -> list[object]:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise ValueError(f"{path} is larger than {_MAX_FILE_BYTES} bytes")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a string of motion words or a list of steps")
    return content


def _read_step(step: object, number: int, fps: float) -> Segment:
    if not isinstance(step, Mapping):
        raise ValueError(f"step {number} must be words or an object, got {step!r}")
    unknown = set(step) - {"frames", "seconds", "move", "turn", "speed", "buttons"}
    if unknown or ("frames" in step) == ("seconds" in step):
        wrong = f"unknown: {', '.join(sorted(map(str, unknown)))}" if unknown else "give either frames or seconds"
        raise ValueError(f"step {number}: {wrong}")
    length = _number(step, "frames", number, 0) or _number(step, "seconds", number, 0) * fps
    if not 0 < length <= MAX_SCRIPT_FRAMES:
        raise ValueError(f"step {number} must last 1 to {MAX_SCRIPT_FRAMES} frames")
    try:
        control = Control(
            move=_numbers(step, "move", number),
            turn=_numbers(step, "turn", number),
            speed=_number(step, "speed", number, 1.0),
            buttons=int(_number(step, "buttons", number, 0)),
        )
    except ValueError as error:
        raise ValueError(f"step {number}: {error}") from error
    return Segment(control, max(1, round(length)))


def _number(step: Mapping[object, object], name: str, number: int, otherwise: float) -> float:
    value = step.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"step {number}: {name} must be a number, got {value!r}")
    return value


def _numbers(step: Mapping[object, object], name: str, number: int) -> Vector:
    values = step.get(name, [0, 0, 0])
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"step {number}: {name} must be three numbers, got {values!r}")
    x, y, z = (_number({name: value}, name, number, 0) for value in values)
    return (x, y, z)
