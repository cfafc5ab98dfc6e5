"""Coarser surfaces, and those that physics engines need."""

import numpy as np
import pytest
import trimesh
from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.collider import convex_collider, triangle_collider
from keepworld_exporters.stages.lod import levels


def ball(subdivisions=5):
    shape = trimesh.creation.icosphere(subdivisions=subdivisions, radius=2.0)
    colours = np.where(shape.vertices[:, :1] > 0, [[200, 30, 30]], [[30, 30, 200]]).astype(np.uint8)
    return Mesh(vertices=shape.vertices.astype(np.float32), faces=shape.faces.astype(np.int32), colours=colours)


def as_trimesh(mesh):
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def test_each_level_has_its_share_of_triangles_and_is_still_the_ball():
    whole = ball()
    made = levels(whole)
    assert made[0] is whole and len(made) == 4
    for level, share in zip(made, (1.0, 0.5, 0.2, 0.05), strict=True):
        assert len(level.faces) == pytest.approx(share * len(whole.faces), rel=0.05)
        assert np.abs(np.linalg.norm(level.vertices, axis=1) - 2).max() < 0.05
        left = level.vertices[:, 0] < -0.3
        assert (level.colours[left] == (30, 30, 200)).all() and left.any()


def test_levels_too_coarse_to_be_a_surface_are_left_out():
    assert len(levels(ball(subdivisions=2))) == 1


def test_a_triangle_collider_is_small_and_closed_where_the_surface_was():
    whole = ball()
    cut = Mesh(  # as a texture's seams cut it: every triangle has corners of its own
        vertices=whole.vertices[whole.faces].reshape(-1, 3),
        faces=np.arange(3 * len(whole.faces), dtype=np.int32).reshape(-1, 3),
        colours=np.zeros((3 * len(whole.faces), 3), np.uint8),
    )
    made = triangle_collider(cut, max_faces=2000)
    assert len(made.faces) <= 2000
    assert as_trimesh(made).is_watertight
    assert as_trimesh(made).volume == pytest.approx(as_trimesh(whole).volume, rel=0.01)


def test_a_hull_is_convex_closed_outward_and_holds_everything(rng):
    points = rng.normal(size=(400, 3)).astype(np.float32)
    cloud = Mesh(
        vertices=points, faces=rng.integers(0, 400, (300, 3)).astype(np.int32), colours=np.zeros((400, 3), np.uint8)
    )
    hull = as_trimesh(convex_collider(cloud))
    assert hull.is_watertight and hull.is_convex and hull.volume > 0
    reach = ((points[:, None] - hull.triangles_center[None]) * hull.face_normals[None]).sum(-1)
    assert reach.max() < 1e-5


def test_something_flat_has_no_hull():
    flat = Mesh(
        vertices=np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32),
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        colours=np.zeros((4, 3), np.uint8),
    )
    with pytest.raises(ValueError, match="volume"):
        convex_collider(flat)
