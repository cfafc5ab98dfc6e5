"""What shall happen in a world and when: events planned beforehand, kept in a file, given to a session or to a walk.

timeline = Timeline([PlannedEvent("rain", at=4), PlannedEvent("night falls", at=10, ramp=5, duration=30)])
timeline.save("storm.json")
client.sessions.open("a village", events=Timeline.load("storm.json"))
"""

from __future__ import annotations

import importlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Self

from keepworld.errors import MissingExtraError
from keepworld.files import write_atomically

MAX_EVENTS = 10_000
MAX_TEXT_CHARS = 2000
_MAX_FILE_BYTES = 16 * 2**20
_FIELDS = ("text", "at", "chunk", "ramp", "duration")
_YAML = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """Something that shall happen: at a time, with a chunk, or, with neither, with the next chunk.

    Attributes:
        text: what, as in "a thunderstorm rolls in".
        at: when, in seconds: of the world, or from a walk's start where it is given to one.
        chunk: with which chunk instead.
        ramp: seconds until it has come in fully.
        duration: seconds until it goes again; None: it stays.

    Raises:
        ValueError: a value is none of these.
    """

    text: str
    at: float | None = None
    chunk: int | None = None
    ramp: float = 2.0
    duration: float | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.text, str) and len(self.text.strip()) > 0 and len(self.text) <= MAX_TEXT_CHARS):
            raise ValueError(
                f"text must be some words, at most {MAX_TEXT_CHARS} characters, got {str(self.text)[:80]!r}"
            )
        if self.at is not None and self.chunk is not None:
            raise ValueError(f"give at or chunk, not both, for {self.text!r}")
        for name, value in (("at", self.at), ("ramp", self.ramp), ("duration", self.duration)):
            if value is None and name != "ramp":
                continue
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not (math.isfinite(value) and value >= 0)
            ):
                raise ValueError(f"{name} of {self.text!r} must be seconds, 0 or more, got {value!r}")
        chunk = self.chunk
        if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or not 0 <= chunk < 2**32):
            raise ValueError(f"chunk of {self.text!r} must be a whole number, 0 or more, got {chunk!r}")


Happening = PlannedEvent | tuple[float, str]


class Timeline(tuple[PlannedEvent, ...]):
    """Events in the order given; a list in a file.

    Args:
        events: `PlannedEvent` or (seconds, text).

    Raises:
        ValueError: one of them is neither, or there are too many.
    """

    __slots__ = ()

    def __new__(cls, events: Iterable[Happening] = ()) -> Self:  # noqa: D102
        planned = [_planned(event) for event in itertools.islice(events, MAX_EVENTS + 1)]
        if len(planned) > MAX_EVENTS:
            raise ValueError(f"events must be at most {MAX_EVENTS}, got more")
        return super().__new__(cls, planned)

    def save(self, path: str | Path) -> None:
        """Write it as a file, whole or not at all: YAML if the name ends so, else JSON.

        Raises:
            MissingExtraError: YAML is wanted and PyYAML is not installed.
        """
        path = Path(path)
        entries = [{name: value for name, value in asdict(event).items() if value is not None} for event in self]
        is_yaml = path.suffix in _YAML
        text = _yaml().safe_dump(entries, sort_keys=False) if is_yaml else json.dumps(entries, indent=1) + "\n"
        write_atomically(path, text.encode())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote, or a person.

        Raises:
            ValueError: it is not JSON or YAML, or an event in it is wrong; says which.
            MissingExtraError: it is YAML and PyYAML is not installed.
            OSError: it cannot be read.
        """
        path = Path(path)
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise ValueError(f"{path} is larger than {_MAX_FILE_BYTES} bytes")
        content = _read(path, data)
        if not isinstance(content, list):
            raise ValueError(f"{path} must hold a list of events, got {type(content).__name__}")
        events = []
        for number, entry in enumerate(content[: MAX_EVENTS + 1], 1):
            try:
                events.append(_from_entry(entry))
            except ValueError as error:
                raise ValueError(f"{path}, event {number}: {error}") from error
        return cls(events)


def _planned(event: Happening) -> PlannedEvent:
    if isinstance(event, PlannedEvent):
        return event
    if not (isinstance(event, tuple | list) and len(event) == 2):  # a list is what JSON makes of a pair
        raise ValueError(f"an event must be a PlannedEvent or (seconds, text), got {event!r}")
    at, text = event
    return PlannedEvent(text, at=at)


def _from_entry(entry: object) -> PlannedEvent:
    if not isinstance(entry, Mapping):
        raise ValueError(f"an event must be an object with {', '.join(_FIELDS)}, got {type(entry).__name__}")
    unknown = [str(name)[:80] for name in entry if name not in _FIELDS]
    if unknown or "text" not in entry:
        wrong = f"{unknown[0]!r} is none of its fields" if unknown else "it has no text"
        raise ValueError(f"an event has the fields {', '.join(_FIELDS)}: {wrong}")
    return PlannedEvent(**entry)


def _read(path: Path, data: bytes) -> object:
    if path.suffix not in _YAML:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
    yaml = _yaml()
    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error


def _yaml() -> ModuleType:
    try:
        return importlib.import_module("yaml")
    except ImportError as error:
        raise MissingExtraError(
            "timelines as YAML need PyYAML; JSON needs nothing", install="pip install pyyaml"
        ) from error
