"""Lenses against COLMAP's own, and pictures straightened so that every pixel is one that was taken."""

import numpy as np
import pycolmap
import pytest
from keepworld_exporters.ingest.lens import Bend, Lens, colmap_lens
from keepworld_exporters.ingest.resample import resampling

SIZE = (640, 480)
CAMERAS = {
    "SIMPLE_PINHOLE": [500, 320, 240],
    "PINHOLE": [500, 490, 320, 240],
    "SIMPLE_RADIAL": [500, 330, 235, -0.12],
    "RADIAL": [500, 320, 240, 0.1, -0.05],
    "OPENCV": [500, 495, 318, 242, -0.2, 0.06, 0.004, -0.003],
    "FULL_OPENCV": [500, 495, 318, 242, -0.2, 0.06, 0.004, -0.003, 0.01, 0.05, -0.02, 0.003],
    "OPENCV_FISHEYE": [300, 298, 321, 239, 0.02, -0.01, 0.004, -0.001],
    "SIMPLE_RADIAL_FISHEYE": [300, 321, 239, 0.03],
    "RADIAL_FISHEYE": [300, 321, 239, 0.03, -0.01],
    "FOV": [420, 425, 318, 243, 0.8],
}


@pytest.mark.parametrize("model", CAMERAS)
def test_a_lens_bends_as_colmap_bends_it(model):
    rays = np.random.default_rng(1).uniform(-0.5, 0.5, (500, 2))
    theirs = pycolmap.Camera(model=model, width=SIZE[0], height=SIZE[1], params=CAMERAS[model])
    wanted = theirs.img_from_cam(np.concatenate([rays, np.ones((500, 1))], 1))
    np.testing.assert_allclose(colmap_lens(model, *SIZE, CAMERAS[model]).project(rays), wanted, atol=1e-9)


def test_nerfstudios_fourth_number_is_a_power_of_the_radius():
    """By nerfstudio's own formula: 1 + r²(k1 + r²(k2 + r²(k3 + r² k4)))."""
    k = (0.1, -0.05, 0.02, -0.01)
    lens = Lens(fx=1, fy=1, cx=0, cy=0, width=9, height=9, bend=Bend.BROWN, radial=k)
    x, y = 0.3, -0.4
    r = x * x + y * y
    factor = 1 + r * (k[0] + r * (k[1] + r * (k[2] + r * k[3])))
    np.testing.assert_allclose(lens.project(np.array([x, y])), [x * factor, y * factor], rtol=1e-12)


@pytest.mark.parametrize("model", CAMERAS)
@pytest.mark.parametrize("size", [SIZE, (320, 240), (300, 300)])
def test_every_pixel_of_a_straightened_picture_lies_in_the_bent_one_and_little_is_cut(model, size):
    lens = colmap_lens(model, *SIZE, CAMERAS[model])
    straight = lens.straightened(*size)
    u, v = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    places = lens.project(np.stack([(u - straight.cx) / straight.fx, (v - straight.cy) / straight.fy], -1))
    assert places.min() >= 0.5 - 1e-5
    assert (places <= np.array(SIZE) - 0.5 + 1e-5).all()
    # Somewhere the picture reaches the edge of what was taken: nothing was cut without need.
    gap = min(np.abs(places - 0.5).min(), np.abs(places - np.array(SIZE) + 0.5).min())
    assert gap < 1.0 or straight.fx < 0.36 * max(size)  # of a fisheye the angle ends it first


@pytest.mark.parametrize("model", ["OPENCV", "OPENCV_FISHEYE"])
def test_a_straight_line_in_the_world_is_straight_in_the_picture(model):
    """Bars of a grid, drawn as the bent lens sees them, stand where the pinhole says after straightening."""
    lens = colmap_lens(model, *SIZE, CAMERAS[model])
    u, v = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    # Rays of the bent picture's pixels: by Newton-free search, the fixed point of the bending.
    wanted = np.stack([u, v], -1)
    rays = (wanted - [lens.cx, lens.cy]) / [lens.fx, lens.fy]
    for _ in range(60):
        rays += (wanted - lens.project(rays)) / [lens.fx, lens.fy] * 0.7
    # A gentle wave along x in the world's plane z = 1: bright as 127 + 100 sin(20 x).
    bent = np.repeat((127 + 100 * np.sin(20 * rays[..., :1])).astype(np.uint8), 3, 2)
    way = resampling(lens, *SIZE)
    made = way.picture(bent)
    x = (u - way.lens.cx) / way.lens.fx
    true = 127 + 100 * np.sin(20 * x)
    assert np.abs(made[..., 0] - true).mean() < 2.0
    assert np.quantile(np.abs(made[..., 0] - true), 0.99) < 8


def test_a_straight_lens_of_the_wanted_size_leaves_its_pictures_alone():
    lens = colmap_lens("OPENCV", *SIZE, [500, 500, 320, 240, 0, 0, 0, 0])
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    assert resampling(lens, *SIZE).picture(image) is image


def test_a_picture_made_smaller_is_averaged():
    lens = colmap_lens("PINHOLE", *SIZE, [500, 500, 320, 240])
    image = np.zeros((480, 640, 3), np.uint8)
    image[::2] = 255  # every other row: half bright
    made = resampling(lens, 160, 120).picture(image)
    assert np.abs(made.astype(int) - 127).max() <= 2


def test_a_straight_picture_of_half_the_size_has_the_means_of_four_pixels_each(rng):
    """And nothing is shifted between pixels, which would blur it: the lens is the same, in larger pixels."""
    image = rng.integers(0, 256, (120, 160, 3)).astype(np.uint8)
    lens = Lens(fx=140.0, fy=138.0, cx=82.3, cy=57.1, width=160, height=120)
    way = resampling(lens, 80, 60)
    means = image.reshape(60, 2, 80, 2, 3).mean((1, 3))
    assert np.abs(way.picture(image) - means).max() <= 0.5 + 1e-6
    assert (way.lens.fx, way.lens.fy, way.lens.cx, way.lens.cy) == (70.0, 69.0, 41.15, 28.55)


def test_labels_are_never_mixed():
    lens = colmap_lens("SIMPLE_RADIAL", *SIZE, CAMERAS["SIMPLE_RADIAL"])
    labels = np.random.default_rng(0).choice([0, 7], (480, 640)).astype(np.uint8)
    assert set(np.unique(resampling(lens, *SIZE).nearest(labels))) == {0, 7}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0])
def test_numbers_that_make_no_lens_are_refused(bad):
    with pytest.raises(ValueError, match=r"focal|finite"):
        colmap_lens("SIMPLE_RADIAL", *SIZE, [bad, 320, 240, 0.1])


def test_a_lens_that_folds_the_picture_is_cut_before_the_fold():
    """A polynomial that turns back at r = 0.58: what lies beyond would be seen twice."""
    lens = colmap_lens("SIMPLE_RADIAL", *SIZE, [300, 320, 240, -1.0])
    straight = lens.straightened(*SIZE)
    corner = np.hypot(320 / straight.fx, 240 / straight.fy)
    assert corner < 3**-0.5 + 4e-3


def test_a_camera_of_a_model_that_is_not_read_says_which_are():
    with pytest.raises(ValueError, match="FULL_OPENCV"):
        colmap_lens("THIN_PRISM_FISHEYE", *SIZE, [1.0] * 12)
