"""The rasteriser against the formulas written out, Gaussian by Gaussian and pixel by pixel."""

from dataclasses import replace

import numba
import numpy as np
import pytest
from keepworld.camera import intrinsics
from keepworld_exporters.rasterize.cpu import render_splats
from keepworld_exporters.rasterize.fit import Target, fit_colours
from keepworld_exporters.rasterize.solid import render_mesh
from keepworld_exporters.scene import Mesh, Splats

from tests import scenes
from tests.exporters import dense

WIDTH, HEIGHT = 53, 37  # no multiple of a tile


def cloud(rng, count, bands):
    quats = rng.normal(size=(count, 4))
    return Splats(
        means=rng.uniform([-2, -1.5, -1], [2, 1.5, 6], (count, 3)).astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=np.exp(rng.uniform(-5, -0.7, (count, 3))).astype(np.float32),
        opacities=rng.uniform(0, 1, count).astype(np.float32),
        sh0=rng.normal(size=(count, 3)).astype(np.float32),
        shN=(0.4 * rng.normal(size=(count, bands, 3))).astype(np.float32),
    )


def camera():
    viewmat = np.linalg.inv(scenes.look((0.3, -0.2, -1.5), (0.1, 0.2, 2.0)))
    return viewmat, intrinsics(WIDTH, HEIGHT, 1.2)


@pytest.mark.parametrize("bands", [0, 3, 8, 15])
def test_it_draws_what_the_formulas_say(bands, rng):
    splats = cloud(rng, 250, bands)
    viewmat, K = camera()
    seen = render_splats(splats, viewmat, K, WIDTH, HEIGHT)
    image, alpha, depth = dense.render(
        splats.means, splats.quats, splats.scales, splats.opacities, splats.sh0, splats.shN, viewmat, K, WIDTH, HEIGHT
    )
    # float32 output, and a Gaussian here or there that falls on the other side of a threshold of 1/255
    for got, wanted in ((seen.image, image), (seen.alpha, alpha), (seen.depth, depth)):
        close = np.abs(got - wanted) < 2e-5
        assert close.mean() > 0.999
        assert np.abs(got - wanted).max() < 0.03


def test_one_gaussian_in_front_of_the_camera_is_a_known_spot():
    """At its centre a Gaussian of opacity 0.5 and colour 1 shows 0.5; one standard deviation off, exp(-1/2) of that."""
    K = np.array([[100.0, 0, 20.5], [0, 100.0, 20.5], [0, 0, 1]])
    width = np.sqrt(16.0 - 0.3) / 100  # 4 pixels on the picture, the 0.3 that is added taken off
    one = Splats(
        means=np.float32([[0, 0, 1]]), quats=np.float32([[1, 0, 0, 0]]), scales=np.full((1, 3), width, np.float32),
        opacities=np.float32([0.5]), sh0=np.full((1, 3), 0.5 / 0.28209479, np.float32), shN=np.zeros((1, 0, 3), np.float32),
    )  # fmt: skip
    seen = render_splats(one, np.eye(4), K, 41, 41)
    assert seen.image[20, 20] == pytest.approx([0.5] * 3, abs=1e-6)
    assert seen.alpha[20, 24] == pytest.approx(0.5 * np.exp(-0.5), abs=1e-5)
    assert seen.depth[20, 20] == pytest.approx(0.5, abs=1e-6)


def test_the_nearer_hides_the_further_whatever_their_order():
    near, far = [0, 0, 1], [0, 0, 2]
    for order in ([near, far], [far, near]):
        red = [order.index(near) == k for k in range(2)]
        sh0 = np.where(np.array(red)[:, None], [1.7, -1.7, -1.7], [-1.7, 1.7, -1.7])
        splats = Splats(
            means=np.float32(order), quats=np.float32([[1, 0, 0, 0]] * 2), scales=np.full((2, 3), 0.3, np.float32),
            opacities=np.float32([1, 1]), sh0=sh0.astype(np.float32), shN=np.zeros((2, 0, 3), np.float32),
        )  # fmt: skip
        red, green, _ = render_splats(splats, np.eye(4), intrinsics(32, 32, 1.0), 32, 32).image[16, 16]
        assert red > 0.95 and green < 0.05


def test_the_same_on_one_thread_as_on_two(rng):
    splats = cloud(rng, 400, 3)
    viewmat, K = camera()
    two = render_splats(splats, viewmat, K, WIDTH, HEIGHT)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    one = render_splats(splats, viewmat, K, WIDTH, HEIGHT)
    numba.set_num_threads(threads)
    assert one.image.tobytes() == two.image.tobytes()
    assert one.depth.tobytes() == two.depth.tobytes()


def test_no_splats_make_an_empty_picture():
    empty = Splats(
        means=np.zeros((0, 3), np.float32), quats=np.zeros((0, 4), np.float32), scales=np.zeros((0, 3), np.float32),
        opacities=np.zeros(0, np.float32), sh0=np.zeros((0, 3), np.float32), shN=np.zeros((0, 0, 3), np.float32),
    )  # fmt: skip
    seen = render_splats(empty, np.eye(4), intrinsics(8, 8, 1.0), 8, 8)
    assert not seen.image.any() and not seen.alpha.any()


def test_a_triangle_covers_the_pixels_whose_centres_it_holds():
    """A right triangle with its legs along the picture's edges, at depth 2."""
    K = np.array([[10.0, 0, 0], [0, 10.0, 0], [0, 0, 1]])
    corners = np.float32([[0, 0, 2], [2.1, 0, 2], [0, 2.1, 2]])
    mesh = Mesh(vertices=corners, faces=np.int32([[0, 1, 2]]), colours=np.uint8([[255, 0, 0]] * 3))
    seen = render_mesh(mesh, np.eye(4), K, 10, 10)
    v, u = np.mgrid[0:10, 0:10] + 0.5
    inside = u + v < 10.5
    np.testing.assert_array_equal(seen.image[..., 0] > 0.999, inside)
    np.testing.assert_array_equal(seen.alpha > 0, inside)
    np.testing.assert_allclose(seen.depth[inside], 2, rtol=1e-6)


def test_a_floor_that_goes_on_behind_the_camera_fills_the_lower_half():
    """Two triangles from 50 m behind to 50 m before a camera 1.5 m above them: each pixel's depth by the closed form."""
    K = intrinsics(32, 24, 1.2)
    corners = np.float32([[-50, 1.5, -50], [50, 1.5, -50], [50, 1.5, 50], [-50, 1.5, 50]])
    floor = Mesh(vertices=corners, faces=np.int32([[0, 1, 2], [0, 2, 3]]), colours=np.uint8([[255, 255, 255]] * 4))
    seen = render_mesh(floor, np.eye(4), K, 32, 24)
    down = (np.arange(24) + 0.5 - K[1, 2]) / K[1, 1]
    wanted = np.where(down > 1.5 / 50, 1.5 / np.maximum(down, 1e-9), 0)
    np.testing.assert_allclose(seen.depth, np.broadcast_to(wanted[:, None], (24, 32)), rtol=1e-5)


def test_more_rays_a_pixel_give_the_share_that_is_covered():
    K = np.array([[10.0, 0, 0], [0, 10.0, 0], [0, 0, 1]])
    corners = np.float32([[0, 0, 1], [0.525, 0, 1], [0.525, 1, 1], [0, 1, 1]])  # five and a quarter pixels wide
    square = Mesh(vertices=corners, faces=np.int32([[0, 1, 2], [0, 2, 3]]), colours=np.uint8([[255, 0, 0]] * 4))
    seen = render_mesh(square, np.eye(4), K, 10, 10, samples=4)
    np.testing.assert_allclose(seen.alpha[0], [1] * 5 + [0.25] + [0] * 4)
    np.testing.assert_allclose(seen.image[0, :, 0], seen.alpha[0], rtol=1e-5)


def test_fitting_colours_finds_those_a_picture_was_drawn_with(rng):
    """Discs side by side, drawn in known colours: from grey, the fit finds them; what the mask leaves out says nothing."""
    x, y = np.meshgrid(np.linspace(-0.9, 0.9, 8), np.linspace(-0.6, 0.6, 6))
    count = x.size
    wanted = rng.uniform(0.1, 0.9, (count, 3))
    splats = Splats(
        means=np.stack([x, y, np.full_like(x, 2)], -1).reshape(-1, 3).astype(np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        scales=np.full((count, 3), 0.1, np.float32),
        opacities=np.full(count, 0.9, np.float32),
        sh0=((wanted - 0.5) / 0.28209479).astype(np.float32),
        shN=np.zeros((count, 0, 3), np.float32),
    )
    K = intrinsics(96, 64, 1.0)
    image = np.round(255 * np.clip(render_splats(splats, np.eye(4), K, 96, 64).image, 0, 1)).astype(np.uint8)
    mask = np.ones((64, 96), np.float32)
    mask[:, 60:] = 0
    image[:, 60:] = 255  # a lie that the mask hides
    target = Target(image=image, mask=mask, viewmat=np.eye(4), K=K)
    grey = replace(splats, sh0=np.zeros_like(splats.sh0))
    fitted = fit_colours(grey, [lambda: target], rounds=60, on_step=lambda: None)
    seen = splats.means[:, 0] < 0.05  # whose discs lie well within the mask
    found = 0.5 + 0.28209479 * fitted.sh0
    assert np.abs(found - wanted)[seen].max() < 0.03
    hidden = splats.means[:, 0] > 0.8
    np.testing.assert_allclose(found[hidden], 0.5, atol=1e-6)
