"""The distance field against Open3D's, which knows nothing of ours: the same depth, two libraries, one surface."""

from __future__ import annotations

import numpy as np
import pytest
from keepworld.capture import Capture
from keepworld_exporters.measure import distances_to_mesh, fidelity
from keepworld_exporters.stages.depth import Resolution, load_view
from keepworld_exporters.stages.fuse import Shape, fuse_mesh
from numpy.typing import NDArray

VOXEL = 0.02


def fused_by_open3d(capture: Capture) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The surface as Open3D's VoxelBlockGrid makes it: vertices [V, 3] and faces [F, 3]."""
    o3d = pytest.importorskip("open3d")
    core = o3d.core
    grid = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight"), (core.float32, core.float32), ((1,), (1,)), VOXEL, 16, 4000, core.Device("CPU:0")
    )
    for frame in capture.frames:
        depth = frame.depth()
        assert depth is not None
        image = o3d.t.geometry.Image(core.Tensor(np.ascontiguousarray(np.where(frame.lasting(), depth, 0), np.float32)))
        # Open3D's pixel centres are whole numbers, ours half ones.
        K = core.Tensor(frame.camera.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        viewmat = core.Tensor(frame.camera.viewmat)
        blocks = grid.compute_unique_block_coordinates(image, K, viewmat, 1.0, 10.0)
        grid.integrate(blocks, image, K, viewmat, 1.0, 10.0)
    mesh = grid.extract_triangle_mesh(weight_threshold=1.0)
    return mesh.vertex.positions.numpy().astype(np.float64), mesh.triangle.indices.numpy()


def test_both_find_the_same_ball(sphere_capture: Capture) -> None:
    ours = fuse_mesh(
        lambda: map(load_view, sphere_capture.frames),
        Resolution(voxel=VOXEL, max_depth=10.0),
        Shape(max_faces=1_000_000),
        on_view=lambda: None,
    ).mesh
    vertices, faces = fused_by_open3d(sphere_capture)
    assert len(faces) > 1000
    apart = fidelity(
        distances_to_mesh(ours.vertices, vertices, faces),
        distances_to_mesh(vertices, ours.vertices, ours.faces),
        threshold=VOXEL,
    )
    assert apart.fscore > 0.999  # everywhere within a cell of each other
    assert max(apart.accuracy, apart.completeness) < VOXEL / 4

    def error(places: NDArray[np.floating]) -> float:
        return float(np.abs(np.linalg.norm(places, axis=1) - 0.7).mean())

    assert error(ours.vertices) <= error(vertices)  # and ours is no further from the true ball
