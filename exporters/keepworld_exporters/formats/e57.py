"""``.e57``: a cloud as scanners' programs exchange it: places and normals as floats, colours in bytes, one scan.

A file is a row of pages, 1020 bytes and their CRC-32C each. Within it packets hold the points, a stream a column, and XML at the
end says what they are. Written are x y z, the normals' extension, and red green blue; read is the first scan of a file, its
columns floats or whole numbers of any width, scaled or not, where its pose puts it. Source: ASTM E2807, as libE57 documents it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
from keepworld.camera import rotation_from_quat
from numpy.typing import NDArray

from keepworld_exporters.formats.checks import checked_points
from keepworld_exporters.formats.ply import comments, one_line
from keepworld_exporters.scene import Points

_PAGE, _USED = 1024, 1020
_HEADER = struct.Struct("<8sIIQQQQ")
_SECTION = struct.Struct("<B7xQQQ")
_ROWS = 2000  # of a packet, which has at most 65536 bytes
_BLOCK = 1 << 16  # rows that are unpacked at once; a multiple of 8, so that each begins with a byte
_NAMESPACE = "http://www.astm.org/COMMIT/E57/2010-e57-v1.0"
_NORMALS = "http://www.libe57.org/E57_NOR_surface_normals.txt"
_GUID = "{00000000-0000-0000-0000-000000000000}"  # a new one each time would make two exports differ
_COLUMNS = (
    *((f"cartesian{axis}", "<f4") for axis in "XYZ"),
    *((f"nor:normal{axis}", "<f4") for axis in "XYZ"),
    *((f"color{name}", "u1") for name in ("Red", "Green", "Blue")),
)


def encode(points: Points, about: Mapping[str, object] | None = None) -> bytes:
    """Turn a cloud into a file.

    Raises:
        ValueError: it has no points, which the format cannot say.
    """
    count = len(points.positions)
    if not count:
        raise ValueError("an E57 file needs at least one point")
    values = [*points.positions.T, *points.normals.T, *points.colours.T]
    streams = [column.astype(kind) for column, (_, kind) in zip(values, _COLUMNS, strict=True)]
    packets = []
    for start in range(0, count, _ROWS):
        parts = [stream[start : start + _ROWS].tobytes() for stream in streams]
        body = struct.pack(f"<H{len(parts)}H", len(parts), *map(len, parts)) + b"".join(parts)
        body += b"\0" * (-len(body) % 4)
        packets.append(struct.pack("<BBH", 1, 0, len(body) + 3) + body)
    data_start = _HEADER.size + _SECTION.size
    packed = b"".join(packets)
    section = _SECTION.pack(1, _SECTION.size + len(packed), _physical(data_start), 0) + packed
    xml = _xml(count, " | ".join(comments(about or {}))).encode()
    xml_start = _HEADER.size + len(section)
    size = -(-(xml_start + len(xml)) // _USED) * _PAGE
    header = _HEADER.pack(b"ASTM-E57", 1, 0, size, _physical(xml_start), len(xml), _PAGE)
    logical = header + section + xml
    logical += b"\0" * (-len(logical) % _USED)
    pages = np.frombuffer(logical, np.uint8).reshape(-1, _USED)
    return np.concatenate([pages, _checksums(pages)], 1).tobytes()


def decode(data: bytes) -> Points:
    """Read the first scan of a file.

    Raises:
        ValueError: damaged, or without places in x y z.
    """
    if len(data) < _HEADER.size or len(data) % _PAGE:
        raise ValueError(f"an E57 file is whole pages of {_PAGE} bytes, this one has {len(data)} bytes")
    magic, _, _, size, xml_at, xml_size, page = _HEADER.unpack_from(data)
    if magic != b"ASTM-E57" or size != len(data) or page != _PAGE:
        raise ValueError("not an E57 file, or one that is cut off: its header does not fit it")
    pages = np.frombuffer(data, np.uint8).reshape(-1, _PAGE)
    if not np.array_equal(_checksums(pages[:, :_USED]), pages[:, _USED:]):
        raise ValueError("damaged E57 file: a page's checksum is wrong")
    logical = pages[:, :_USED].tobytes()
    start = _logical(xml_at)
    text = logical[start : start + xml_size]
    if len(text) != xml_size or b"<!" in text.replace(b"<![CDATA[", b""):
        raise ValueError("the E57 file's XML is cut off, or declares types, which may grow without end")
    try:
        # As UTF-8, or what is declared might hide in another encoding.
        root = ElementTree.fromstring(text.decode("utf-8"))  # noqa: S314  nothing it could expand is declared
        scan = root.find(f"{{{_NAMESPACE}}}data3D/{{{_NAMESPACE}}}vectorChild")
        if scan is None:
            raise ValueError("the E57 file holds no scan")
        return _read_scan(scan, logical)
    except (
        ElementTree.ParseError,
        struct.error,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f"damaged E57 file: {error!r}") from error


def _read_scan(scan: ElementTree.Element, logical: bytes) -> Points:
    points = scan.find(f"{{{_NAMESPACE}}}points")
    prototype = None if points is None else points.find(f"{{{_NAMESPACE}}}prototype")
    if points is None or prototype is None:
        raise ValueError("the E57 scan has no points")
    count, start = int(points.attrib["recordCount"]), _logical(int(points.attrib["fileOffset"]))
    if count < 1:
        raise ValueError(f"an E57 scan has at least one point, this one says {count}")
    streams = _streams(logical, start, len(prototype))
    columns: dict[str, NDArray[np.float64]] = {}
    for column, stream in sorted(zip(prototype, streams, strict=True), key=lambda pair: "cartesian" not in pair[0].tag):
        name = column.tag.rpartition("}")[2]
        columns[name] = _column(column, stream, count, most=None if "cartesian" in name else len(columns["cartesianX"]))
    places = np.stack([columns[f"cartesian{axis}"] for axis in "XYZ"], 1)
    turn, move = _pose(scan)
    normals = colours = None
    if {"normalX", "normalY", "normalZ"} <= set(columns):
        normals = np.stack([columns[f"normal{axis}"] for axis in "XYZ"], 1) @ turn.T
    if {"colorRed", "colorGreen", "colorBlue"} <= set(columns):
        colours = np.clip(np.stack([columns[f"color{name}"] for name in ("Red", "Green", "Blue")], 1), 0, 65535)
        colours = np.round(colours / (257.0 if colours.max(initial=0) > 255 else 1.0))
    return checked_points(places @ turn.T + move, normals=normals, colours=colours)


def _streams(logical: bytes, start: int, num_columns: int) -> list[bytes]:
    """The bytes of each column, of all packets of a section."""
    kind, length, data_at, _ = _SECTION.unpack_from(logical, start)
    end, at = start + length, _logical(data_at)
    if kind != 1 or end > len(logical):
        raise ValueError("the E57 file's points claim more than the file holds")
    streams: list[list[bytes]] = [[] for _ in range(num_columns)]
    while at < end:
        packet, _, size = struct.unpack_from("<BBH", logical, at)
        if (size + 1) % 4:
            raise ValueError(f"an E57 packet is a multiple of 4 bytes, this one {size + 1}")
        if packet == 1:
            num, *sizes = struct.unpack_from(f"<H{num_columns}H", logical, at + 4)
            inside = at + 6 + 2 * num_columns
            if num != num_columns or inside + sum(sizes) > at + size + 1:
                raise ValueError("an E57 packet does not hold the columns it claims")
            for stream, each in zip(streams, sizes, strict=True):
                stream.append(logical[inside : inside + each])
                inside += each
        at += size + 1
    return [b"".join(stream) for stream in streams]


def _column(column: ElementTree.Element, stream: bytes, count: int, *, most: int | None) -> NDArray[np.float64]:
    """A column's values [count]; `most` is how many rows the file is known to have."""
    kind = column.attrib["type"]
    if kind == "Float":
        dtype = np.dtype("<f4" if column.attrib.get("precision") == "single" else "<f8")
        if count * dtype.itemsize > len(stream):
            raise ValueError(f"the E57 file claims {count} points, more than it holds")
        return np.frombuffer(stream, dtype, count).astype(np.float64)
    if kind not in ("Integer", "ScaledInteger"):
        raise ValueError(f"E57 columns of numbers are read, got {kind}")
    low, high = int(column.attrib["minimum"]), int(column.attrib["maximum"])
    width = max(high - low, 0).bit_length()
    if width > 64 or count * width > 8 * len(stream) or (width == 0 and count != most):
        raise ValueError(f"the E57 file claims {count} points, more than it holds")
    whole = np.empty(count)
    for start in range(0, count, _BLOCK):  # a bit is a float for a while
        rows = min(_BLOCK, count - start)
        packed = np.frombuffer(stream, np.uint8, -(-rows * width // 8), start * width // 8)
        bits = np.unpackbits(packed, count=rows * width, bitorder="little")
        whole[start : start + rows] = bits.reshape(rows, width) @ 2.0 ** np.arange(width) + low
    return whole * float(column.attrib.get("scale", 1)) + float(column.attrib.get("offset", 0))


def _pose(scan: ElementTree.Element) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the scan stands in the file: a rotation [3, 3] and a place [3]."""

    def numbers(path: str, names: str) -> NDArray[np.float64]:
        found = [
            scan.find("/".join(f"{{{_NAMESPACE}}}{part}" for part in f"pose/{path}/{name}".split("/")))
            for name in names
        ]
        return np.array([0.0 if entry is None else float(entry.text or 0) for entry in found])

    quat = numbers("rotation", "wxyz")
    turn = rotation_from_quat(quat) if np.linalg.norm(quat) > 1e-9 else np.eye(3)
    return turn, numbers("translation", "xyz")


def _xml(count: int, told: str) -> str:
    columns = []
    for name, kind in _COLUMNS:
        about = 'type="Integer" minimum="0" maximum="255"' if kind == "u1" else 'type="Float" precision="single"'
        columns.append(f"<{name} {about}/>")
    limits = "".join(
        f'<color{name}Minimum type="Integer">0</color{name}Minimum><color{name}Maximum type="Integer">255</color{name}Maximum>'
        for name in ("Red", "Green", "Blue")
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<e57Root type="Structure" xmlns="{_NAMESPACE}" xmlns:nor="{_NORMALS}">'
        '<formatName type="String">ASTM E57 3D Imaging Data File</formatName>'
        f'<guid type="String">{_GUID}</guid>'
        '<versionMajor type="Integer">1</versionMajor><versionMinor type="Integer">0</versionMinor>'
        '<e57LibraryVersion type="String">keepworld</e57LibraryVersion>'
        '<data3D type="Vector" allowHeterogeneousChildren="1"><vectorChild type="Structure">'
        f'<guid type="String">{_GUID}</guid><name type="String">world</name>'
        f'<description type="String">{escape(one_line(told))}</description>'
        f'<colorLimits type="Structure">{limits}</colorLimits>'
        f'<points type="CompressedVector" fileOffset="{_physical(_HEADER.size)}" recordCount="{count}">'
        f'<prototype type="Structure">{"".join(columns)}</prototype>'
        '<codecs type="Vector" allowHeterogeneousChildren="1"></codecs></points>'
        '</vectorChild></data3D><images2D type="Vector" allowHeterogeneousChildren="1"></images2D></e57Root>'
    )


def _physical(logical: int) -> int:
    return logical // _USED * _PAGE + logical % _USED


def _logical(physical: int) -> int:
    return physical // _PAGE * _USED + physical % _PAGE


def _checksums(pages: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The CRC-32C of each page [P, 1020], as 4 bytes [P, 4], the highest first."""
    crc = np.full(len(pages), 0xFFFFFFFF, np.uint32)
    for k in range(pages.shape[1]):
        crc = _table()[(crc ^ pages[:, k]) & np.uint32(255)] ^ (crc >> np.uint32(8))
    return (crc ^ np.uint32(0xFFFFFFFF)).astype(">u4").view(np.uint8).reshape(-1, 4)


@cache
def _table() -> NDArray[np.uint32]:
    """What each byte does to a CRC-32C (Castagnoli's polynomial, its bits reversed)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ np.where(table & np.uint32(1), np.uint32(0x82F63B78), np.uint32(0))
    return table
