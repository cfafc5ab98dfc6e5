"""Which triangle a pixel shows, and where on it: what every picture of a mesh starts from.

Source: Olano and Greer 1997, "Triangle scan conversion using 2D homogeneous coordinates". A ray meets a triangle where it is a
sum of the corners with no negative part, so triangles that reach behind the camera need no clipping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

NEAR = 0.02  # nothing nearer to the camera is shown


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Hits:
    """What the pixels of a picture show.

    Attributes:
        face: [H, W] int32, the nearest triangle at the middle of the pixel, -1 where there is none.
        shares: [H, W, 3] float32, how much each of its corners counts there.
        depth: [H, W] float32 along +z, 0 where there is nothing.
    """

    face: NDArray[np.int32]
    shares: NDArray[np.float32]
    depth: NDArray[np.float32]

    def blend(self, values: NDArray[np.generic], faces: NDArray[np.int32]) -> NDArray[np.float32]:
        """Values of the vertices [V, N] between the corners: [H, W, N] float32, 0 where there is nothing."""
        return np.asarray(_blend(self.face, self.shares, values, faces))


@njit(cache=True, parallel=True)
def _blend(
    face: NDArray[np.int32], shares: NDArray[np.float32], values: NDArray[np.generic], faces: NDArray[np.int32]
) -> NDArray[np.float32]:
    height, width = face.shape
    count = values.shape[1]
    out = np.zeros((height, width, count), np.float32)
    for v in prange(height):
        for u in range(width):
            if face[v, u] < 0:
                continue
            for k in range(3):
                corner = faces[face[v, u], k]
                for n in range(count):
                    out[v, u, n] += shares[v, u, k] * np.float32(values[corner, n])
    return out


def trace(
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    viewmat: NDArray[np.float64],
    K: NDArray[np.float64],
    width: int,
    height: int,
) -> Hits:
    """Find the nearest triangle at every pixel, both sides of it counting: vertices [V, 3], faces [F, 3]."""
    hits = Hits(
        face=np.full((height, width), -1, np.int32),
        shares=np.zeros((height, width, 3), np.float32),
        depth=np.zeros((height, width), np.float32),
    )
    seen = vertices.astype(np.float64) @ viewmat[:3, :3].T + viewmat[:3, 3]
    _walk(seen, faces, K, hits.face, hits.shares, hits.depth)
    return hits


@njit(cache=True)
def _walk(
    seen: NDArray[np.float64],
    faces: NDArray[np.int32],
    K: NDArray[np.float64],
    face_of: NDArray[np.int32],
    shares: NDArray[np.float32],
    depth: NDArray[np.float32],
) -> None:
    height, width = depth.shape
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    for face in range(len(faces)):
        i, j, k = faces[face]
        p, q, r = seen[i], seen[j], seen[k]
        if p[2] < NEAR and q[2] < NEAR and r[2] < NEAR:
            continue
        left, right, top, bottom = _frame(p, q, r, fx, fy, cx, cy, width, height)
        if left > right or top > bottom:
            continue
        ax, ay, az = q[1] * r[2] - q[2] * r[1], q[2] * r[0] - q[0] * r[2], q[0] * r[1] - q[1] * r[0]
        bx, by, bz = r[1] * p[2] - r[2] * p[1], r[2] * p[0] - r[0] * p[2], r[0] * p[1] - r[1] * p[0]
        gx, gy, gz = p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]
        volume = p[0] * ax + p[1] * ay + p[2] * az
        if volume == 0:
            continue
        for v in range(top, bottom + 1):
            y = (v + 0.5 - cy) / fy
            for u in range(left, right + 1):
                x = (u + 0.5 - cx) / fx
                a, b, c = (
                    (ax * x + ay * y + az) / volume,
                    (bx * x + by * y + bz) / volume,
                    (gx * x + gy * y + gz) / volume,
                )
                if a < 0 or b < 0 or c < 0:
                    continue
                z = 1 / (a + b + c)
                if z < NEAR or (depth[v, u] != 0 and z >= depth[v, u]):
                    continue
                depth[v, u] = z
                face_of[v, u] = face
                shares[v, u, 0], shares[v, u, 1], shares[v, u, 2] = a * z, b * z, c * z


@njit(cache=True)
def _frame(
    p: NDArray[np.float64],
    q: NDArray[np.float64],
    r: NDArray[np.float64],
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    width: int,
    height: int,
) -> tuple[int, int, int, int]:
    """The pixels that a triangle's part in front of the camera may cover: left, right, top, bottom."""
    low_u, high_u, low_v, high_v = np.inf, -np.inf, np.inf, -np.inf
    for k in range(3):
        a = p if k == 0 else q if k == 1 else r
        b = q if k == 0 else r if k == 1 else p
        for end in range(2):
            # The corner itself, or where the edge from it crosses the nearest plane that is shown
            if end == 0:
                if a[2] < NEAR:
                    continue
                x, y, z = a[0], a[1], a[2]
            else:
                if (a[2] < NEAR) == (b[2] < NEAR):
                    continue
                t = (NEAR - a[2]) / (b[2] - a[2])
                x, y, z = a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), NEAR
            u, v = fx * x / z + cx, fy * y / z + cy
            low_u, high_u, low_v, high_v = min(low_u, u), max(high_u, u), min(low_v, v), max(high_v, v)
    left, right = int(max(0.0, min(low_u - 0.5, width))), int(min(width - 1.0, max(high_u + 0.5, -1.0)))
    top, bottom = int(max(0.0, min(low_v - 0.5, height))), int(min(height - 1.0, max(high_v + 0.5, -1.0)))
    return left, right, top, bottom
