"""What a surface lost when its triangles were made fewer, kept as a picture of directions: a normal map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.layout import Layout
from keepworld_exporters.stages.paint import vertex_normals

NEAREST = 3  # vertices of the fine surface that a texel's direction is the mean of
AT_ONCE = 1 << 18  # texels


def normal_map(layout: Layout, fine: Mesh) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Keep the directions of a fine surface for a coarser one that was laid out.

    Args:
        layout: the coarser surface.
        fine: what it was made from.

    Returns:
        Tangents [V, 4] of the layout's vertices, and the picture [H, W, 3]: in each texel the fine surface's direction by
        the coarser's tangent, bitangent and normal, as glTF 2.0 has it (x right, y up, z out, from -1 to 1).
    """
    mesh = layout.mesh
    assert mesh.normals is not None and mesh.uvs is not None
    tangents = tangents_of(mesh)
    tree, directions = cKDTree(fine.vertices), vertex_normals(fine.vertices, fine.faces)
    places = layout.blend(mesh.vertices)
    normals, along = layout.blend(mesh.normals), layout.blend(tangents)
    colours = np.empty((len(places), 3), np.float32)
    for start in range(0, len(places), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        apart, near = tree.query(places[part], k=min(NEAREST, len(fine.vertices)), workers=-1)
        weights = 1 / (apart.reshape(len(apart), -1) + 1e-6)
        wanted = _unit((directions[near.reshape(weights.shape)] * weights[..., None]).sum(1))
        n, t = _unit(normals[part]), along[part, :3]
        level = _unit(t - (t * n).sum(1, keepdims=True) * n)
        b = np.cross(n, level) * np.sign(along[part, 3:])
        local = np.stack([(wanted * axis).sum(1) for axis in (level, b, n)], 1)
        # A direction that faces away belongs to the other side of something thin: the surface's own is kept.
        local[local[:, 2] < 0.2] = (0, 0, 1)
        colours[part] = 127.5 + 127.5 * local
    return tangents, layout.picture(colours)


def tangents_of(mesh: Mesh) -> NDArray[np.float32]:
    """The direction [V, 4] in which the texture runs to the right at each vertex, and the side on which up lies: 1 or -1."""
    assert mesh.normals is not None and mesh.uvs is not None
    corners, uvs = mesh.vertices[mesh.faces].astype(np.float64), mesh.uvs[mesh.faces].astype(np.float64)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    (du1, dv1), (du2, dv2) = (uvs[:, 1] - uvs[:, 0]).T, (uvs[:, 2] - uvs[:, 0]).T
    turn = np.sign(du1 * dv2 - du2 * dv1)[:, None]
    right = turn * (dv2[:, None] * first - dv1[:, None] * second)
    down = turn * (du1[:, None] * second - du2[:, None] * first)
    sums = np.zeros((2, len(mesh.vertices), 3))
    for k in range(3):
        for axis in range(3):
            sums[0, :, axis] += np.bincount(mesh.faces[:, k], right[:, axis], minlength=len(mesh.vertices))
            sums[1, :, axis] += np.bincount(mesh.faces[:, k], down[:, axis], minlength=len(mesh.vertices))
    normals = mesh.normals.astype(np.float64)
    level = sums[0] - (sums[0] * normals).sum(1, keepdims=True) * normals
    # Where the texture has no direction any will do that lies in the surface.
    spare = np.cross(normals, np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]))
    length = np.linalg.norm(level, axis=1, keepdims=True)
    level = _unit(np.where(length > 1e-12 * max(1e-30, float(length.max(initial=0))), level, spare))
    side = np.where((np.cross(normals, level) * sums[1]).sum(1) > 0, -1.0, 1.0)
    return np.column_stack([level, side]).astype(np.float32)


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
