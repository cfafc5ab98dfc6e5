"""What a physics engine needs of a surface: few triangles to walk on, or convex parts to throw."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from keepworld.errors import ExportError
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.clean import compact, decimate, weld

GREY = 128


def triangle_collider(mesh: Mesh, max_faces: int = 100_000) -> Mesh:
    """The surface itself with at most about `max_faces` triangles, without colours or texture: for what stands still."""
    vertices, faces = decimate(*weld(mesh.vertices, mesh.faces), max_faces)
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


def convex_parts(mesh: Mesh, count: int, *, max_faces: int = 20_000) -> list[Mesh]:
    """At most `count` convex, closed parts that together fill about what a mesh encloses, for physics engines.

    It runs in a process of its own, which Ctrl-C ends and whose failure is an error here.

    Args:
        mesh: open or closed; it need not be clean.
        count: how many parts there may be, at least 1.
        max_faces: with how many triangles of the mesh to begin.

    Raises:
        ExportError: no parts were found.

    Source: CoACD (Wei et al. 2022, "Approximate convex decomposition for 3D meshes with collision-aware concavity and tree
        search"), by its authors' library (MIT).
    """
    simple = triangle_collider(mesh, max_faces)
    with tempfile.TemporaryDirectory() as scratch:
        given, found = Path(scratch) / "given.npz", Path(scratch) / "found.npz"
        np.savez(given, vertices=simple.vertices, faces=simple.faces)
        command = [sys.executable, "-m", "keepworld_exporters.stages.convex", str(given), str(found), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
        if done.returncode or not found.exists():
            said = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
            raise ExportError(f"no convex parts of the mesh were found: {said}")
        with np.load(found, allow_pickle=False) as parts:
            number = len(parts.files) // 2
            pieces = [(parts[f"vertices_{k}"], parts[f"faces_{k}"]) for k in range(number)]
    return [_bare(vertices.astype(np.float32), faces.astype(np.int32)) for vertices, faces in pieces]


def _bare(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> Mesh:
    return Mesh(vertices=vertices, faces=faces, colours=np.full((len(vertices), 3), GREY, np.uint8))
