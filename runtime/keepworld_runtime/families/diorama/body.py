"""Meshes made ready for casting and shading: something to cast rays at, and at each triangle's corners what shading needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.spec import Material, Part
from keepworld_runtime.families.diorama.tracing import Tracer, tracer_of

# What is stored at a corner: normal, colour, openness to the sky, light from windows, how worn the ground is.
NORMAL, COLOUR, OPENNESS, LAMP, WORN, CORNER_SIZE = 0, 3, 6, 7, 8, 9

_ROUNDNESS = np.ones(len(Material), np.float32)
_ROUNDNESS[[Material.FOLIAGE, Material.NEEDLES, Material.ROCK]] = 0.6, 0.45, 0.2


class Body:
    """A set of triangles to cast rays at.

    Attributes:
        vertices: [V, 3] float32, the session's frame.
        faces: [F, 3] int32.
        corners: [F, 3, CORNER_SIZE] float32.
        material: [F] uint8. variation: [F] float32.
        tracer: the same triangles for rays to be cast at, or None if there are none.
    """

    def __init__(
        self,
        vertices: NDArray[np.float32],
        faces: NDArray[np.int32],
        corners: NDArray[np.float32],
        material: NDArray[np.uint8],
        variation: NDArray[np.float32],
    ) -> None:
        self.vertices, self.faces, self.corners = vertices, faces, corners
        self.material, self.variation = material, variation
        self.tracer: Tracer | None = tracer_of(vertices, faces) if len(faces) else None


def empty_body() -> Body:
    """A body without triangles."""
    none = np.zeros((0, 3), np.float32)
    return Body(
        none, np.zeros((0, 3), np.int32), np.zeros((0, 3, CORNER_SIZE), np.float32), np.zeros(0, np.uint8), none[:, 0]
    )


def body_of(parts: Sequence[Part]) -> Body:
    """A flat-shaded body, open to the sky, of things that come and go."""
    if not parts:
        return empty_body()
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    vertices = np.concatenate([part.vertices for part in parts]).astype(np.float32)
    faces = np.concatenate([part.faces + o for part, o in zip(parts, offsets, strict=True)]).astype(np.int32)
    corners = np.zeros((len(faces), 3, CORNER_SIZE), np.float32)
    corners[..., NORMAL : NORMAL + 3] = face_normals(vertices, faces)[:, None]
    corners[..., COLOUR : COLOUR + 3] = np.concatenate([part.colour for part in parts])[:, None]
    corners[..., OPENNESS] = 1.0
    material = np.concatenate([part.material for part in parts]).astype(np.uint8)
    return Body(vertices, faces, corners, material, np.full(len(faces), 0.5, np.float32))


def face_normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit normals [F, 3], outwards for faces wound anticlockwise."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12), np.float32)


def vertex_normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit normals [V, 3], averaged over the faces about each vertex by their area."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    area = np.cross(b - a, c - a)
    total = np.stack(
        [
            sum(np.bincount(faces[:, k], weights=area[:, axis], minlength=len(vertices)) for k in range(3))
            for axis in range(3)
        ],
        -1,
    )
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12), np.float32)


def corner_normals(
    vertices: NDArray[np.float32], faces: NDArray[np.int32], material: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Normals at corners [F, 3, 3] between facet and round, as suits each material."""
    rounded, flat = vertex_normals(vertices, faces)[faces], face_normals(vertices, faces)[:, None]
    mix = flat + (rounded - flat) * _ROUNDNESS[material][:, None, None]
    length = np.linalg.norm(mix, axis=-1, keepdims=True)
    return np.asarray(np.where(length > 1e-3, mix / np.maximum(length, 1e-6), flat), np.float32)
