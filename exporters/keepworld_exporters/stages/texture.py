"""A picture for a surface, from the frames that saw it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.depth import View
from keepworld_exporters.stages.paint import vertex_normals
from keepworld_exporters.stages.unwrap import GUTTER, unwrap

SHARPNESS = (
    3  # how much more the straightest and nearest view counts: the power of its cosine over its distance squared
)


def texture(
    mesh: Mesh, views: Iterable[View], *, size: int, tolerance: float, on_view: Callable[[], None] = lambda: None
) -> Mesh:
    """Give a mesh a texture of about `size` x `size` texels.

    Args:
        mesh: its colours stand in for what no view shows.
        views: the pictures and their depth, which decides what is hidden.
        size: of the texture's sides, texels.
        tolerance: how far off the surface of a picture a place may lie, the capture's units.
        on_view: called once a view.
    """
    normals = vertex_normals(mesh.vertices, mesh.faces)
    origin, faces, uvs, (width, height) = unwrap(mesh.vertices, mesh.faces, size=size)
    laid = replace(
        mesh,
        vertices=mesh.vertices[origin],
        faces=faces,
        colours=mesh.colours[origin],
        normals=normals[origin],
        uvs=uvs,
    )
    face_of, shares = _lay_out(uvs.astype(np.float64), faces, width, height)
    rows, columns = np.nonzero(face_of >= 0)
    corners = faces[face_of[rows, columns]]
    share = shares[rows, columns][..., None]
    places = (laid.vertices[corners] * share).sum(1)
    facing = (normals[origin][corners] * share).sum(1)
    sums = np.zeros((len(places), 4), np.float32)
    for view in views:
        _gather(places, facing, view.depth, view.normals, view.trust, view.image, view.viewmat, view.K, tolerance, sums)
        on_view()
    seen = sums[:, 3] > 0
    colours = (laid.colours[corners] * share).sum(1)
    colours[seen] = sums[seen, :3] / sums[seen, 3:]
    picture = np.full((height, width, 3), colours.mean(0) if len(colours) else 128, np.float32)
    picture[rows, columns] = colours
    _spread(picture, face_of >= 0, GUTTER)
    return replace(laid, texture=np.clip(np.round(picture), 0, 255).astype(np.uint8))


@njit(cache=True)
def _lay_out(
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


@njit(cache=True, parallel=True)
def _gather(
    places: NDArray[np.float32],
    facing: NDArray[np.float32],
    depth: NDArray[np.float32],
    normals: NDArray[np.float32],
    trust: NDArray[np.float32],
    image: NDArray[np.uint8],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    tolerance: float,
    sums: NDArray[np.float32],
) -> None:
    """Add a picture's colours, between its pixels, to `sums` [N, 4]: weighted red, green, blue, and the weight."""
    height, width = depth.shape
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    for i in prange(len(places)):
        p = places[i]
        z = viewmat[2, 0] * p[0] + viewmat[2, 1] * p[1] + viewmat[2, 2] * p[2] + viewmat[2, 3]
        if z < 1e-3:
            continue
        x = viewmat[0, 0] * p[0] + viewmat[0, 1] * p[1] + viewmat[0, 2] * p[2] + viewmat[0, 3]
        y = viewmat[1, 0] * p[0] + viewmat[1, 1] * p[1] + viewmat[1, 2] * p[2] + viewmat[1, 3]
        a, b = fx * x / z + cx, fy * y / z + cy
        u, v = np.int64(np.floor(a)), np.int64(np.floor(b))
        if u < 0 or v < 0 or u >= width or v >= height:
            continue
        d = np.float64(depth[v, u])
        if d <= 0 or d == np.inf:
            continue
        ray_x, ray_y = (u + 0.5 - cx) / fx, (v + 0.5 - cy) / fy
        nx, ny, nz = normals[v, u, 0], normals[v, u, 1], normals[v, u, 2]
        off = nx * (x - ray_x * d) + ny * (y - ray_y * d) + nz * (z - d)
        if abs(off) > tolerance or abs(z - d) > 10 * tolerance:
            continue
        f = facing[i]
        towards = 0.0
        for k in range(3):
            towards -= f[k] * (viewmat[0, k] * x + viewmat[1, k] * y + viewmat[2, k] * z)
        cosine = towards / np.sqrt(x * x + y * y + z * z)
        if cosine <= 0:
            continue
        w = (cosine / (z * z)) ** SHARPNESS * trust[v, u] + 1e-20
        a, b = min(max(a - 0.5, 0.0), width - 1.001), min(max(b - 0.5, 0.0), height - 1.001)
        u, v = np.int64(a), np.int64(b)
        s, t = a - u, b - v
        for k in range(3):
            upper = (1 - s) * image[v, u, k] + s * image[v, u + 1, k]
            lower = (1 - s) * image[v + 1, u, k] + s * image[v + 1, u + 1, k]
            sums[i, k] += w * ((1 - t) * upper + t * lower)
        sums[i, 3] += w


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
