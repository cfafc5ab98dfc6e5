"""How the parts of an SPZ file lie in it: one gzip stream up to version 3, a zstd stream each in version 4.

Version 4 has a header in plain sight, then records that tell more (a type and a length each, which readers skip if they do not
know them: the manifest is one), then a table of the streams' sizes, then the streams. Source: github.com/nianticlabs/spz.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from keepworld_exporters.formats.checks import check_unpacked

_MAGIC, _HEADER, _TOLD_HEADER = 0x5053474E, struct.Struct("<IIIBBBB"), struct.Struct("<IIIBBBBI12x")
_SIZES = struct.Struct("<QQ")
_TOLD = 2  # the flag that records follow the header
_MANIFEST = 0x4B570001  # "KW" as the vendor, its first record: the manifest as JSON
_AXES = struct.pack("<III", 0xADBE0003, 4, 4)  # Adobe's record of the axes: x right, y up, z back
_GZIP = 31  # zlib's name for a gzip stream with the largest window
_COEFFICIENTS = (0, 3, 8, 15, 24)  # by degree
_ZSTD_LEVEL = 12
_MAX_WINDOW = 1 << 27


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a file says about its splats: how many, of what degree, bits behind the point of their places, and flags."""

    version: int
    count: int
    degree: int
    bits: int
    flags: int

    @property
    def row_sizes(self) -> tuple[int, ...]:
        """The bytes of a splat in each part: places, opacities, colours, scales, quaternions, harmonics."""
        return (9, 1, 3, 3, 3 if self.version == 2 else 4, 3 * _COEFFICIENTS[self.degree])


def pack(header: Header, parts: Sequence[bytes], about: Mapping[str, object]) -> bytes:
    """Put a file of version 3 or 4 together; the same parts give the same bytes."""
    fields = (_MAGIC, header.version, header.count, header.degree, header.bits)
    if header.version == 3:
        packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)  # its header has no time and no name in it
        head = _HEADER.pack(*fields, header.flags, 0)
        return packer.compress(head + b"".join(parts)) + packer.flush()
    import zstandard

    packs = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, threads=0)
    streams = [(packs.compress(part), len(part)) for part in parts if part]
    told = json.dumps(dict(about)).encode() if about else b""
    records = _AXES + (struct.pack("<II", _MANIFEST, len(told)) + told if told else b"")
    head = _TOLD_HEADER.pack(*fields, header.flags | _TOLD, len(streams), _TOLD_HEADER.size + len(records))
    table = b"".join(_SIZES.pack(len(stream), size) for stream, size in streams)
    return b"".join([head, records, table, *(stream for stream, _ in streams)])


def unpack(data: bytes) -> tuple[Header, list[bytes]]:
    """The header and the parts of a file.

    Raises:
        ValueError: damaged, of another version, or larger unpacked than anything its size can hold.
    """
    return _unpack_streams(data) if data[:4] == b"NGSP" else _unpack_gzip(data)


def _checked(header: Header, data: bytes) -> Header:
    if not 2 <= header.version <= 4 or header.degree > 4 or header.bits > 23:
        raise ValueError(
            f"SPZ files of version 2 to 4 and degree 0 to 4 are read, this one says version {header.version}, degree "
            f"{header.degree}"
        )
    check_unpacked(header.count * sum(header.row_sizes), data, f"the SPZ header claims {header.count} splats")
    return header


def _unpack_gzip(data: bytes) -> tuple[Header, list[bytes]]:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        head = unpacker.decompress(data, _HEADER.size)
        if len(head) < _HEADER.size:
            raise ValueError("not an SPZ file, or one that is cut off: it has no whole header")
        magic, version, count, degree, bits, flags, _ = _HEADER.unpack(head)
        if magic != _MAGIC or version > 3:
            raise ValueError("not an SPZ file: what is packed in it begins otherwise")
        header = _checked(Header(version=version, count=count, degree=degree, bits=bits, flags=flags), data)
        sizes = [count * size for size in header.row_sizes]
        body = unpacker.decompress(unpacker.unconsumed_tail, sum(sizes) + 1)
    except zlib.error as error:
        raise ValueError(f"not an SPZ file, or a damaged one: {error}") from error
    more = bool(flags & _TOLD)  # records after the splats, which are not asked for
    if len(body) < sum(sizes) or (not more and (len(body) != sum(sizes) or not unpacker.eof or unpacker.unused_data)):
        raise ValueError(f"the SPZ header claims {count} splats, of which the file does not hold just as many")
    ends = list(accumulate(sizes))
    return header, [body[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _unpack_streams(data: bytes) -> tuple[Header, list[bytes]]:
    if len(data) < _TOLD_HEADER.size:
        raise ValueError("not an SPZ file, or one that is cut off: it has no whole header")
    _, version, count, degree, bits, flags, num_streams, at = _TOLD_HEADER.unpack_from(data)
    if version != 4:
        raise ValueError(f"an SPZ file that is not packed is of version 4, this one says {version}")
    header = _checked(Header(version=version, count=count, degree=degree, bits=bits, flags=flags), data)
    wanted = [count * size for size in header.row_sizes]
    present = [size for size in wanted if size]
    start = at + num_streams * _SIZES.size
    if num_streams != len(present) or at < _TOLD_HEADER.size or start > len(data):
        raise ValueError(f"the SPZ file of {count} splats has {num_streams} streams, wanted {len(present)}")
    streams = iter([_stream(data, start_of, *sizes) for start_of, sizes in _places(data, at, start, present)])
    return header, [next(streams) if size else b"" for size in wanted]


def _places(data: bytes, at: int, start: int, present: Sequence[int]) -> list[tuple[int, tuple[int, int]]]:
    """Where each stream begins, its packed size, and the size it has to unpack to."""
    places = []
    for k, wanted in enumerate(present):
        packed, claimed = _SIZES.unpack_from(data, at + k * _SIZES.size)
        if claimed != wanted or start + packed > len(data):
            raise ValueError("an SPZ stream is cut off, or not of the size that its splats need")
        places.append((start, (packed, wanted)))
        start += packed
    return places


def _stream(data: bytes, start: int, packed: int, size: int) -> bytes:
    import zstandard

    frame = data[start : start + packed]
    try:
        # A frame that knows its size would be given as much room as it says, whatever is asked for.
        known = zstandard.get_frame_parameters(frame).content_size
        if known not in (size, zstandard.CONTENTSIZE_UNKNOWN):
            raise ValueError("an SPZ stream does not unpack to what its splats need")
        part = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        raise ValueError(f"damaged SPZ file: {error}") from error
    if len(part) != size:
        raise ValueError("an SPZ stream does not unpack to what its splats need")
    return part
