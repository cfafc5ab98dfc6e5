"""``.mesh.ply``: a mesh with colours, and normals and places in a texture where it has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.formats import ply
from keepworld_exporters.formats.checks import checked_mesh
from keepworld_exporters.formats.picture import flip_v
from keepworld_exporters.scene import Mesh

_PLACES, _NORMALS, _COLOURS, _UVS = ("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue"), ("s", "t")


def encode(mesh: Mesh, comments: Sequence[str] = ()) -> bytes:
    """Turn a mesh into a file; a texture's picture is left out, for PLY has no place for it."""
    # PLY's readers have a texture's origin in its lower left corner.
    columns: list[tuple[tuple[str, ...], NDArray[np.generic] | None, str]] = [
        (_PLACES, mesh.vertices, "<f4"),
        (_NORMALS, mesh.normals, "<f4"),
        (_COLOURS, mesh.colours, "u1"),
        (_UVS, None if mesh.uvs is None else flip_v(mesh.uvs), "<f4"),
    ]
    there = [(names, values, kind) for names, values, kind in columns if values is not None]
    table = np.empty(len(mesh.vertices), [(name, kind) for names, _, kind in there for name in names])
    for names, values, _ in there:
        for k, name in enumerate(names):
            table[name] = values[:, k]
    return ply.encode_mesh(table, mesh.faces, comments)


def decode(data: bytes) -> Mesh:
    """Read a mesh of triangles; colours in bytes, normals and places in a texture are taken where they are.

    Raises:
        ValueError: damaged, or with other faces than triangles.
    """
    table, faces = ply.read_triangles(data)
    names = set(table.dtype.names or ())
    coloured = names >= set(_COLOURS) and all(table.dtype[name] == np.uint8 for name in _COLOURS)
    uvs = np.stack([table[name] for name in _UVS], 1).astype(np.float32) if names >= set(_UVS) else None
    return checked_mesh(
        np.stack([table[name] for name in _PLACES], 1),
        faces,
        colours=np.stack([table[name] for name in _COLOURS], 1) if coloured else None,
        normals=np.stack([table[name] for name in _NORMALS], 1).astype(np.float32) if names >= set(_NORMALS) else None,
        uvs=None if uvs is None else flip_v(uvs),
    )
