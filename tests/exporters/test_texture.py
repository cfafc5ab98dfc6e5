"""Surfaces laid out flat, and the pictures put on them."""

import numpy as np
import pytest
from keepworld_exporters.__main__ import main
from keepworld_exporters.measure import psnr
from keepworld_exporters.rasterize.textured import render_textured
from keepworld_exporters.report import read_back
from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.depth import choose_resolution, load_view
from keepworld_exporters.stages.fuse import fuse_mesh
from keepworld_exporters.stages.texture import texture
from keepworld_exporters.stages.unwrap import unwrap

from tests import scenes

VOXEL = 0.04


def quiet() -> None:
    """Progress nobody listens to."""


def textured(frames, size=512):
    resolution = choose_resolution(200.0, 2.0, voxel=VOXEL, max_depth=8.0)
    options = {"max_faces": 6000, "budget_bytes": 1 << 28, "on_view": quiet}
    mesh = fuse_mesh(lambda: map(load_view, frames), resolution, **options)
    return mesh, texture(mesh, map(load_view, frames), size=size, tolerance=2 * VOXEL)


@pytest.fixture(scope="module")
def letter(letter_capture):
    frames = letter_capture.frames
    return textured([frame for frame in frames if frame.number % 8 != 4])


def test_the_surface_stays_where_it_was(letter):
    mesh, flat = letter
    np.testing.assert_array_equal(flat.vertices[flat.faces], mesh.vertices[mesh.faces])
    assert len(flat.vertices) == len(flat.uvs) == len(flat.normals) == len(flat.colours)


def test_no_two_places_share_a_texel(letter):
    """Triangles that lie in the picture side by side cover as many texels as their areas add up to."""
    mesh, _ = letter
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
    mesh, flat = letter
    frames = [frame for frame in letter_capture.frames if frame.number % 8 != 4]
    again = texture(mesh, map(load_view, frames), size=512, tolerance=2 * VOXEL)
    np.testing.assert_array_equal(again.uvs, flat.uvs)
    np.testing.assert_array_equal(again.texture, flat.texture)


def test_views_that_were_held_out_look_as_they_did(letter, letter_capture):
    for frame in letter_capture.frames[4::8]:
        camera = frame.camera
        image, depth = render_textured(letter[1], camera.viewmat, camera.K, camera.width, camera.height)
        lasting = frame.lasting()
        assert (depth[lasting] > 0).mean() > 0.95
        assert psnr(image, frame.image() / 255, lasting & (depth > 0)) > 26


def test_what_flew_through_is_not_in_the_texture(tmp_path):
    _, flat = textured(scenes.haunted_wall(tmp_path / "walk", views=16).frames)
    magenta = (flat.texture[..., 0] > 190) & (flat.texture[..., 1] < 70) & (flat.texture[..., 2] > 190)
    assert not magenta.any()


def test_a_plain_ball_has_a_plain_texture_without_seams(sphere_capture):
    """Of one colour: no texel that a reader may look at, in the charts and in the gutters, has another."""
    colour = np.array([120, 60, 200], np.uint8)
    mesh, _ = textured(sphere_capture.frames[:4], size=64)
    plain = Mesh(vertices=mesh.vertices, faces=mesh.faces, colours=np.broadcast_to(colour, mesh.vertices.shape).copy())
    flat = texture(plain, [], size=256, tolerance=0.1)
    assert (np.abs(flat.texture.astype(int) - colour) <= 1).all()
    camera = sphere_capture.frames[0].camera
    image, depth = render_textured(flat, camera.viewmat, camera.K, camera.width, camera.height)
    assert np.abs(image[depth > 0] * 255 - colour).max() < 1.5


def test_a_mesh_without_a_texture_cannot_be_drawn_with_one(letter):
    with pytest.raises(ValueError, match="texture"):
        render_textured(letter[0], np.eye(4), np.eye(3), 8, 8)


def test_a_textured_mesh_comes_back_from_its_file_and_looks_like_the_frames(letter_capture, tmp_path):
    command = [str(letter_capture.folder), str(tmp_path / "x.glb"), "--texture", "512", "--voxel", "0.04"]
    assert main([*command, "--progress", "none"]) == 0
    mesh = read_back(tmp_path / "x.glb")
    assert max(mesh.texture.shape[:2]) < 800
    frame = letter_capture.frames[12]
    camera = frame.camera
    image, depth = render_textured(mesh, camera.viewmat, camera.K, camera.width, camera.height)
    assert psnr(image, frame.image() / 255, frame.lasting() & (depth > 0)) > 26


@pytest.mark.parametrize("size", ["0", "-5", "x", "100000"])
def test_textures_of_no_sensible_size_are_usage_errors(size, letter_capture, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(letter_capture.folder), "x.glb", "--texture", size])
    assert stopped.value.code == 2
