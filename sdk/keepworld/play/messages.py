"""What a page says, checked: it comes from a browser, and may be anything."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping

from keepworld.motion import MAX_SPEED, Control, Vector

MAX_BYTES = 64 * 2**10
_MAX_SERIAL = 2**53


class Message:
    """One message of a page: named values, each read with the kind and the range it must have.

    Raises:
        ValueError: it is no JSON object that says what to do; so do the readers for a value that is not as it must be.
    """

    def __init__(self, text: str) -> None:
        try:
            content = json.loads(text) if len(text) <= MAX_BYTES else None
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise ValueError(f"a message must be a JSON object of at most {MAX_BYTES} characters")
        self._values: Mapping[str, object] = content
        self.do = self.text("do", 40)

    def text(self, name: str, most: int, *, default: str | None = None) -> str:
        """Some text of at most `most` characters."""
        value = self._values.get(name, default)
        if not isinstance(value, str) or len(value) > most:
            raise ValueError(f"{name} must be text of at most {most} characters, got {_short(value)}")
        return value

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{name} must be a whole number from {low} to {high}, got {_short(value)}")
        return value

    def optional_whole(self, name: str, low: int, high: int) -> int | None:
        """A whole number, or None."""
        return None if self._values.get(name) is None else self.whole(name, low, high)

    def truth(self, name: str) -> bool:
        """True or false."""
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, got {_short(value)}")
        return value

    def one_of(self, name: str, known: Collection[str]) -> str:
        """One of the words in `known`."""
        value = self._values.get(name)
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {_short(value)}")
        return value

    def some_of(self, name: str, known: Collection[str]) -> tuple[str, ...]:
        """One or more of the words in `known`, each once, in that order."""
        values = self._values.get(name)
        if not isinstance(values, list) or not values or any(value not in known for value in values):
            raise ValueError(f"{name} must be some of {', '.join(known)}, got {_short(values)}")
        return tuple(word for word in known if word in values)

    def size(self, name: str) -> tuple[int, int] | None:
        """Width and height in pixels, or None."""
        value = self._values.get(name)
        if value is None:
            return None
        if not (isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)):
            raise ValueError(f"{name} must be [width, height], got {_short(value)}")
        return value[0], value[1]

    def control(self) -> tuple[Control, int]:
        """What hands hold, and the page's number for it."""
        control = Control(
            move=self._vector("move"), turn=self._vector("turn"), speed=self._number("speed", 1.0, MAX_SPEED)
        )
        return control, self.whole("serial", 0, _MAX_SERIAL)

    def _vector(self, name: str) -> Vector:
        values = self._values.get(name)
        if not isinstance(values, list) or len(values) != 3:
            raise ValueError(f"{name} must be three numbers, got {_short(values)}")
        x, y, z = (_checked(name, value, 1.0) for value in values)
        return (x, y, z)

    def _number(self, name: str, default: float, most: float) -> float:
        return _checked(name, self._values.get(name, default), most)


def _checked(name: str, value: object, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > most:
        raise ValueError(f"{name} must hold numbers up to {most:g}, got {_short(value)}")
    return float(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
