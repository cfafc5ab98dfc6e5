"""What a physics engine needs of a surface: few triangles to walk on, or a convex hull to throw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.clean import compact, decimate

GREY = 128


def triangle_collider(mesh: Mesh, max_faces: int = 100_000) -> Mesh:
    """The surface itself with at most about `max_faces` triangles, without colours or texture: for what stands still."""
    vertices, faces = decimate(*_welded(mesh), max_faces)
    return _bare(vertices, faces)


def convex_collider(mesh: Mesh) -> Mesh:
    """The convex hull of a mesh, closed and facing outward: for what moves.

    Raises:
        ValueError: the mesh lies in a plane and encloses nothing.
    """
    points = mesh.vertices.astype(np.float64)
    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError) as error:
        raise ValueError(f"mesh must have a volume for a convex hull, got {len(points)} vertices in a plane") from error
    faces = hull.simplices.astype(np.int32)
    across = np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]])
    inward = (across * hull.equations[:, :3]).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return _bare(*compact(mesh.vertices, faces))


def _welded(mesh: Mesh) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """A mesh whose vertices at one place are one again, as they were before it was cut for a texture."""
    vertices, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    return compact(vertices, index.reshape(-1)[mesh.faces].astype(np.int32))


def _bare(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> Mesh:
    return Mesh(vertices=vertices, faces=faces, colours=np.full((len(vertices), 3), GREY, np.uint8))
