"""The same surface with fewer and fewer triangles, for what is seen from further and further away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scipy.spatial import cKDTree

from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.clean import decimate
from keepworld_exporters.stages.paint import vertex_normals

SHARES = (1.0, 0.5, 0.2, 0.05)  # of the triangles, level by level
MIN_FACES = 200  # with fewer a surface is no longer one


def levels(mesh: Mesh, shares: Sequence[float] = SHARES) -> list[Mesh]:
    """Make levels of detail, the finest first; those too coarse to be a surface are left out.

    A coarser level takes each vertex's colour from the nearest of the finest, and has no texture: at the distance where it
    is shown, a vertex is about a pixel.

    Args:
        mesh: the finest level.
        shares: of its triangles, descending, 1 for the mesh itself.
    """
    made = []
    tree = cKDTree(mesh.vertices)
    for share in shares:
        if share >= 1:
            made.append(mesh)
            continue
        wanted = int(share * len(mesh.faces))
        if wanted < MIN_FACES:
            break
        vertices, faces = decimate(mesh.vertices, mesh.faces, wanted)
        colours = mesh.colours[tree.query(vertices)[1]]
        made.append(
            replace(
                mesh,
                vertices=vertices,
                faces=faces,
                colours=colours,
                normals=vertex_normals(vertices, faces),
                uvs=None,
                texture=None,
            )
        )
    return made
