"""``.stl``: a mesh as nothing but triangles, binary, z up as printers and CAD have it. Colours and textures are lost.

Source: the StereoLithography interface text (3D Systems). Binary and text files are read; corners at one place become one vertex.
"""

from __future__ import annotations

import re

import numpy as np

from keepworld_exporters.formats.checks import checked_mesh
from keepworld_exporters.scene import Mesh

_ROW = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_HEADER = 84
_VERTEX = re.compile(rb"vertex\s+(\S+)\s+(\S+)\s+(\S+)")


def encode(mesh: Mesh) -> bytes:
    """Turn a mesh into a file."""
    rows = np.zeros(len(mesh.faces), _ROW)
    rows["corners"] = mesh.vertices[mesh.faces]
    corners = rows["corners"].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    rows["normal"] = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-30)
    return b"keepworld".ljust(80) + np.uint32(len(rows)).tobytes() + rows.tobytes()


def decode(data: bytes) -> Mesh:
    """Read a file.

    Raises:
        ValueError: neither binary nor text, or damaged.
    """
    count = int.from_bytes(data[80:84], "little")
    if len(data) >= _HEADER and len(data) == _HEADER + count * _ROW.itemsize:
        corners = np.frombuffer(data, _ROW, count, _HEADER)["corners"].reshape(-1, 3)
    elif data.lstrip().startswith(b"solid") and b"endsolid" in data:
        try:
            corners = np.array([[float(part) for part in found] for found in _VERTEX.findall(data)]).reshape(-1, 3)
        except ValueError as error:
            raise ValueError(f"the STL file's text is not numbers: {error}") from error
    else:
        raise ValueError(f"not an STL file: its header claims {count} triangles, which its {len(data)} bytes are not")
    if len(corners) % 3 or not np.isfinite(corners).all():
        raise ValueError("the STL file's triangles have too few corners, or places that are not finite")
    vertices, faces = np.unique(corners.astype(np.float32), axis=0, return_inverse=True)
    return checked_mesh(vertices, faces.reshape(-1, 3))
