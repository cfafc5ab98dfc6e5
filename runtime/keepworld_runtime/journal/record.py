"""A chunk as it is kept: what it was made from, what came of it, and the bytes that say so."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keepworld.motion import Control
from numpy.typing import NDArray

from keepworld_runtime.families.family import ChunkRequest, Event, FrameData
from keepworld_runtime.journal import continuations
from keepworld_runtime.journal import controls as steered
from keepworld_runtime.journal.blobs import Blobs
from keepworld_runtime.journal.continuations import Given

CHECKSUM_BYTES = 16
_MAX_FRAMES = 4096  # in one chunk
_POSE_SHAPE = (4, 4)

Pose = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """An event as it was asked for. Without `chunk` and `seconds` it starts with the next chunk."""

    request_id: str
    event: Event
    chunk: int | None = None
    seconds: float | None = None

    @property
    def is_scheduled(self) -> bool:
        """Whether it was asked for at a time of its own."""
        return self.chunk is not None or self.seconds is not None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parts:
    """How the parts of a world's state differ from those after the chunk before.

    Attributes:
        removed: names that are gone.
        added: name -> SHA-256, in hex, of what is new; behind those that stay.
        order: of all names, where it is not that.
    """

    removed: tuple[str, ...]
    added: Mapping[str, str]
    order: tuple[str, ...] | None = None

    @classmethod
    def between(cls, before: Mapping[str, str], after: Mapping[str, str]) -> Parts:
        """What leads from one table of names and hashes to another."""
        stay = [name for name in before if after.get(name) == before[name]]
        added = {name: after[name] for name in after if before.get(name) != after[name]}
        in_order = [*stay, *added] == list(after)
        removed = tuple(name for name in before if after.get(name) != before[name])
        return cls(removed=removed, added=added, order=None if in_order else tuple(after))

    def onto(self, before: Mapping[str, str]) -> dict[str, str]:
        """The table after the chunk, of the one before it.

        Raises:
            ValueError: they do not fit together.
        """
        gone = set(self.removed)
        table = {name: digest for name, digest in before.items() if name not in gone} | dict(self.added)
        if self.order is None:
            return table
        if sorted(self.order) != sorted(table):
            raise ValueError("the names of a state's parts are not those before it and the new ones")
        return {name: table[name] for name in self.order}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Begun:
    """A chunk that is being made: all that it takes to make it.

    Attributes:
        number: from 0.
        controls, poses, events: as in `ChunkRequest`.
        given: what it goes on from, if that is not what was before it.
    """

    number: int
    controls: tuple[Control, ...]
    poses: tuple[Pose | None, ...]
    events: tuple[Asked, ...]
    given: Given | None = None

    def request(self, blobs: Blobs) -> ChunkRequest:
        """What makes the chunk; what it goes on from comes out of `blobs`.

        Raises:
            ValueError, FileNotFoundError: that is not there.
        """
        return ChunkRequest(
            chunk=self.number,
            controls=self.controls,
            poses=self.poses,
            events=tuple(asked.event for asked in self.events),
            continuation=continuations.fetch(self.given, blobs) if self.given else None,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Record:
    """A chunk.

    Attributes:
        begun: what it was made from.
        cameras: [T, 4, 4] camera to world, float64, of the frames that came of it.
        frames: a checksum of each.
        head: of the world's state after it.
        parts: of that state.
    """

    begun: Begun
    cameras: NDArray[np.float64]
    frames: tuple[bytes, ...]
    head: bytes
    parts: Parts

    @property
    def blobs(self) -> tuple[str, ...]:
        """The names of those that come with it."""
        given = self.begun.given
        return (*self.parts.added.values(), *(given.blobs if given else ()))


def checksum(frame: FrameData) -> bytes:
    """Of a frame's picture and its camera."""
    digest = hashlib.sha256(np.ascontiguousarray(frame.image).data)
    digest.update(np.ascontiguousarray(frame.c2w, np.float64).data)
    return digest.digest()[:CHECKSUM_BYTES]


def chained(before: bytes, body: bytes) -> bytes:
    """The digest that names a chunk and all before it."""
    return hashlib.sha256(before + body).digest()


def encode(record: Record) -> bytes:
    """A record as bytes."""
    parts = {"removed": record.parts.removed, "added": record.parts.added, "order": record.parts.order}
    return _json(
        {
            **_told(record.begun),
            "cameras": _text(np.ascontiguousarray(record.cameras, "<f8").tobytes()),
            "frames": _text(b"".join(record.frames)),
            "head": _text(record.head),
            "parts": {name: value for name, value in parts.items() if value},
        }
    )


def decode(body: bytes) -> Record:
    """A record from its bytes.

    Raises:
        ValueError: they are not those of a record.
    """
    try:
        return _record(json.loads(body))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not the record of a chunk: {type(error).__name__} {error}") from None


def encode_begun(begun: Begun) -> bytes:
    """A chunk that is being made, as bytes."""
    return _json(_told(begun))


def decode_begun(body: bytes) -> Begun:
    """A chunk that was being made, from its bytes."""
    return _begun(json.loads(body))


def encode_asked(asked: Asked) -> dict[str, Any]:
    """An event as JSON has it."""
    event = asked.event
    return {
        "request_id": asked.request_id,
        "text": event.text,
        "ramp_s": event.ramp_s,
        "duration_s": event.duration_s,
        "chunk": asked.chunk,
        "seconds": asked.seconds,
    }


def decode_asked(told: Mapping[str, Any]) -> Asked:
    """An event from what JSON has."""
    duration_s, chunk, seconds = (told[name] for name in ("duration_s", "chunk", "seconds"))
    event = Event(
        text=str(told["text"]),
        ramp_s=float(told["ramp_s"]),
        duration_s=None if duration_s is None else float(duration_s),
    )
    return Asked(
        request_id=str(told["request_id"]),
        event=event,
        chunk=None if chunk is None else int(chunk),
        seconds=None if seconds is None else float(seconds),
    )


def _told(begun: Begun) -> dict[str, Any]:
    told: dict[str, Any] = {"number": begun.number, "controls": steered.encode(begun.controls)}
    if any(pose is not None for pose in begun.poses):
        told["poses"] = [None if pose is None else pose.ravel().tolist() for pose in begun.poses]
    if begun.events:
        told["events"] = [encode_asked(asked) for asked in begun.events]
    if begun.given:
        told["continuation"] = continuations.encode(begun.given)
    return told


def _begun(told: Mapping[str, Any]) -> Begun:
    controls = steered.decode(told["controls"], _MAX_FRAMES)
    total = len(controls)
    poses = tuple(_pose(values) for values in told.get("poses", (None,) * total))
    if len(poses) != total:
        raise ValueError(f"a chunk of {total} controls must have as many poses, got {len(poses)}")
    return Begun(
        number=int(told["number"]),
        controls=controls,
        poses=poses,
        events=tuple(decode_asked(each) for each in told.get("events", ())),
        given=continuations.decode(told["continuation"]) if "continuation" in told else None,
    )


def _record(told: Mapping[str, Any]) -> Record:
    begun = _begun(told)
    total = len(begun.controls)
    cameras = np.frombuffer(_bytes(told["cameras"]), "<f8").astype(np.float64).reshape(-1, *_POSE_SHAPE)
    sums = _bytes(told["frames"])
    if len(cameras) != total or len(sums) != total * CHECKSUM_BYTES:
        raise ValueError(f"a chunk of {total} controls has {len(cameras)} cameras and {len(sums)} bytes of checksums")
    parts, order = told["parts"], told["parts"].get("order")
    return Record(
        begun=begun,
        cameras=cameras,
        frames=tuple(sums[at : at + CHECKSUM_BYTES] for at in range(0, len(sums), CHECKSUM_BYTES)),
        head=_bytes(told["head"]),
        parts=Parts(
            removed=tuple(map(str, parts.get("removed", ()))),
            added={str(name): _hex(digest) for name, digest in parts.get("added", {}).items()},
            order=None if order is None else tuple(map(str, order)),
        ),
    )


def _pose(values: Sequence[float] | None) -> Pose | None:
    if values is None:
        return None
    pose = np.array(values, np.float64).reshape(_POSE_SHAPE)
    if not np.isfinite(pose).all():
        raise ValueError("a pose is not finite")
    return pose


def _hex(digest: object) -> str:
    """A SHA-256 in hex, and nothing that could be a path."""
    if not isinstance(digest, str) or len(digest) != 64 or bytes.fromhex(digest).hex() != digest:
        raise ValueError("a part's hash must be 64 hexadecimal digits")
    return digest


def _json(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, separators=(",", ":"), allow_nan=False).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
