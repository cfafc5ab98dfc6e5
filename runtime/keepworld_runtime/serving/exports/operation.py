"""An operation, as it is kept: what is asked, how far it is, what came of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Self


class Kind(StrEnum):
    """What an operation makes."""

    CAPTURE = "capture"
    EXPORT = "export"


class State(StrEnum):
    """What becomes of an operation."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: `share` of all work in [0, 1], `left_s` to go if that is known, and the memory it takes."""

    stage: str = ""
    share: float = 0.0
    left_s: float | None = None
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """A file that was made: its relative name, and its SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One operation at one moment.

    Attributes:
        id: secret; opens it.
        reason, message: why it failed, for programs and for people.
        arguments: of an export: what the exporters are told beside where to read and write.
        files, metrics: what came of an export.
        capture_id: what an export is made of.
        frames, different_frames: of a capture.
        tries: how often an export was begun.
        created_s, ended_s: seconds since 1970; 0: not yet.
    """

    id: str
    kind: Kind
    state: State = State.WAITING
    progress: Progress = Progress()
    reason: str = ""
    message: str = ""
    arguments: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    capture_id: str = ""
    frames: int = 0
    different_frames: int = 0
    tries: int = 0
    created_s: float = 0.0
    ended_s: float = 0.0

    def but(self, **changes: Any) -> Self:
        """The same, but for some of it."""
        return replace(self, **changes)

    def encode(self) -> bytes:
        """For a file."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From a file.

        Raises:
            ValueError: it is not one.
        """
        try:
            values = json.loads(data)
            values |= {
                "kind": Kind(values["kind"]),
                "state": State(values["state"]),
                "progress": Progress(**values["progress"]),
                "arguments": tuple(values["arguments"]),
                "files": tuple(File(**each) for each in values["files"]),
            }
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an operation: {error!r}") from None
