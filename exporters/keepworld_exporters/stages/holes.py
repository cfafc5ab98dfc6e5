"""Small holes in a surface, closed; large ones are what nobody saw, and stay open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

MAX_EDGES = 64
STRAIGHT = 0.3  # least cosine between a patch and the faces round it: the rim of a loose scrap is no hole


@dataclass(frozen=True, kw_only=True, slots=True)
class Holes:
    """What became of a surface's holes: how many were closed, how many rims are left, and these rims' length."""

    filled: int
    left: int
    rim: float


def fill_holes(
    vertices: NDArray[np.float32], faces: NDArray[np.int32], *, max_length: float, max_edges: int = MAX_EDGES
) -> tuple[NDArray[np.int32], Holes]:
    """Close the holes whose rim is no longer than `max_length` and has at most `max_edges` edges.

    A patch has the least area that its rim allows, adds no vertices, and is only kept where it goes on in the direction of
    the faces around it.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        max_length: of a rim, the capture's units.
        max_edges: of a rim.

    Returns:
        The faces with the patches' behind them [F + P, 3], and what was done.

    Source: Barequet and Sharir 1995, "Filling gaps in the boundary of a polyhedron".
    """
    rims, sides = find_rims(faces)
    patches, total = [], 0.0
    for rim, side in zip(rims, sides, strict=True):
        places = vertices[rim].astype(np.float64)
        length = float(np.linalg.norm(places - np.roll(places, 1, 0), axis=1).sum())
        total += length
        if len(rim) > max_edges or length > max_length:
            continue
        patch = _least_area(places)
        if _goes_on(places, patch, vertices[faces[side]].astype(np.float64)):
            patches.append(rim[patch])
            total -= length
    done = Holes(filled=len(patches), left=len(rims) - len(patches), rim=total)
    return np.concatenate([faces, *patches]).astype(np.int32), done


def find_rims(faces: NDArray[np.int32]) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int64]]]:
    """The closed rims of a surface, faces [F, 3].

    Returns:
        The vertices round each rim [N], in the order in which a patch's faces would go round them, and the face that each
        of its edges (from a vertex to the next) belongs to [N]. Rims that touch themselves or each other are left out.
    """
    starts = np.concatenate([faces[:, 0], faces[:, 1], faces[:, 2]]).astype(np.int64)
    ends = np.concatenate([faces[:, 1], faces[:, 2], faces[:, 0]]).astype(np.int64)
    size = int(faces.max()) + 1 if len(faces) else 1
    alone = ~np.isin(starts * size + ends, ends * size + starts)
    a, b, owner = starts[alone], ends[alone], np.flatnonzero(alone) % max(1, len(faces))
    once = np.bincount(b, minlength=size) == 1
    following, face_of = np.full(size, -1, np.int64), np.full(size, -1, np.int64)
    # A patch goes along an edge the other way than the face beside it.
    following[b], face_of[b] = a, owner
    following[~once] = -1
    rims, sides = [], []
    done = np.zeros(size, np.bool_)
    for first in b:
        if done[first]:
            continue
        rim = []
        at = int(first)
        while at >= 0 and not done[at]:
            done[at] = True
            rim.append(at)
            at = int(following[at])
        if at == first and len(rim) >= 3:
            rims.append(np.array(rim, np.int32))
            sides.append(face_of[rim])
    return rims, sides


def _goes_on(places: NDArray[np.float64], patch: NDArray[np.int64], around: NDArray[np.float64]) -> bool:
    """Whether a patch [P, 3] of places [N, 3] faces where the triangles around it [N, 3, 3] do."""
    ours, theirs = _across(places[patch]).sum(0), _across(around).sum(0)
    lengths = np.linalg.norm(ours) * np.linalg.norm(theirs)
    return bool(lengths > 0 and ours @ theirs > STRAIGHT * lengths)


def _across(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


@njit(cache=True)
def _least_area(places: NDArray[np.float64]) -> NDArray[np.int64]:
    """The triangles [N - 2, 3] of least area over a closed rim [N, 3]."""
    count = len(places)
    cost, split = np.zeros((count, count)), np.zeros((count, count), np.int64)
    for width in range(2, count):
        for i in range(count - width):
            k = i + width
            best = np.inf
            for m in range(i + 1, k):
                u, v = places[m] - places[i], places[k] - places[i]
                x, y, z = u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]
                area = cost[i, m] + cost[m, k] + np.sqrt(x * x + y * y + z * z)
                if area < best:
                    best = area
                    split[i, k] = m
            cost[i, k] = best
    triangles = np.empty((count - 2, 3), np.int64)
    spans = np.empty((count, 2), np.int64)
    spans[0, 0], spans[0, 1] = 0, count - 1
    waiting, made = 1, 0
    while waiting:
        waiting -= 1
        i, k = spans[waiting, 0], spans[waiting, 1]
        if k - i < 2:
            continue
        m = split[i, k]
        triangles[made, 0], triangles[made, 1], triangles[made, 2] = i, m, k
        made += 1
        spans[waiting, 0], spans[waiting, 1] = i, m
        spans[waiting + 1, 0], spans[waiting + 1, 1] = m, k
        waiting += 2
    return triangles
