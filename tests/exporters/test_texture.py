"""Surfaces laid out flat, and the pictures put on them."""

from dataclasses import replace

import numpy as np
import pytest
from keepworld_exporters.__main__ import main
from keepworld_exporters.measure import psnr
from keepworld_exporters.rasterize.solid import render_mesh
from keepworld_exporters.rasterize.triangles import Hits
from keepworld_exporters.reading import read_back
from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.depth import choose_resolution, load_view
from keepworld_exporters.stages.fuse import Shape, fuse_mesh
from keepworld_exporters.stages.layout import lay_out
from keepworld_exporters.stages.texture import texture
from keepworld_exporters.stages.unwrap import unwrap
from keepworld_exporters.texels import texels

from tests import scenes

VOXEL = 0.04


def quiet() -> None:
    """Progress nobody listens to."""


def textured(frames, size=512):
    resolution = choose_resolution(200.0, 2.0, voxel=VOXEL, max_depth=8.0)
    surface = fuse_mesh(lambda: map(load_view, frames), resolution, Shape(max_faces=6000), on_view=quiet)
    return surface, put_on(surface.mesh, frames, size)


def put_on(mesh, frames, size):
    cells = np.full(len(mesh.vertices), VOXEL, np.float32)
    layout = lay_out(mesh, size=size, cells=cells)
    return replace(layout.mesh, texture=texture(layout, map(load_view, frames)))


def drawn(mesh, camera):
    return render_mesh(mesh, camera.viewmat, camera.K, camera.width, camera.height)


def test_a_texture_between_its_texels_is_what_numpy_says(rng):
    """To the bit: rays beyond its edges see the edge."""
    picture = rng.integers(0, 256, (13, 17, 3), dtype=np.uint8)
    uvs = (1.2 * rng.random((40, 50, 2)) - 0.1).astype(np.float32)
    a = np.clip(uvs[..., 0] * 17 - np.float32(0.5), 0, 16)
    b = np.clip(uvs[..., 1] * 13 - np.float32(0.5), 0, 12)
    u, v = a.astype(int), b.astype(int)
    s, t = (a - u)[..., None], (b - v)[..., None]
    right, below = np.minimum(u + 1, 16), np.minimum(v + 1, 12)
    upper = (1 - s) * picture[v, u] + s * picture[v, right]
    lower = (1 - s) * picture[below, u] + s * picture[below, right]
    np.testing.assert_array_equal(texels(picture, uvs), ((1 - t) * upper + t * lower).astype(np.float32))


def test_what_pixels_show_is_the_sum_of_their_corners_by_their_shares(rng):
    hits = Hits(
        face=rng.integers(-1, 4, (9, 11)).astype(np.int32),
        shares=rng.dirichlet([1, 1, 1], (9, 11)).astype(np.float32),
        depth=np.ones((9, 11), np.float32),
    )
    faces, values = rng.integers(0, 6, (4, 3)).astype(np.int32), rng.integers(0, 256, (6, 3), dtype=np.uint8)
    wanted = (hits.shares[..., None] * values[faces[hits.face]]).sum(2) * (hits.face >= 0)[..., None]
    np.testing.assert_allclose(hits.blend(values, faces), wanted, rtol=1e-6)


@pytest.fixture(scope="module")
def letter(letter_capture):
    frames = letter_capture.frames
    return textured([frame for frame in frames if frame.number % 8 != 4])


def test_the_surface_stays_where_it_was(letter):
    mesh, flat = letter[0].mesh, letter[1]
    np.testing.assert_array_equal(flat.vertices[flat.faces], mesh.vertices[mesh.faces])
    assert len(flat.vertices) == len(flat.uvs) == len(flat.normals) == len(flat.colours)


def test_no_two_places_share_a_texel(letter):
    """Triangles that lie in the picture side by side cover as many texels as their areas add up to."""
    mesh = letter[0].mesh
    _, faces, uvs, (width, height) = unwrap(mesh.vertices, mesh.faces, size=512)
    assert uvs.min() >= 0 and uvs.max() <= 1
    corners = uvs[faces].astype(np.float64) * [width, height]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    covered = np.zeros((height, width), int)
    for triangle in corners:
        left, top = np.maximum(np.floor(triangle.min(0)).astype(int), 0)
        right, bottom = np.ceil(triangle.max(0)).astype(int)
        u, v = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
        sides = []
        for k in range(3):
            (ax, ay), (bx, by) = triangle[k], triangle[(k + 1) % 3]
            sides.append((bx - ax) * (v - ay) - (by - ay) * (u - ax))
        inside = np.all(np.array(sides) > 0, 0) | np.all(np.array(sides) < 0, 0)
        covered[top:bottom, left:right][inside[: height - top, : width - left]] += 1
    assert (covered > 1).sum() < 0.001 * (covered > 0).sum()  # on edges, by rounding
    assert covered.sum() == pytest.approx(area.sum(), rel=0.02)


def test_two_textures_are_the_same_to_the_byte(letter, letter_capture):
    mesh, flat = letter[0].mesh, letter[1]
    frames = [frame for frame in letter_capture.frames if frame.number % 8 != 4]
    again = put_on(mesh, frames, 512)
    np.testing.assert_array_equal(again.uvs, flat.uvs)
    np.testing.assert_array_equal(again.texture, flat.texture)


def test_views_that_were_held_out_look_as_they_did(letter, letter_capture):
    for frame in letter_capture.frames[4::8]:
        camera = frame.camera
        seen, lasting = drawn(letter[1], camera), frame.lasting()
        depth = seen.depth
        assert (depth[lasting] > 0).mean() > 0.95
        assert psnr(seen.image, frame.image() / 255, lasting & (depth > 0)) > 26


def test_what_flew_through_is_not_in_the_texture(tmp_path):
    _, flat = textured(scenes.haunted_wall(tmp_path / "walk", views=16).frames)
    magenta = (flat.texture[..., 0] > 190) & (flat.texture[..., 1] < 70) & (flat.texture[..., 2] > 190)
    assert not magenta.any()


def test_a_plain_ball_has_a_plain_texture_without_seams(sphere_capture):
    """Of one colour: no texel that a reader may look at, in the charts and in the gutters, has another."""
    colour = np.array([120, 60, 200], np.uint8)
    mesh = textured(sphere_capture.frames[:4], size=64)[0].mesh
    plain = Mesh(vertices=mesh.vertices, faces=mesh.faces, colours=np.broadcast_to(colour, mesh.vertices.shape).copy())
    flat = put_on(plain, [], 256)
    assert (np.abs(flat.texture.astype(int) - colour) <= 1).all()
    camera = sphere_capture.frames[0].camera
    seen = drawn(flat, camera)
    assert np.abs(seen.image[seen.depth > 0] * 255 - colour).max() < 1.5


def test_a_textured_mesh_comes_back_from_its_file_and_looks_like_the_frames(letter_capture, tmp_path):
    command = [str(letter_capture.folder), str(tmp_path / "x.glb"), "--texture", "512", "--voxel", "0.04"]
    assert main([*command, "--progress", "none"]) == 0
    mesh = read_back(tmp_path / "x.glb")
    assert max(mesh.texture.shape[:2]) < 800
    frame = letter_capture.frames[12]
    camera = frame.camera
    seen = drawn(mesh, camera)
    assert psnr(seen.image, frame.image() / 255, frame.lasting() & (seen.depth > 0)) > 26


@pytest.mark.parametrize("size", ["-1", "-5", "x", "100000"])
def test_textures_of_no_sensible_size_are_usage_errors(size, letter_capture, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(letter_capture.folder), "x.glb", "--texture", size])
    assert stopped.value.code == 2
