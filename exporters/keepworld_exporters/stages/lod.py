"""The same surface with fewer and fewer triangles, for what is seen from further and further away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.clean import decimate, weld
from keepworld_exporters.stages.layout import lay_out
from keepworld_exporters.stages.paint import vertex_normals
from keepworld_exporters.texels import texels

SHARES = (1.0, 0.5, 0.2, 0.05)  # of the triangles, level by level
MIN_FACES = 200  # with fewer a surface is no longer one
AT_ONCE = 1 << 18  # texels


def levels(mesh: Mesh, shares: Sequence[float] = SHARES) -> list[Mesh]:
    """Make levels of detail, the finest first; those too coarse to be a surface are left out.

    A coarser level takes its colours from the nearest of the finest. Where that has a texture, each level gets one of its
    own, as much smaller as it has fewer triangles.

    Args:
        mesh: the finest level.
        shares: of its triangles, descending, 1 for the mesh itself.
    """
    made = []
    colours = _colours(mesh)
    tree = cKDTree(mesh.vertices)
    bare = weld(mesh.vertices, mesh.faces)
    for share in shares:
        if share >= 1:
            made.append(mesh)
            continue
        wanted = int(share * len(mesh.faces))
        if wanted < MIN_FACES:
            break
        vertices, faces = decimate(*bare, wanted)
        coarse = Mesh(
            vertices=vertices,
            faces=faces,
            colours=colours[tree.query(vertices, workers=-1)[1]],
            normals=vertex_normals(vertices, faces),
        )
        made.append(coarse if mesh.texture is None else _textured(coarse, mesh, share))
    return made


def _colours(mesh: Mesh) -> NDArray[np.uint8]:
    """The colours [V, 3] that a mesh shows at its vertices."""
    if mesh.texture is None or mesh.uvs is None:
        return mesh.colours
    return np.round(texels(mesh.texture, mesh.uvs)).astype(np.uint8)


def _textured(coarse: Mesh, fine: Mesh, share: float) -> Mesh:
    """Give a coarse mesh a texture that shows at each place what the nearest place of the fine one does."""
    assert fine.texture is not None and fine.uvs is not None
    size = max(64, round(max(fine.texture.shape[:2]) * share**0.5))
    layout = lay_out(coarse, size=size)
    # Places spread over the fine mesh, about one a texel of its texture that is used, stand for its surface.
    places, uvs = _spread(fine, 2 * size * size)
    tree = cKDTree(places)
    wanted = layout.blend(layout.mesh.vertices)
    shown = np.empty((len(wanted), 3), np.float32)
    for start in range(0, len(wanted), AT_ONCE):
        near = tree.query(wanted[start : start + AT_ONCE], workers=-1)[1]
        shown[start : start + AT_ONCE] = texels(fine.texture, uvs[near])
    return replace(layout.mesh, texture=layout.picture(shown))


def _spread(mesh: Mesh, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """About `count` places [N, 3] spread evenly over a mesh's texture, and where in it they lie [N, 2]."""
    assert mesh.uvs is not None
    corners = mesh.uvs[mesh.faces].astype(np.float64)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    rng = np.random.default_rng(0)
    heap = np.cumsum(areas)
    chosen = np.searchsorted(heap, (np.arange(count) + 0.5) / count * heap[-1]).clip(max=len(areas) - 1)
    a, b = rng.random((2, count, 1))
    fold = a + b > 1
    a, b = np.where(fold, 1 - a, a), np.where(fold, 1 - b, b)

    def at(values: NDArray[np.float32]) -> NDArray[np.float32]:
        p, q, r = (values[mesh.faces[chosen, k]].astype(np.float64) for k in range(3))
        return (p + a * (q - p) + b * (r - p)).astype(np.float32)

    return at(mesh.vertices), at(mesh.uvs)
