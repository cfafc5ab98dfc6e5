"""A walk as a file (.kwj): where it began, then every chunk with what is new in the world's state, then its end.

The file is a row of sections: a letter, the length and the CRC-32 of what follows, little endian, and that. `B` is bytes
that a later section names by their SHA-256, `W` the origin, `C` a chunk, `E` the digest of all. A file that was cut off is
read up to its last whole chunk.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from keepworld_runtime.journal import record, specs
from keepworld_runtime.journal.blobs import Blobs

MAGIC = b"keepworld journal 1\n"
MAX_SECTION_BYTES = 1 << 30
MAX_CHUNKS = 1_000_000
_HEADER = struct.Struct("<cII")
_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """What a file holds.

    Attributes:
        origin: where it began, as `specs` has it.
        bodies: its chunks, as `record` has them; their parts lie in the blobs that it was read into.
        is_whole: whether its end was there.
    """

    origin: bytes
    bodies: tuple[bytes, ...]
    is_whole: bool


def write(origin: bytes, bodies: Sequence[bytes], digest: bytes, blobs: Blobs) -> Iterator[bytes]:
    """A walk as the pieces of a file."""
    yield MAGIC
    for name in specs.blobs_of(origin):
        yield from _section(b"B", blobs.get(name))
    yield from _section(b"W", origin)
    told = set[str]()
    for body in bodies:
        for name in record.decode(body).blobs:
            if name not in told:  # the same frames may be gone on from twice
                yield from _section(b"B", blobs.get(name))
                told.add(name)
        yield from _section(b"C", body)
    yield from _section(b"E", digest)


def read(source: IO[bytes], blobs: Blobs) -> Walk:
    """Read a walk; what it has beside its chunks is put into `blobs`.

    Raises:
        ValueError: it is not such a file, or its chunks do not follow each other.
    """
    if source.read(len(MAGIC)) != MAGIC:
        raise ValueError("not a journal: it does not begin as one")
    origin, digest, bodies = b"", b"", list[bytes]()
    known = set[str]()
    for kind, data in _sections(source):
        if kind == b"B":
            known.add(blobs.put(data))
        elif kind == b"W" and not origin:
            specs.decode(data, blobs)
            origin = data
            digest = record.chained(b"", data)
        elif kind == b"C" and origin and len(bodies) < MAX_CHUNKS:
            kept = record.decode(data)
            if kept.begun.number != len(bodies) or not set(kept.blobs) <= known:
                raise ValueError(
                    f"chunk {kept.begun.number} stands where chunk {len(bodies)} should, or lacks some of its parts"
                )
            bodies.append(data)
            digest = record.chained(digest, data)
        elif kind == b"E" and origin:
            if data != digest:
                raise ValueError("the journal has been changed: its digest is another one")
            return Walk(origin=origin, bodies=tuple(bodies), is_whole=True)
        else:
            raise ValueError(f"not a journal: a section {kind!r} that is unknown or out of place")
    if not origin:
        raise ValueError("not a journal: it does not say where the walk began")
    return Walk(origin=origin, bodies=tuple(bodies), is_whole=False)


def _section(kind: bytes, data: bytes) -> Iterator[bytes]:
    yield _HEADER.pack(kind, len(data), zlib.crc32(data))
    for at in range(0, len(data), _READ_BYTES):
        yield data[at : at + _READ_BYTES]


def _sections(source: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The sections that are there whole."""
    while len(header := source.read(_HEADER.size)) == _HEADER.size:
        kind, length, checksum = _HEADER.unpack(header)
        if length > MAX_SECTION_BYTES:
            raise ValueError(f"a section has at most {MAX_SECTION_BYTES} bytes, got {length}")
        pieces, missing = [], length
        while missing and (piece := source.read(min(missing, _READ_BYTES))):
            pieces.append(piece)
            missing -= len(piece)
        data = b"".join(pieces)
        if missing or zlib.crc32(data) != checksum:
            return
        yield kind, data
