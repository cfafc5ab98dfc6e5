"""A raw surface made fit for use: holes closed, roughness taken out, laid flat, its relief kept, cut into convex parts."""

import numpy as np
import pytest
import trimesh
from keepworld_exporters.formats import decode, encode
from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.collider import convex_parts
from keepworld_exporters.stages.holes import fill_holes
from keepworld_exporters.stages.layout import lay_out
from keepworld_exporters.stages.lod import levels
from keepworld_exporters.stages.paint import vertex_normals
from keepworld_exporters.stages.relief import normal_map
from keepworld_exporters.stages.smooth import smooth
from keepworld_exporters.stages.unwrap import unwrap


def ball(subdivisions=4, radius=1.0):
    shape = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return shape.vertices.astype(np.float32), shape.faces.astype(np.int32)


def mesh_of(vertices, faces):
    colours = np.clip(127.5 + 100 * vertices, 0, 255).astype(np.uint8)
    return Mesh(vertices=vertices, faces=faces, colours=colours, normals=vertex_normals(vertices, faces))


def without(vertices, faces, place, radius):
    return faces[np.linalg.norm(vertices[faces].mean(1) - place, axis=1) > radius]


def test_a_small_hole_is_closed_and_a_large_one_stays():
    vertices, faces = ball()
    open_at_both = without(vertices, without(vertices, faces, (1, 0, 0), 0.2), (-1, 0, 0), 0.8)
    closed, holes = fill_holes(vertices, open_at_both, max_length=2.0)
    assert (holes.filled, holes.left) == (1, 1)
    shape = trimesh.Trimesh(vertices, closed, process=False)
    assert shape.is_winding_consistent
    edges = shape.edges_sorted[trimesh.grouping.group_rows(shape.edges_sorted, require_count=1)]
    assert holes.rim == pytest.approx(np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1).sum())
    whole, _ = fill_holes(vertices, open_at_both, max_length=100.0, max_edges=500)
    assert trimesh.Trimesh(vertices, whole, process=False).is_watertight


def test_the_rim_of_a_loose_scrap_is_no_hole():
    vertices, faces = ball()
    scrap = faces[np.linalg.norm(vertices[faces].mean(1) - (1, 0, 0), axis=1) < 0.2]
    same, holes = fill_holes(vertices, scrap, max_length=100.0)
    assert holes.filled == 0 and len(same) == len(scrap)


def test_a_rough_ball_becomes_smooth_and_keeps_its_size(rng):
    vertices, faces = ball()
    rough = vertices + rng.normal(0, 0.01, vertices.shape).astype(np.float32)
    radii = np.linalg.norm(smooth(rough, faces, 10), axis=1)
    assert radii.std() < 0.5 * np.linalg.norm(rough, axis=1).std()
    assert radii.mean() == pytest.approx(1.0, abs=0.003)


def test_a_rim_stays_where_it_is_when_its_surface_is_smoothed(rng):
    vertices, faces = ball()
    half = faces[(vertices[faces][..., 1] < 0.3).all(1)]
    rough = vertices + rng.normal(0, 0.01, vertices.shape).astype(np.float32)
    edges = np.sort(np.concatenate([half[:, :2], half[:, 1:], half[:, ::2]]), axis=1)
    once, count = np.unique(edges, axis=0, return_counts=True)
    rim = np.unique(once[count == 1])
    np.testing.assert_array_equal(smooth(rough, half, 10)[rim], rough[rim])


def test_finer_parts_of_a_surface_get_more_texels():
    """Two balls of one size, one of them said to be four times as coarse: its lengths have a quarter of the texels."""
    vertices, faces = ball(3)
    both = np.concatenate([vertices, vertices + np.float32([4, 0, 0])])
    cells = np.repeat(np.float32([1, 4]), len(vertices))
    _, laid, uvs, shape = unwrap(both, np.concatenate([faces, faces + len(vertices)]), size=512, cells=cells)
    corners = uvs[laid].astype(float) * shape
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    assert areas[: len(faces)].sum() / areas[len(faces) :].sum() == pytest.approx(16, rel=0.1)


def bumpy():
    """A flat coarse square, and the same with waves on it whose directions are known."""
    u = np.linspace(-1, 1, 161)
    x, z = np.meshgrid(u, u)
    y = 0.02 * np.sin(12 * x)
    index = np.arange(161 * 161).reshape(161, 161)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    fine = np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32), np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])
    coarse = np.float32([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]]), np.int32([[0, 1, 2], [0, 2, 3]])
    return mesh_of(*coarse), mesh_of(fine[0], fine[1].astype(np.int32))


def test_a_normal_map_gives_back_the_directions_that_a_flat_surface_lost():
    """As a viewer does it: tangent, bitangent and normal, weighted by the map's colours, are the waves' closed form."""
    coarse, fine = bumpy()
    layout = lay_out(coarse, size=256)
    tangents, picture = normal_map(layout, fine)
    local = picture[layout.rows, layout.columns] / 127.5 - 1
    normal, along = layout.blend(layout.mesh.normals), layout.blend(tangents)
    bitangent = np.cross(normal, along[:, :3]) * along[:, 3:]
    found = local[:, :1] * along[:, :3] + local[:, 1:2] * bitangent + local[:, 2:] * normal
    places = layout.blend(layout.mesh.vertices)
    wanted = np.stack([-0.24 * np.cos(12 * places[:, 0]), np.ones(len(places)), np.zeros(len(places))], -1)
    wanted *= np.sign(normal[:, 1:2].mean()) / np.linalg.norm(wanted, axis=1, keepdims=True)
    inner = (np.abs(places[:, [0, 2]]) < 0.97).all(1)
    angles = np.degrees(
        np.arccos(np.clip((found * wanted).sum(1)[inner] / np.linalg.norm(found[inner], axis=1), -1, 1))
    )
    assert np.median(angles) < 1 and np.quantile(angles, 0.99) < 3


def test_tangents_point_where_the_texture_runs_to_the_right_and_its_up_lies_on_the_side_they_say():
    coarse, fine = bumpy()
    layout = lay_out(coarse, size=64)
    tangents, _ = normal_map(layout, fine)
    mesh = layout.mesh
    for face in mesh.faces:
        (p, q, r), (a, b, c) = mesh.vertices[face].astype(float), mesh.uvs[face].astype(float)
        right, down = np.linalg.solve(np.stack([b - a, c - a]), np.stack([q - p, r - p]))
        tangent, up = (
            tangents[face[0], :3],
            np.cross(mesh.normals[face[0]], tangents[face[0], :3]) * tangents[face[0], 3],
        )
        assert tangent @ right > 0.99 * np.linalg.norm(right) and up @ -down > 0.99 * np.linalg.norm(down)


def test_a_normal_map_comes_back_from_a_glb():
    coarse, fine = bumpy()
    layout = lay_out(coarse, size=64)
    tangents, relief = normal_map(layout, fine)
    picture = layout.picture(layout.blend(layout.mesh.colours))
    mesh = Mesh(
        vertices=layout.mesh.vertices, faces=layout.mesh.faces, colours=layout.mesh.colours, normals=layout.mesh.normals,
        uvs=layout.mesh.uvs, texture=picture, tangents=tangents, normal_map=relief,
    )  # fmt: skip
    back = decode(encode(mesh, ".glb", {}), ".glb")
    np.testing.assert_array_equal(back.normal_map, relief)
    np.testing.assert_array_equal(back.texture, picture)
    np.testing.assert_allclose(back.tangents, tangents, atol=1e-6)


def test_coarser_levels_of_a_textured_mesh_have_textures_that_show_the_same():
    vertices, faces = ball(5)
    layout = lay_out(mesh_of(vertices, faces), size=512)
    places = layout.blend(layout.mesh.vertices)
    whole = Mesh(
        vertices=layout.mesh.vertices, faces=layout.mesh.faces, colours=np.zeros_like(layout.mesh.colours),
        normals=layout.mesh.normals, uvs=layout.mesh.uvs, texture=layout.picture(127.5 + 100 * places),
    )  # fmt: skip
    made = levels(whole)
    assert len(made) == 4
    for level, share in zip(made[1:], (0.5, 0.2, 0.05), strict=True):
        assert len(level.faces) == pytest.approx(share * len(faces), rel=0.05)
        assert max(level.texture.shape[:2]) < 560 * share**0.5 + 64
        middle = level.uvs[level.faces].mean(1) * level.texture.shape[1::-1]
        shown = level.texture[middle[:, 1].astype(int), middle[:, 0].astype(int)].astype(float)
        place = level.vertices[level.faces].mean(1)
        assert np.quantile(np.abs(shown - (127.5 + 100 * place)).max(1), 0.95) < 8


def test_two_balls_apart_become_convex_closed_parts_that_fill_them():
    vertices, faces = ball(3, 0.5)
    both = np.concatenate([vertices, vertices + np.float32([3, 0, 0])])
    parts = convex_parts(mesh_of(both, np.concatenate([faces, faces + len(vertices)])), 4)
    assert 2 <= len(parts) <= 4
    shapes = [trimesh.Trimesh(part.vertices, part.faces, process=True) for part in parts]
    assert all(shape.is_watertight and shape.is_convex for shape in shapes)
    assert sum(shape.volume for shape in shapes) == pytest.approx(2 * 4 / 3 * np.pi * 0.5**3, rel=0.15)
