"""``.pcd``: the Point Cloud Library's file, binary: places, normals, colours as 0xRRGGBB in a float's bits, and confidence.

Source: the PCD file format's text (PCL), version 0.7. Binary and text files are read, packed ones are not.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.formats.checks import checked_points
from keepworld_exporters.formats.ply import one_line
from keepworld_exporters.scene import Points

MAX_HEADER_BYTES = 1 << 16
_NUMBERS = ("x", "y", "z", "normal_x", "normal_y", "normal_z")
_DTYPE = np.dtype([*((name, "<f4") for name in _NUMBERS), ("rgb", "<u4"), ("confidence", "<u2")])
_KINDS = {"F": "f", "I": "i", "U": "u"}


def encode(points: Points, comments: Sequence[str] = ()) -> bytes:
    """Turn a cloud into a file."""
    count = len(points.positions)
    table = np.empty(count, _DTYPE)
    for k in range(3):
        table[_NUMBERS[k]], table[_NUMBERS[3 + k]] = points.positions[:, k], points.normals[:, k]
    red, green, blue = points.colours.astype(np.uint32).T
    table["rgb"] = red << 16 | green << 8 | blue
    table["confidence"] = points.confidence
    lines = ["# .PCD v0.7", *(f"# {one_line(text)}" for text in comments), "VERSION 0.7"]
    lines += [
        "FIELDS " + " ".join((*_NUMBERS, "rgb", "confidence")),
        "SIZE 4 4 4 4 4 4 4 2",
        "TYPE F F F F F F F U",
        "COUNT 1 1 1 1 1 1 1 1",
    ]
    lines += [f"WIDTH {count}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {count}", "DATA binary\n"]
    return "\n".join(lines).encode("ascii") + table.tobytes()


def decode(data: bytes) -> Points:
    """Read a cloud with any fields; x y z have to be there, normals, colours and confidence are taken.

    Raises:
        ValueError: damaged, packed, or without places.
    """
    header, start = _header(data)
    dtype = _row(header)
    count = _number(header, "POINTS")
    if header["DATA"] == ["ascii"]:
        table = _read_text(data, start, dtype, count)
    else:
        if start + count * dtype.itemsize > len(data):
            raise ValueError(
                f"the PCD header claims {count} points, but the file ends after {(len(data) - start) // dtype.itemsize}"
            )
        table = np.frombuffer(data, dtype, count, start)
    names = set(dtype.names or ())
    normals = np.stack([table[name] for name in _NUMBERS[3:]], 1) if names >= set(_NUMBERS[3:]) else None
    colours = None
    packed = next((name for name in ("rgb", "rgba") if name in names), None)
    if packed is not None:
        bits = table[packed].view("<u4") if dtype[packed].itemsize == 4 else table[packed].astype(np.uint32)
        colours = np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], 1)
    return checked_points(
        np.stack([table[name] for name in "xyz"], 1),
        normals=normals,
        colours=colours,
        confidence=np.clip(table["confidence"], 0, 65535) if "confidence" in names else None,
    )


def _header(data: bytes) -> tuple[Mapping[str, list[str]], int]:
    header: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in header:
        end = data.find(b"\n", start, MAX_HEADER_BYTES)
        if end < 0:
            raise ValueError("not a PCD file: its header has no DATA line")
        words = data[start:end].decode("ascii", "replace").split()
        start = end + 1
        if words and not words[0].startswith("#"):
            header[words[0].upper()] = words[1:]
    missing = {"FIELDS", "SIZE", "TYPE", "POINTS"} - set(header)
    if missing:
        raise ValueError(f"the PCD header has no {', '.join(sorted(missing))}")
    if header["DATA"] not in (["binary"], ["ascii"]):
        raise ValueError(f"PCD files of DATA binary and ascii are read, this one is {' '.join(header['DATA'])}")
    return header, start


def _row(header: Mapping[str, list[str]]) -> np.dtype[np.void]:
    fields, sizes, kinds = header["FIELDS"], header["SIZE"], header["TYPE"]
    counts = header.get("COUNT", ["1"] * len(fields))
    if not len(fields) == len(sizes) == len(kinds) == len(counts):
        raise ValueError("the PCD header's FIELDS, SIZE, TYPE and COUNT are not of one length")
    entries = []
    for number, (name, size, kind, many) in enumerate(zip(fields, sizes, kinds, counts, strict=True)):
        known = {"F": ("4", "8"), "I": ("1", "2", "4", "8"), "U": ("1", "2", "4", "8")}
        if size not in known.get(kind, ()) or not many.isdecimal() or not 0 < int(many[:6]) <= 4096:
            raise ValueError(f"the PCD field {name!r} has SIZE {size}, TYPE {kind}, COUNT {many}: that is not known")
        unused = name == "_" or int(many) > 1  # padding, and histograms, which no cloud here has
        entries.append(
            (f"_{number}" if unused else name, f"<{_KINDS[kind]}{size}", (int(many),) if int(many) > 1 else ())
        )
    if len({entry[0] for entry in entries}) != len(entries) or not {"x", "y", "z"} <= {entry[0] for entry in entries}:
        raise ValueError("a PCD file needs fields of different names, x, y and z among them")
    return np.dtype(entries)


def _number(header: Mapping[str, list[str]], name: str) -> int:
    words = header[name]
    if len(words) != 1 or not words[0].isdecimal() or len(words[0]) > 12:
        raise ValueError(f"the PCD header's {name} must be a number of at most 12 digits, got {' '.join(words)[:80]!r}")
    return int(words[0])


def _read_text(data: bytes, start: int, dtype: np.dtype[np.void], count: int) -> NDArray[np.void]:
    if count > (len(data) - start) // 2 + 1 or any(dtype[name].shape for name in dtype.names or ()):
        raise ValueError(f"the PCD header claims {count} points, more than the file has text for")
    with io.BytesIO(data[start:]) as lines:
        try:
            table = np.loadtxt(lines, dtype, max_rows=count, ndmin=1)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"the PCD file's text is not numbers: {error}") from error
    if len(table) != count:
        raise ValueError(f"the PCD header claims {count} points, the file has {len(table)}")
    return table
