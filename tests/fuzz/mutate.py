"""Messages that nobody would send: any message type filled from its descriptor with what hurts, and its bytes then damaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor, message_factory
from google.protobuf.message import Message
from keepworld.v1 import asset_service_pb2, world_service_pb2

Field = descriptor.FieldDescriptor

_INTEGERS = (
    0,
    1,
    2,
    7,
    16,
    255,
    4096,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    -1,
    -(2**31),
    -(2**63),
)
_REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, math.inf, -math.inf, math.nan, 1e9)
_STRINGS = (
    "", "a", "walk", "fly", "gradient", "rain", "\x00", "../../etc/passwd", "/dev/zero",
    "é\u202e\U0001f600", "%s%n", "a=b", "9" * 40,
    "x" * 70_000,
)  # fmt: skip
_PNG_CLAIMING_MUCH = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (50_000).to_bytes(4) * 2 + b"\x08\x02\0\0\0" + bytes(8)
_BYTES = (b"", b"\0", b"\xff" * 300, b"\xff\xd8\xff\xe0" + bytes(64), _PNG_CLAIMING_MUCH, bytes(64 * 48 * 3))
_BOUNDS = {
    Field.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    Field.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    Field.CPPTYPE_UINT32: (0, 2**32 - 1),
    Field.CPPTYPE_UINT64: (0, 2**64 - 1),
    Field.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}
_DEPTH = 5


# Messages that are fine, so that what is wrong with one field is not hidden by the others.
LIKELY = {
    "keepworld.v1.CreateSessionRequest": world_service_pb2.CreateSessionRequest(family="gradient", seed=7, mode="fly"),
    "keepworld.v1.BeginUploadRequest": asset_service_pb2.BeginUploadRequest(
        header=asset_service_pb2.AssetHeader(kind=asset_service_pb2.ASSET_KIND_CLIP, frames=3)
    ),
    "keepworld.v1.UploadAssetRequest": asset_service_pb2.UploadAssetRequest(
        header=asset_service_pb2.AssetHeader(kind=asset_service_pb2.ASSET_KIND_IMAGE, frames=1, width=64, height=48)
    ),
}


def _only(message: Message, name: str) -> Message:
    """A message with one field of another."""
    alone = type(message)()
    alone.CopyFrom(message)
    for field, _ in message.ListFields():
        if field.name != name:
            alone.ClearField(field.name)
    return alone


class Mutator:
    """Makes messages.

    Args:
        rng: what chooses.
        known: strings that open doors, such as the ids and tokens of sessions; may grow and shrink.
    """

    def __init__(self, rng: np.random.Generator, known: Sequence[str]) -> None:
        self._rng = rng
        self._known = known

    def wire(self, kind: descriptor.Descriptor) -> bytes:
        """Bytes that claim to be a message of this type, and often are."""
        likely = LIKELY.get(kind.full_name)
        if likely is not None and self._rng.random() < 0.5:
            message, awkward = message_factory.GetMessageClass(kind)(), self.message(kind)
            message.CopyFrom(likely)
            name = str(self._rng.choice([field.name for field in kind.fields]))
            message.MergeFrom(_only(awkward, name))
            return message.SerializeToString()
        data = self.message(kind).SerializeToString()
        return self._damaged(data) if self._rng.random() < 0.3 else data

    def message(self, kind: descriptor.Descriptor, depth: int = 0) -> Message:
        """A message of this type, about half of its fields set to something awkward."""
        message = message_factory.GetMessageClass(kind)()
        for field in kind.fields:
            if self._rng.random() < 0.4 or depth >= _DEPTH:
                continue
            if field.is_repeated:
                self._fill(message, field, depth)
            elif field.cpp_type == Field.CPPTYPE_MESSAGE:
                getattr(message, field.name).CopyFrom(self.message(field.message_type, depth + 1))
            else:
                setattr(message, field.name, self._value(field))
        return message

    def _fill(self, message: Message, field: descriptor.FieldDescriptor, depth: int) -> None:
        number = int(self._rng.choice((0, 1, 3, 40)))
        values = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return
        if field.cpp_type == Field.CPPTYPE_MESSAGE:
            values.extend(self.message(field.message_type, depth + 1) for _ in range(min(number, 5)))
        else:
            values.extend(self._value(field) for _ in range(number))

    def _value(self, field: descriptor.FieldDescriptor) -> Any:
        rng, kind = self._rng, field.cpp_type
        if kind in _BOUNDS:
            if kind == Field.CPPTYPE_ENUM and rng.random() < 0.7:
                return int(rng.choice([value.number for value in field.enum_type.values]))
            low, high = _BOUNDS[kind]
            return min(max(_INTEGERS[rng.integers(len(_INTEGERS))], low), high)
        if kind in (Field.CPPTYPE_DOUBLE, Field.CPPTYPE_FLOAT):
            return _REALS[rng.integers(len(_REALS))] if rng.random() < 0.5 else float(rng.normal())
        if kind == Field.CPPTYPE_BOOL:
            return bool(rng.random() < 0.5)
        if field.type == Field.TYPE_BYTES:
            return _BYTES[rng.integers(len(_BYTES))] if rng.random() < 0.7 else rng.bytes(int(rng.integers(200)))
        if self._known and rng.random() < 0.5:
            return self._known[rng.integers(len(self._known))]
        return _STRINGS[rng.integers(len(_STRINGS))]

    def _damaged(self, data: bytes) -> bytes:
        rng = self._rng
        at = int(rng.integers(len(data) + 1))
        match int(rng.integers(5)):
            case 0:
                return data[:at]
            case 1:
                return data[:at] + rng.bytes(int(rng.integers(1, 20))) + data[at:]
            case 2:
                return data + data
            case 3:
                return data[:at] + bytes([rng.integers(256)]) + data[at + 1 :]
            case _:
                return rng.bytes(int(rng.integers(300)))
