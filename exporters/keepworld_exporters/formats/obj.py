"""``.obj``: a mesh as text, y up and metres as its readers take for granted, with its material and texture in files beside it.

Colours follow the place on a vertex' line, in [0, 1], as MeshLab, Blender and Houdini read them. A texture has its origin in its
lower left corner here. Source: the Wavefront OBJ and MTL texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.formats.checks import checked_mesh
from keepworld_exporters.formats.picture import decode_picture, encode_png, flip_v
from keepworld_exporters.formats.ply import comments, one_line
from keepworld_exporters.scene import Mesh


def encode_files(mesh: Mesh, name: str, about: Mapping[str, object] | None = None) -> dict[str, bytes]:
    """The files of a mesh by their names: the mesh's, and with a texture its material's and its picture's."""
    if mesh.texture is None or mesh.uvs is None:
        return {name: encode(mesh, about)}
    stem = name[: -len(".obj")]
    material = f"newmtl world\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {stem}.png\n"
    return {
        name: encode(mesh, about, material=f"{stem}.mtl"),
        f"{stem}.mtl": material.encode(),
        f"{stem}.png": encode_png(mesh.texture),
    }


def encode(mesh: Mesh, about: Mapping[str, object] | None = None, *, material: str | None = None) -> bytes:
    """Turn a mesh into a file; `material` is the name of the MTL file beside it."""
    lines = [f"# {one_line(text)}" for text in comments(about or {})]
    if material is not None:
        lines.append(f"mtllib {material}")
    lines.append("o world")
    columns = np.concatenate([mesh.vertices.astype(np.float64), mesh.colours / 255.0], 1)
    lines += ["v {:.9g} {:.9g} {:.9g} {:.6g} {:.6g} {:.6g}".format(*row) for row in columns.tolist()]
    if mesh.uvs is not None:
        lines += ["vt {:.9g} {:.9g}".format(*row) for row in flip_v(mesh.uvs).tolist()]
    if mesh.normals is not None:
        lines += ["vn {:.6g} {:.6g} {:.6g}".format(*row) for row in mesh.normals.tolist()]
    if material is not None:
        lines.append("usemtl world")
    corner = {(False, False): "{0}", (True, False): "{0}/{0}", (False, True): "{0}//{0}", (True, True): "{0}/{0}/{0}"}
    form = corner[mesh.uvs is not None, mesh.normals is not None]
    names = [form.format(k + 1) for k in range(len(mesh.vertices))]
    lines += [f"f {names[a]} {names[b]} {names[c]}" for a, b, c in mesh.faces.tolist()]
    return ("\n".join(lines) + "\n").encode("ascii")


def decode(data: bytes) -> Mesh:
    """Read the triangles of a file, larger faces cut into fans; without its texture, which lies in another.

    Raises:
        ValueError: damaged, or without faces.
    """
    places: list[list[float]] = []
    uvs: list[list[float]] = []
    normals: list[list[float]] = []
    corners: list[tuple[int, int, int]] = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        try:
            match words[:1]:
                case ["v"]:
                    places.append(_numbers(words, 3, 6, 7))
                case ["vt"]:
                    uvs.append(_numbers(words, 1, 2, 3))
                case ["vn"]:
                    normals.append(_numbers(words, 3))
                case ["f"]:
                    face = [_corner(word, len(places), len(uvs), len(normals)) for word in words[1:]]
                    for second, third in pairwise(face[1:]):
                        corners += [face[0], second, third]
        except ValueError as error:
            raise ValueError(f"line {number} of the OBJ file: {error}") from error
    if not corners:
        raise ValueError("the OBJ file holds no faces")
    used, faces = np.unique(np.array(corners), axis=0, return_inverse=True)
    colours = None
    if all(len(place) >= 6 for place in places):
        colours = np.round(255 * np.clip([place[3:6] for place in places], 0, 1)).astype(np.uint8)[used[:, 0]]
    flat = np.array([(*entry, 0.0)[:2] for entry in uvs], np.float32).reshape(-1, 2)
    return checked_mesh(
        np.array([place[:3] for place in places])[used[:, 0]],
        faces.reshape(-1, 3),
        colours=colours,
        uvs=_picked(flip_v(flat), used[:, 1]),
        normals=_picked(np.array(normals, np.float32), used[:, 2]),
    )


def decode_files(data: bytes, beside: Callable[[str], bytes | None]) -> Mesh:
    """Read a file and the texture that its material shows.

    Args:
        data: the mesh's file.
        beside: gives the file of a name that lies beside it, None where there is none; names come from the file as they are.

    Raises:
        ValueError: damaged, or the texture is.
    """
    mesh = decode(data)
    library = beside(next(iter(_named(data, "mtllib")), ""))
    pictures = [] if library is None else _named(library, "map_Kd")
    texture = beside(pictures[0]) if len(pictures) == 1 and mesh.uvs is not None else None
    return mesh if texture is None else replace(mesh, texture=decode_picture(texture))


def _named(data: bytes, keyword: str) -> list[str]:
    """The different names that follow a keyword."""
    lines = (
        line.split(maxsplit=1) for line in data.decode("utf-8", "replace").splitlines() if line.startswith(keyword)
    )
    return sorted({words[1].strip() for words in lines if len(words) == 2 and words[0] == keyword})


def _picked(values: NDArray[np.float32], numbers: NDArray[np.int64]) -> NDArray[np.float32] | None:
    return values[numbers] if len(values) and (numbers >= 0).all() else None


def _numbers(words: list[str], *lengths: int) -> list[float]:
    values = [float(word) for word in words[1:]]
    if len(values) not in lengths:
        raise ValueError(f"{words[0]} has {len(values)} numbers, wanted {' or '.join(map(str, lengths))}")
    return values


def _corner(word: str, *counts: int) -> tuple[int, int, int]:
    """A face's corner as the numbers of its place, uv and normal, from 0; -1 for none."""
    parts = [*word.split("/"), "", ""][:3]
    found = []
    for part, count in zip(parts, counts, strict=True):
        number = int(part) if part else 0
        number = count + number if number < 0 else number - 1
        if part and not 0 <= number < count:
            raise ValueError(f"{word!r} names one of {count} that is not there")
        found.append(number if part else -1)
    if found[0] < 0:
        raise ValueError(f"{word!r} names no vertex")
    return found[0], found[1], found[2]
