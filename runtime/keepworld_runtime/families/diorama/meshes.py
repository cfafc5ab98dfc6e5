"""Small solids to build with: boxes, prisms, cones, blobs, put together by a `Kit`.

Building is done with "up" positive, in (x, up, z): x right, z forward. `Mesh.to_session` turns that into the session's
frame (y down) at the very end. Every solid is closed and wound so that its normals point outwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keepworld_runtime.families.diorama.spec import Material, Part

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Triangles with what they are made of. Vertices are shared where a surface is meant to look round, else split.

    Attributes:
        vertices: [V, 3] metres, (x, up, z).
        faces: [F, 3] int32.
        material: [F] uint8 of `Material`.
        colour: [F, 3] linear RGB.
        variation: [F] in [0, 1), grasses in [1, 2), one number a plant or stone: which autumn colour, whether it blossoms.
    """

    vertices: Floats
    faces: NDArray[np.int32]
    material: NDArray[np.uint8]
    colour: NDArray[np.float32]
    variation: NDArray[np.float32]

    def placed(self, x: float, up: float, z: float, *, yaw: float = 0.0, scale: float = 1.0) -> Mesh:
        """The same mesh scaled, turned by `yaw` radians about up (from z towards x), then moved."""
        c, s = np.cos(yaw) * scale, np.sin(yaw) * scale
        turn = np.array([[c, 0.0, s], [0.0, scale, 0.0], [-s, 0.0, c]])
        return replace(self, vertices=self.vertices @ turn.T + (x, up, z))

    def varied(self, variation: float) -> Mesh:
        """The same mesh with one variation number for all of it."""
        return replace(self, variation=np.full(len(self.faces), variation, np.float32))

    def tinted(self, tint: ArrayLike) -> Mesh:
        """The same mesh with its colours [F, 3] multiplied by a tint [3]."""
        return replace(self, colour=(self.colour * np.asarray(tint, np.float32)).astype(np.float32))

    def to_session(self) -> Part:
        """Turn (x, up, z) into the session's frame (y down), keeping the outside outside."""
        vertices = (self.vertices * (1.0, -1.0, 1.0)).astype(np.float32)
        return Part(vertices=vertices, faces=self.faces[:, ::-1].copy(), material=self.material, colour=self.colour)


def make_mesh(vertices: ArrayLike, faces: ArrayLike, material: Material, colour: ArrayLike) -> Mesh:
    """A mesh of one material and colour, from vertices [V, 3] and faces [F, 3]."""
    points, triangles = np.asarray(vertices, np.float64), np.asarray(faces, np.int32)
    count = len(triangles)
    return Mesh(
        points,
        triangles,
        np.full(count, material, np.uint8),
        np.broadcast_to(np.asarray(colour, np.float32), (count, 3)).copy(),
        np.full(count, 0.5, np.float32),
    )


def join(meshes: Iterable[Mesh]) -> Mesh:
    """Put meshes together into one."""
    parts = list(meshes)
    if not parts:
        return make_mesh(np.zeros((0, 3)), np.zeros((0, 3)), Material.PLAIN, (0, 0, 0))
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=True)]).astype(np.int32),
        np.concatenate([part.material for part in parts]),
        np.concatenate([part.colour for part in parts]),
        np.concatenate([part.variation for part in parts]),
    )


def _outwards(vertices: Floats, faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """Wind faces [F, 3] of a solid that sees all of itself from its middle so that they face away from there."""
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inside_out = ((corners.mean(1) - vertices.mean(0)) * normal).sum(-1) < 0
    return np.where(inside_out[:, None], faces[:, ::-1], faces)


def faceted(polygons: Sequence[ArrayLike], material: Material, colour: ArrayLike) -> Mesh:
    """A solid with sharp edges from its flat convex sides, each [N, 3]; winding is put right here."""
    sides = [np.asarray(polygon, np.float64) for polygon in polygons]
    faces, start = [], 0
    for side in sides:
        faces += [(start, start + k, start + k + 1) for k in range(1, len(side) - 1)]
        start += len(side)
    vertices = np.concatenate(sides)
    return make_mesh(vertices, _outwards(vertices, np.array(faces, np.int32)), material, colour)


@lru_cache(maxsize=1)
def _unit_box() -> tuple[Floats, NDArray[np.int32]]:
    corner = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    quads = np.array([[0, 1, 3, 2], [4, 5, 7, 6], [0, 1, 5, 4], [2, 3, 7, 6], [0, 2, 6, 4], [1, 3, 7, 5]])
    vertices = corner[quads].reshape(-1, 3)
    first = np.arange(6)[:, None] * 4
    faces = (
        np.concatenate([first + np.array([0, 1, 2]), first + np.array([0, 2, 3])], axis=1)
        .reshape(-1, 3)
        .astype(np.int32)
    )
    return vertices, _outwards(vertices, faces)


def box(centre: ArrayLike, size: ArrayLike, material: Material, colour: ArrayLike, *, yaw: float = 0.0) -> Mesh:
    """A box with sharp edges: centre [3], size [3] along x, up, z before it is turned by `yaw`."""
    vertices, faces = _unit_box()
    mesh = make_mesh(vertices * np.asarray(size, np.float64), faces, material, colour)
    x, up, z = np.asarray(centre, np.float64)
    return mesh.placed(x, up, z, yaw=yaw)


def beam(start: ArrayLike, end: ArrayLike, thickness: float, material: Material, colour: ArrayLike) -> Mesh:
    """A square bar from one point [3] to another."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    along = (b - a) / np.linalg.norm(b - a)
    side = np.cross(along, (0.0, 1.0, 0.0) if abs(along[1]) < 0.9 else (1.0, 0.0, 0.0))
    side *= thickness / 2 / np.linalg.norm(side)
    other = np.cross(along, side)
    ring = np.stack([side + other, side - other, -side - other, -side + other])
    low, high = a + ring, b + ring
    sides = [np.stack([low[k], low[(k + 1) % 4], high[(k + 1) % 4], high[k]]) for k in range(4)]
    return faceted([*sides, low, high], material, colour)


def frustum(
    radii: Sequence[float], heights: Sequence[float], material: Material, colour: ArrayLike, *, sides: int = 8
) -> Mesh:
    """A round solid about the up axis through rings of `radii` at `heights`; a radius of 0 ends it in a point.

    The flanks share vertices and so look round; flat ends have their own.
    """
    angle = np.arange(sides) * (2 * np.pi / sides)
    circle = np.stack([np.cos(angle), np.zeros(sides), np.sin(angle)], -1)
    rings = [circle * max(radius, 1e-3) + (0.0, height, 0.0) for radius, height in zip(radii, heights, strict=True)]
    vertices, faces = list(rings), []
    around = np.arange(sides)
    after = (around + 1) % sides
    for k in range(len(rings) - 1):
        low, high = k * sides, (k + 1) * sides
        if radii[k] > 0:
            faces.append(np.stack([low + around, low + after, high + after], -1))
        if radii[k + 1] > 0 or radii[k] <= 0:
            faces.append(np.stack([low + around, high + after, high + around], -1))
        elif radii[k + 1] <= 0:
            faces[-1] = np.stack([low + around, low + after, high + around], -1)
    start = len(rings) * sides
    for radius, height, ring in ((radii[0], heights[0], rings[0]), (radii[-1], heights[-1], rings[-1])):
        if radius > 0:
            vertices += [ring, np.array([[0.0, height, 0.0]])]
            faces.append(np.stack([start + around, start + after, np.full(sides, start + sides)], -1))
            start += sides + 1
    points, triangles = np.concatenate(vertices), np.concatenate(faces).astype(np.int32)
    return make_mesh(points, _outwards(points, triangles), material, colour)


@lru_cache(maxsize=4)
def _icosphere(level: int) -> tuple[Floats, NDArray[np.int32]]:
    golden = (1 + 5**0.5) / 2
    points = [(a, b, 0.0) for b in (golden, -golden) for a in (-1.0, 1.0)]
    points += [(0.0, a, b) for b in (golden, -golden) for a in (-1.0, 1.0)]
    points += [(a, 0.0, b) for a in (golden, -golden) for b in (-1.0, 1.0)]
    vertices = np.array(points, np.float64)
    vertices /= np.linalg.norm(vertices[0])
    # A triangle of the icosahedron joins three points that are all one edge apart.
    near = np.linalg.norm(vertices[:, None] - vertices[None], axis=-1) < 1.06
    triples = [
        (i, j, k) for i in range(12) for j in range(i) for k in range(j) if near[i, j] and near[j, k] and near[i, k]
    ]
    faces = np.array(triples, np.int32)
    for _ in range(level):
        edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        unique, index = np.unique(edges, axis=0, return_inverse=True)
        middle = vertices[unique].mean(1)
        a, b, c = faces.T
        ab, bc, ca = (index.reshape(-1, 3) + len(vertices)).T
        vertices = np.concatenate([vertices, middle / np.linalg.norm(middle, axis=1, keepdims=True)])
        faces = np.concatenate([np.stack(t, -1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    return vertices, _outwards(vertices, faces.astype(np.int32))


def blob(
    radii: ArrayLike,
    rng: np.random.Generator,
    material: Material,
    colour: ArrayLike,
    *,
    level: int = 1,
    roughness: float = 0.18,
) -> Mesh:
    """A lumpy ball about the origin, radii [3]; 20 * 4**level faces. `roughness` is how far each vertex strays."""
    vertices, faces = _icosphere(level)
    lumps = 1.0 + roughness * rng.uniform(-1.0, 1.0, (len(vertices), 1))
    return make_mesh(vertices * lumps * np.asarray(radii, np.float64), faces, material, colour)


class Kit:
    """Collects pieces; what houses, trees and ruins are put together with."""

    def __init__(self) -> None:
        self.pieces: list[Mesh] = []

    def add(self, mesh: Mesh) -> None:
        """Add a piece where it stands."""
        self.pieces.append(mesh)

    def box(self, centre: ArrayLike, size: ArrayLike, material: Material, colour: ArrayLike, *, yaw: float = 0) -> None:
        """Add a `box`."""
        self.pieces.append(box(centre, size, material, colour, yaw=yaw))

    def mesh(self) -> Mesh:
        """All pieces as one."""
        return join(self.pieces)
