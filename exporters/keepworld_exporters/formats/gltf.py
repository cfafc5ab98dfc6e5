"""Binary glTF 2.0 as a container: parts in, a file out, and back. Source: the glTF 2.0 specification (Khronos), chapters 3 and 4.

What a file claims is checked against its length before anything is allocated.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
FLOAT, UINT, USHORT, UBYTE = 5126, 5125, 5123, 5121
ARRAY, ELEMENTS = 34962, 34963
_DTYPES = {5120: "i1", UBYTE: "u1", 5122: "<i2", USHORT: "<u2", UINT: "<u4", FLOAT: "<f4"}
_COMPONENTS = {"i1": 5120, "u1": UBYTE, "i2": 5122, "u2": USHORT, "u4": UINT, "f4": FLOAT}
_SHAPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
_WIDTHS = {shape: width for width, shape in _SHAPES.items()}
_MAX_DEPTH = 64

Json = dict[str, object]


@dataclass(kw_only=True, slots=True)
class Parts:
    """The binary chunk while it is put together."""

    body: list[bytes] = field(default_factory=list)
    size: int = 0
    views: list[Json] = field(default_factory=list)
    accessors: list[Json] = field(default_factory=list)

    def add(
        self,
        values: NDArray[np.generic],
        *,
        target: int | None = None,
        normalized: bool = False,
        bounds: bool = False,
    ) -> int:
        """Add values [N, width], of 4 bytes' alignment a row; gives the accessor's number."""
        view = self.add_bytes(values.tobytes(), target=target)
        kind = _COMPONENTS[values.dtype.str.lstrip("<|")]
        accessor: Json = {
            "bufferView": view,
            "componentType": kind,
            "count": len(values),
            "type": _SHAPES[values.shape[1]],
        }
        if normalized:
            accessor["normalized"] = True
        if bounds and len(values):
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_bytes(self, data: bytes, *, target: int | None = None) -> int:
        """Add bytes as they are; gives the buffer view's number."""
        view: Json = {"buffer": 0, "byteOffset": self.size, "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.views.append(view)
        data += b"\0" * (-len(data) % 4)
        self.body.append(data)
        self.size += len(data)
        return len(self.views) - 1


def encode(content: Mapping[str, object], parts: Parts, extras: Mapping[str, object] | None = None) -> bytes:
    """Put a file together from its JSON, its parts, and what it says about itself."""
    whole = {
        "asset": {"version": "2.0", "generator": "keepworld", "extras": dict(extras or {})},
        **content,
        "buffers": [{"byteLength": parts.size}],
        "bufferViews": parts.views,
        "accessors": parts.accessors,
    }
    text = json.dumps(whole, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<IIIII", _MAGIC, 2, 28 + len(text) + parts.size, len(text), _JSON)
    return b"".join([head, text, struct.pack("<II", parts.size, _BIN), *parts.body])


def split(data: bytes) -> tuple[Json, bytes]:
    """The two chunks of a file: JSON and binary.

    Raises:
        ValueError: not a GLB file, or a damaged one.
    """
    if len(data) < 20 or struct.unpack_from("<I", data)[0] != _MAGIC:
        raise ValueError("not a GLB file")
    _, version, total = struct.unpack_from("<III", data)
    length, kind = struct.unpack_from("<II", data, 12)
    if version != 2 or total != len(data) or kind != _JSON or 28 + length > total:
        raise ValueError("damaged GLB file: its lengths do not fit its size")
    body_length, body_kind = struct.unpack_from("<II", data, 20 + length)
    if body_kind != _BIN or 28 + length + body_length > total:
        raise ValueError("damaged GLB file: it has no binary chunk, or one that is cut off")
    try:
        content = json.loads(data[20 : 20 + length])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged GLB file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError("damaged GLB file: its JSON is not an object")
    return content, data[28 + length : 28 + length + body_length]


def read(content: Json, body: bytes, number: int, *, width: int, kinds: tuple[int, ...]) -> NDArray[np.generic]:
    """An accessor's values [N, width] as they are stored; normalised integers as floats.

    Raises:
        ValueError: it is of another kind, or claims more than the file holds.
    """
    accessor = content["accessors"][number]  # type: ignore[index]
    component, shape = accessor["componentType"], accessor["type"]
    if component not in kinds or _WIDTHS.get(shape) != width or "sparse" in accessor:
        raise ValueError(f"accessor {number} is a {shape} of component type {component}, which is not read here")
    dtype = np.dtype(_DTYPES[component])
    view = content["bufferViews"][accessor["bufferView"]]  # type: ignore[index]
    if view.get("buffer") != 0:
        raise ValueError(f"accessor {number} lies in another file, which is not read: put all into one GLB")
    count, start = accessor["count"], accessor.get("byteOffset", 0)
    inside, stride = view.get("byteOffset", 0), view.get("byteStride", width * dtype.itemsize)
    if not all(type(value) is int and value >= 0 for value in (count, start, inside, stride)):
        raise ValueError(f"accessor {number} has impossible numbers")
    row = width * dtype.itemsize
    start += inside
    if stride < row or start + (count - 1) * stride + row > len(body) or count == 0:
        raise ValueError(f"accessor {number} claims {count} values, more than the file holds, or none")
    strided = np.ndarray((count, width), dtype, body, start, (stride, dtype.itemsize))
    if accessor.get("normalized"):
        return np.maximum(strided.astype(np.float64) / np.iinfo(dtype).max, -1.0)
    return strided


def placed_meshes(content: Json) -> Iterator[tuple[Json, NDArray[np.float64]]]:
    """Every primitive of the scene with its place in the world [4, 4]; of all meshes, unmoved, where there is no scene.

    Raises:
        ValueError: nodes lie too deep, or within themselves.
    """
    nodes, meshes = content.get("nodes"), content["meshes"]
    scenes = content.get("scenes")
    if not isinstance(nodes, list) or not isinstance(scenes, list) or not scenes:
        for mesh in meshes:  # type: ignore[attr-defined]
            yield from ((primitive, np.eye(4)) for primitive in mesh["primitives"])
        return
    waiting = [(root, np.eye(4), 0) for root in reversed(scenes[content.get("scene", 0)]["nodes"])]  # type: ignore[call-overload]
    met = 0
    while waiting:
        number, parent, depth = waiting.pop()
        met += 1
        if depth > _MAX_DEPTH or met > len(nodes):
            raise ValueError("the GLB file's nodes lie within themselves, or too deep")
        node = nodes[number]
        place = parent @ _place(node)
        if "mesh" in node:
            yield from ((primitive, place) for primitive in meshes[node["mesh"]]["primitives"])  # type: ignore[index]
        waiting += [(child, place, depth + 1) for child in reversed(node.get("children", []))]


def _place(node: Json) -> NDArray[np.float64]:
    """Where a node stands in its parent, [4, 4]."""
    if "matrix" in node:
        return np.asarray(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = np.asarray(node.get("rotation", (0, 0, 0, 1)), np.float64)
    place = np.eye(4)
    place[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    place[:3, :3] *= np.asarray(node.get("scale", (1, 1, 1)), np.float64)
    place[:3, 3] = np.asarray(node.get("translation", (0, 0, 0)), np.float64)
    return place
