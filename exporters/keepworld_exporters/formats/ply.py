"""PLY, as far as clouds, splats and meshes need it: elements of scalars, and faces; written in one form, read in all three.

Source: Turk 1994, "The PLY polygon file format". What a file claims is checked against its length before anything is
allocated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "<i2", "int16": "<i2", "ushort": "<u2", "uint16": "<u2",
    "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4", "float": "<f4", "float32": "<f4", "double": "<f8",
    "float64": "<f8",
}  # fmt: skip
_NAMES = {
    "i1": "char",
    "u1": "uchar",
    "i2": "short",
    "u2": "ushort",
    "i4": "int",
    "u4": "uint",
    "f4": "float",
    "f8": "double",
}
MAX_HEADER_BYTES = 1 << 16
BINARY, _SWAPPED, _TEXT = "binary_little_endian", "binary_big_endian", "ascii"


@dataclass(frozen=True, kw_only=True, slots=True)
class Element:
    """An element of a header: its name, how many there are, and its properties as (name, type) or (name, count type, type)."""

    name: str
    count: int
    properties: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a file says about itself: its elements, its comments, where the data begins, and how it is written."""

    elements: tuple[Element, ...]
    comments: tuple[str, ...]
    size: int
    kind: str = BINARY


def encode_vertices(table: NDArray[np.void], comments: Sequence[str]) -> bytes:
    """A file of one element, `vertex`, from a structured array [N]; comments are kept to one line of ASCII each."""
    return encode_elements([("vertex", table)], comments)


def encode_elements(elements: Sequence[tuple[str, NDArray[np.void]]], comments: Sequence[str]) -> bytes:
    """A file of elements of scalars, each a name and a structured array [N]."""
    lines = _head(comments)
    for name, table in elements:
        lines += [f"element {name} {len(table)}", *_properties(table)]
    return "\n".join([*lines, "end_header\n"]).encode("ascii") + b"".join(table.tobytes() for _, table in elements)


def encode_mesh(table: NDArray[np.void], faces: NDArray[np.int32], comments: Sequence[str]) -> bytes:
    """A triangle mesh from a structured array of vertices [V] and faces [F, 3]."""
    rows = np.empty(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    rows["count"], rows["corners"] = 3, faces
    lines = [*_head(comments), f"element vertex {len(table)}", *_properties(table), f"element face {len(faces)}"]
    lines += ["property list uchar int vertex_indices", "end_header\n"]
    return "\n".join(lines).encode("ascii") + table.tobytes() + rows.tobytes()


def _head(comments: Sequence[str]) -> list[str]:
    return ["ply", "format binary_little_endian 1.0", *(f"comment {one_line(text)}" for text in comments)]


def _properties(table: NDArray[np.void]) -> list[str]:
    assert table.dtype.fields is not None
    return [f"property {_NAMES[dtype.str.lstrip('<|>')]} {name}" for name, (dtype, *_) in table.dtype.fields.items()]


def comments(about: Mapping[str, object]) -> list[str]:
    """What a file says about itself, as lines."""
    return [f"{name}: {value}" for name, value in about.items()]


def one_line(text: str) -> str:
    """Text fit for a comment: control characters and line ends become spaces, what is not ASCII is escaped."""
    flat = re.sub(r"\s+", " ", "".join(" " if ord(letter) < 32 or ord(letter) == 127 else letter for letter in text))
    return flat.encode("ascii", "backslashreplace").decode()[:900].strip()


def read_header(data: bytes) -> Header:
    """Read a header.

    Raises:
        ValueError: it is not a PLY file, or its header makes no sense.
    """
    if data.startswith(b"ply\r\n"):
        data = data[:MAX_HEADER_BYTES].replace(b"\r\n", b"\n")
    end = data.find(b"end_header\n", 0, MAX_HEADER_BYTES)
    if not data.startswith(b"ply\n") or end < 0:
        raise ValueError("not a PLY file: it must begin with 'ply' and have an 'end_header'")
    elements: list[Element] = []
    comments = []
    written = ""
    for line in data[:end].decode("ascii", "replace").split("\n")[1:-1]:
        words = line.split()
        match words:
            case ["format", kind, "1.0"] if kind in (BINARY, _SWAPPED, _TEXT):
                written = kind
            case ["comment" | "obj_info", *_]:
                comments.append(line.partition(" ")[2])
            case ["element", name, count] if count.isdecimal() and len(count) < 12:
                elements.append(Element(name=name, count=int(count), properties=()))
            case ["property", "list", counts, kind, name] if elements and counts in TYPES and kind in TYPES:
                elements[-1] = _with(elements[-1], (name, counts, kind))
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1] = _with(elements[-1], (name, kind))
            case _:
                raise ValueError(f"cannot read the PLY header line {line[:80]!r}")
    if not written:
        raise ValueError("the PLY header names no format")
    return Header(elements=tuple(elements), comments=tuple(comments), size=end + len(b"end_header\n"), kind=written)


def as_binary(data: bytes) -> bytes:
    """A file in text, or with its bytes the other way round, as the binary little-endian one that is read here.

    Raises:
        ValueError: damaged, or with other lists than those of triangles.
    """
    header = read_header(data)
    if header.kind == BINARY:
        return data
    if data.startswith(b"ply\r\n") and header.kind == _TEXT:
        data = data.replace(b"\r\n", b"\n")
    lines = data[header.size :].split(b"\n") if header.kind == _TEXT else []
    start, parts = header.size, [_header_as_binary(data[: header.size], header.kind)]
    for element in header.elements:
        dtype = _row(_flat(element))
        if header.kind == _SWAPPED:
            end = start + element.count * dtype.itemsize
            _check_end(element, end, data, start, dtype)
            rows = np.frombuffer(data, dtype.newbyteorder(">"), element.count, start).astype(dtype)
            start = end
        else:
            if element.count > len(lines):
                raise ValueError(f"the PLY header claims {element.count} of {element.name!r}, more than it has lines")
            mine, lines = lines[: element.count], lines[element.count :]
            try:
                rows = np.loadtxt(mine, dtype, ndmin=1) if mine else np.empty(0, dtype)
            except (ValueError, OverflowError) as error:
                raise ValueError(f"the PLY file's {element.name!r} are not the numbers it claims: {error}") from error
            if len(rows) != element.count:
                raise ValueError(f"the PLY header claims {element.count} of {element.name!r}, the file has {len(rows)}")
        parts.append(rows.tobytes())
    return b"".join(parts)


def _header_as_binary(head: bytes, kind: str) -> bytes:
    return head.replace(b"\r\n", b"\n").replace(f"format {kind}".encode(), f"format {BINARY}".encode(), 1)


def _flat(element: Element) -> Element:
    """An element whose list, if it has one and nothing else, is of three: the triangles of a mesh, rows of one length."""
    if len(element.properties) != 1 or len(element.properties[0]) != 3:
        return element
    _, counts, kind = element.properties[0]
    corners = (("n", counts), ("a", kind), ("b", kind), ("c", kind))
    return Element(name=element.name, count=element.count, properties=corners)


def _row(element: Element) -> np.dtype[np.void]:
    if any(len(entry) != 2 for entry in element.properties):
        raise ValueError(f"element {element.name!r} has list properties, which are not read here")
    names = [entry[0] for entry in element.properties]
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"element {element.name!r} needs properties of different names")
    return np.dtype([(entry[0], TYPES[entry[1]]) for entry in element.properties])


def _check_end(element: Element, end: int, data: bytes, start: int, dtype: np.dtype[np.void]) -> None:
    if end > len(data):
        raise ValueError(
            f"the PLY header claims {element.count} of {element.name!r}, but the file ends after "
            f"{max(0, len(data) - start) // dtype.itemsize}"
        )


def read_table(data: bytes, element: Element, start: int) -> tuple[NDArray[np.void], int]:
    """Read an element without lists as a structured array [N], a view of `data`; and where the next one begins.

    Raises:
        ValueError: the file is shorter than it claims.
    """
    dtype = _row(element)
    end = start + element.count * dtype.itemsize
    _check_end(element, end, data, start, dtype)
    return np.frombuffer(data, dtype, element.count, start), end


def decode_triangles(data: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read a triangle mesh: vertices [V, 3] and faces [F, 3].

    Raises:
        ValueError: damaged, or with other faces than triangles.
    """
    table, faces = read_triangles(data)
    vertices = np.stack([table[axis].astype(np.float64) for axis in "xyz"], 1)
    if not np.isfinite(vertices).all() or faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError("the PLY file's mesh has places or vertex numbers that do not exist")
    return vertices, faces


def read_triangles(data: bytes) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """Read a triangle mesh as it lies there: the table of its vertices [V], which have x y z, and faces [F, 3], unchecked.

    Raises:
        ValueError: damaged, or with other faces than triangles.
    """
    data = as_binary(data)
    header = read_header(data)
    start = header.size
    vertices: NDArray[np.void] | None = None
    faces: NDArray[np.int64] | None = None
    for element in header.elements:
        if element.name == "vertex":
            vertices, start = read_table(data, element, start)
            if not {"x", "y", "z"} <= set(vertices.dtype.names or ()):
                raise ValueError("the PLY file's vertices have no x, y, z")
        elif element.name == "face":
            # A face of a triangle mesh is a list of three; with that known the rows have one length.
            flat = _flat(element)
            if flat is element:
                raise ValueError("only faces with nothing but a vertex list are read")
            table, start = read_table(data, flat, start)
            if not (table["n"] == 3).all():
                raise ValueError("only triangles are read; triangulate the mesh first")
            faces = np.stack([table[corner].astype(np.int64) for corner in "abc"], 1)
        else:
            _, start = read_table(data, element, start)
    if vertices is None or faces is None or not len(faces):
        raise ValueError("the PLY file holds no triangle mesh")
    return vertices, faces


def _with(element: Element, entry: tuple[str, ...]) -> Element:
    return Element(name=element.name, count=element.count, properties=(*element.properties, entry))
