"""``.glb``: a coloured mesh as binary glTF 2.0, y up, metres, right-handed.

Vertex colours are linear in glTF and sRGB in a `Mesh`, so they are converted; 16 bits keep every sRGB value apart. The
material is rough and no metal, or viewers would show a mirror. Source: the glTF 2.0 specification (Khronos), chapters 3 and 4.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import numpy as np
from keepworld.camera import convert_points
from numpy.typing import NDArray

from keepworld_exporters.scene import Mesh

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT, _UINT, _USHORT = 5126, 5125, 5123
_ARRAY, _ELEMENTS = 34962, 34963


def encode(mesh: Mesh, normals: NDArray[np.float32], extras: Mapping[str, object] | None = None) -> bytes:
    """Turn a mesh, with its normals [V, 3], into a file; `extras` are kept under the asset."""
    vertices = convert_points(mesh.vertices, to="gltf").astype("<f4")
    colours = np.full((len(vertices), 4), 65535, "<u2")
    colours[:, :3] = np.round(65535 * linear_from_srgb(mesh.colours / 255.0))
    parts = [
        (vertices, _FLOAT, "VEC3", _ARRAY),
        (convert_points(normals, to="gltf").astype("<f4"), _FLOAT, "VEC3", _ARRAY),
        (colours, _USHORT, "VEC4", _ARRAY),
        (mesh.faces.astype("<u4").reshape(-1), _UINT, "SCALAR", _ELEMENTS),
    ]
    body, views, accessors = b"", [], []
    for number, (values, kind, shape, target) in enumerate(parts):
        views.append({"buffer": 0, "byteOffset": len(body), "byteLength": values.nbytes, "target": target})
        accessors.append({"bufferView": number, "componentType": kind, "count": len(values), "type": shape})
        if kind == _USHORT:
            accessors[-1]["normalized"] = True
        body += values.tobytes()
    accessors[0] |= {"min": vertices.min(0).tolist(), "max": vertices.max(0).tolist()}
    content = {
        "asset": {"version": "2.0", "generator": "keepworld", "extras": dict(extras or {})},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "world"}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}, "indices": 3, "material": 0}]}
        ],
        "materials": [{"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}, "doubleSided": True}],
        "buffers": [{"byteLength": len(body)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    body += b"\0" * (-len(body) % 4)
    total = 12 + 8 + len(text) + 8 + len(body)
    return b"".join(
        [
            struct.pack("<III", _MAGIC, 2, total),
            struct.pack("<II", len(text), _JSON),
            text,
            struct.pack("<II", len(body), _BIN),
            body,
        ]
    )


def decode(data: bytes) -> Mesh:
    """Read a file that `encode` made, back into the session's frame.

    Raises:
        ValueError: damaged, or not of that kind.
    """
    content, body = _split(data)
    try:
        primitive = content["meshes"][0]["primitives"][0]  # type: ignore[index]
        named = {**primitive["attributes"], "indices": primitive["indices"]}
        vertices = _read(content, body, named["POSITION"], _FLOAT, "VEC3", "<f4", 3)
        colours = _read(content, body, named["COLOR_0"], _USHORT, "VEC4", "<u2", 4)
        faces = _read(content, body, named["indices"], _UINT, "SCALAR", "<u4", 1).reshape(-1)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"not a keepworld mesh: {error!r}") from error
    if len(colours) != len(vertices) or len(faces) % 3 or (faces.size and faces.max() >= len(vertices)):
        raise ValueError("the mesh's parts do not fit together")
    if not np.isfinite(vertices.astype(np.float64)).all():
        raise ValueError("the mesh holds places that are not finite")
    return Mesh(
        # glTF's axes and ours differ by half a turn about x.
        vertices=vertices.astype(np.float32) * np.array([1, -1, -1], np.float32),
        faces=faces.reshape(-1, 3).astype(np.int32),
        colours=np.round(255 * srgb_from_linear(colours[:, :3].astype(np.float64) / 65535)).astype(np.uint8),
    )


def linear_from_srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light that is proportional to energy from sRGB values, both in [0, 1] (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `linear_from_srgb`."""
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def _split(data: bytes) -> tuple[dict[str, object], bytes]:
    """The two chunks of a file: JSON and binary."""
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


def _read(
    content: dict[str, object], body: bytes, number: int, component: int, shape: str, dtype: str, width: int
) -> NDArray[np.generic]:
    """An accessor's values [N, width]."""
    accessor = content["accessors"][number]  # type: ignore[index]
    view = content["bufferViews"][accessor["bufferView"]]  # type: ignore[index]
    if (accessor["componentType"], accessor["type"]) != (component, shape) or "byteStride" in view:
        raise ValueError(f"accessor {number} is not of the kind keepworld writes")
    count, start = accessor["count"], view.get("byteOffset", 0)
    if not isinstance(count, int) or not isinstance(start, int) or count < 0 or start < 0:
        raise ValueError(f"accessor {number} has impossible numbers")
    if start + count * width * np.dtype(dtype).itemsize > len(body):
        raise ValueError(f"accessor {number} claims {count} values, more than the file holds")
    return np.frombuffer(body, dtype, count * width, start).reshape(count, width)
