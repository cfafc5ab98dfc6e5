"""Casting only some of a picture's rays (numba): a pixel between four that show one surface shows it too.

Like the squares of a chessboard, the white pixels are cast first. Where a black one's four neighbours lie on one surface
and its ray meets one of their triangles, that is what it shows; where all four saw nothing, neither does it; elsewhere it
is cast. What is worked out is an exact intersection; only specks smaller than a pixel can go unseen.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
_FLAT, _LEVEL = 0.01, 0.05  # relative differences of depth up to which neighbours are of one surface


@njit(cache=True, nogil=True, error_model="numpy")
def white_rays(dirs: F32, width: int, out: F32) -> int:
    """Pick the directions of the white squares from those of whole rows [N, 3]; gives how many."""
    count = 0
    for i in range(len(dirs)):
        if (i // width + i % width) % 2 == 0:
            out[count] = dirs[i]
            count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def spread_white(
    width: int,
    from_t: F32,
    from_u: F32,
    from_v: F32,
    from_Ng: F32,
    from_prim: I32,
    t: F32,
    u: F32,
    v: F32,
    Ng: F32,
    prim: I32,
) -> None:
    """Put what the white squares hit [M] in its place among all [N]."""
    k = 0
    for i in range(len(t)):
        if (i // width + i % width) % 2 == 0:
            t[i], u[i], v[i], prim[i] = from_t[k], from_u[k], from_v[k], from_prim[k]
            Ng[i, 0], Ng[i, 1], Ng[i, 2] = from_Ng[k, 0], from_Ng[k, 1], from_Ng[k, 2]
            k += 1


@njit(cache=True, nogil=True, error_model="numpy")
def fill_black(
    width: int, origin: F32, dirs: F32, vertices: F32, faces: I32, t: F32, u: F32, v: F32, Ng: F32, prim: I32, todo: I32
) -> int:
    """Work out the black squares whose neighbours tell; list the others in `todo` [N], giving how many."""
    count, rays = 0, len(t)
    for i in range(rays):
        column = i % width
        if (i // width + column) % 2 == 0:
            continue
        face, sure = -1, 0 < column < width - 1 and width <= i < rays - width
        if sure:
            hits = (prim[i - 1] >= 0) + (prim[i + 1] >= 0) + (prim[i - width] >= 0) + (prim[i + width] >= 0)
            if hits == 0:
                t[i] = t[i - 1]
            elif hits == 4:
                face = _shared(i, width, origin, dirs, vertices, faces, t, u, v, Ng, prim)
                sure = face >= 0
            else:
                sure = False
        if sure:
            prim[i] = face
        else:
            todo[count] = i
            count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _shared(
    i: int, width: int, origin: F32, dirs: F32, vertices: F32, faces: I32, t: F32, u: F32, v: F32, Ng: F32, prim: I32
) -> int:
    """Find which of the triangles that the four neighbours of ray i show it meets, -1 if they are not of one surface."""
    # 1 / t is linear across a plane of the picture, and nearly so across a gently curved surface.
    side, above = 1.0 / t[i - 1] + 1.0 / t[i + 1], 1.0 / t[i - width] + 1.0 / t[i + width]
    if abs(side - above) * t[i - 1] > _FLAT or abs(t[i - 1] - t[i + 1]) > _LEVEL * t[i - 1]:
        return -1
    for step in (-1, 1, -width, width):
        face = prim[i + step]
        if _meet(i, face, origin, dirs, vertices, faces, t, u, v):
            for c in range(3):
                Ng[i, c] = Ng[i + step, c]
            return face
    return -1


@njit(cache=True, nogil=True, error_model="numpy")
def _meet(i: int, face: int, origin: F32, dirs: F32, vertices: F32, faces: I32, t: F32, u: F32, v: F32) -> bool:
    """Intersect ray i with a triangle (Möller and Trumbore 1997); False if it passes by."""
    a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
    ax, ay, az = np.float64(vertices[a, 0]), np.float64(vertices[a, 1]), np.float64(vertices[a, 2])
    ex, ey, ez = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
    fx, fy, fz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
    dx, dy, dz = np.float64(dirs[i, 0]), np.float64(dirs[i, 1]), np.float64(dirs[i, 2])
    px, py, pz = dy * fz - dz * fy, dz * fx - dx * fz, dx * fy - dy * fx
    scale = ex * px + ey * py + ez * pz
    if scale == 0.0:
        return False
    sx, sy, sz = origin[0] - ax, origin[1] - ay, origin[2] - az
    first = (sx * px + sy * py + sz * pz) / scale
    qx, qy, qz = sy * ez - sz * ey, sz * ex - sx * ez, sx * ey - sy * ex
    second = (dx * qx + dy * qy + dz * qz) / scale
    away = (fx * qx + fy * qy + fz * qz) / scale
    if first < 0.0 or second < 0.0 or first + second > 1.0 or away <= 0.0:
        return False
    t[i], u[i], v[i] = away, first, second
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def put(
    todo: I32,
    from_t: F32,
    from_u: F32,
    from_v: F32,
    from_Ng: F32,
    from_prim: I32,
    t: F32,
    u: F32,
    v: F32,
    Ng: F32,
    prim: I32,
) -> None:
    """Put what the rays `todo` [M] hit in its place among all [N]."""
    for k in range(len(todo)):
        i = todo[k]
        t[i], u[i], v[i], prim[i] = from_t[k], from_u[k], from_v[k], from_prim[k]
        Ng[i, 0], Ng[i, 1], Ng[i, 2] = from_Ng[k, 0], from_Ng[k, 1], from_Ng[k, 2]
