"""The texels of a surface that was laid out flat: where in the world each of them lies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.paint import vertex_normals
from keepworld_exporters.stages.unwrap import GUTTER, unwrap


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layout:
    """A mesh with uvs, and its texels that show something, [N] of them.

    Attributes:
        mesh: cut along its charts, with normals and uvs.
        cells: [V] how fine the surface is at each of its vertices.
        shape: the picture's height and width.
        rows, columns: [N] of each texel.
        corners: [N, 3] the vertices round it.
        shares: [N, 3] float32, how much each counts there.
    """

    mesh: Mesh
    cells: NDArray[np.float32]
    shape: tuple[int, int]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    corners: NDArray[np.int32]
    shares: NDArray[np.float32]

    def blend(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Values of the vertices [V, ...] at the texels [N, ...]."""
        out = np.zeros((len(self.rows), *values.shape[1:]), np.float32)
        for k in range(3):
            share = self.shares[:, k].reshape(-1, *(1,) * (values.ndim - 1))
            out += share * values[self.corners[:, k]].astype(np.float32)
        return out

    def picture(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """A picture [H, W, 3] of colours in [0, 255] at the texels [N, 3], carried outward over the gutters."""
        height, width = self.shape
        out = np.full((height, width, 3), values.mean(0) if len(values) else 128, np.float32)
        out[self.rows, self.columns] = values
        filled = np.zeros((height, width), np.bool_)
        filled[self.rows, self.columns] = True
        _spread(out, filled, GUTTER)
        return np.clip(np.round(out), 0, 255).astype(np.uint8)


def lay_out(mesh: Mesh, *, size: int, cells: NDArray[np.float32] | None = None) -> Layout:
    """Lay a mesh out in a picture of about `size` x `size` texels; `cells` [V] as `unwrap` wants them."""
    normals = mesh.normals if mesh.normals is not None else vertex_normals(mesh.vertices, mesh.faces)
    origin, faces, uvs, (width, height) = unwrap(mesh.vertices, mesh.faces, size=size, cells=cells)
    face_of, shares = _fill(uvs.astype(np.float64), faces, width, height)
    rows, columns = np.nonzero(face_of >= 0)
    laid = replace(
        mesh,
        vertices=mesh.vertices[origin],
        faces=faces,
        colours=mesh.colours[origin],
        normals=normals[origin],
        uvs=uvs,
    )
    return Layout(
        mesh=laid,
        cells=np.ones(len(origin), np.float32) if cells is None else cells[origin],
        shape=(height, width),
        rows=rows,
        columns=columns,
        corners=faces[face_of[rows, columns]],
        shares=shares[rows, columns],
    )


@njit(cache=True)
def _fill(
    uvs: NDArray[np.float64], faces: NDArray[np.int32], width: int, height: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The face at the middle of each texel [H, W], -1 where there is none, and its corners' shares there [H, W, 3]."""
    face_of = np.full((height, width), -1, np.int32)
    shares = np.zeros((height, width, 3), np.float32)
    for face in range(len(faces)):
        i, j, k = faces[face]
        ui, vi, uj, vj, uk, vk = (
            uvs[i, 0] * width, uvs[i, 1] * height, uvs[j, 0] * width, uvs[j, 1] * height, uvs[k, 0] * width, uvs[k, 1] * height,
        )  # fmt: skip
        area = (uj - ui) * (vk - vi) - (uk - ui) * (vj - vi)
        if area == 0:
            continue
        left, right = max(0, int(min(ui, uj, uk) - 0.5)), min(width - 1, int(max(ui, uj, uk) + 0.5))
        top, bottom = max(0, int(min(vi, vj, vk) - 0.5)), min(height - 1, int(max(vi, vj, vk) + 0.5))
        for v in range(top, bottom + 1):
            for u in range(left, right + 1):
                du, dv = u + 0.5 - ui, v + 0.5 - vi
                b = (du * (vk - vi) - (uk - ui) * dv) / area
                c = ((uj - ui) * dv - du * (vj - vi)) / area
                if b < 0 or c < 0 or b + c > 1:
                    continue
                face_of[v, u] = face
                shares[v, u, 0], shares[v, u, 1], shares[v, u, 2] = 1 - b - c, b, c
    return face_of, shares


@njit(cache=True)
def _spread(picture: NDArray[np.float32], filled: NDArray[np.bool_], texels: int) -> None:
    """Carry the colours at the charts' edges outward over what is not filled [H, W], in place, `texels` far."""
    height, width = filled.shape
    for _ in range(texels):
        before = filled.copy()
        for v in range(height):
            for u in range(width):
                if before[v, u]:
                    continue
                number = 0
                total = np.zeros(3, np.float32)
                for j in range(max(0, v - 1), min(height, v + 2)):
                    for i in range(max(0, u - 1), min(width, u + 2)):
                        if before[j, i]:
                            total += picture[j, i]
                            number += 1
                if number:
                    picture[v, u] = total / np.float32(number)
                    filled[v, u] = True
