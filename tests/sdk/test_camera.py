"""Cameras and the conventions of other programs, against what their manuals say."""

import json
import math

import numpy as np
import pytest
from keepworld.camera import (
    CONVENTIONS,
    Camera,
    convert_c2w,
    convert_points,
    intrinsics,
    invert_rigid,
    quat_from_rotation,
    restore_c2w,
    rotation_from_quat,
)
from scipy.spatial.transform import Rotation

from tests.axes import make_cameras

GOLDEN = json.loads(make_cameras.FILE.read_text())

# A point one metre ahead, and one metre to the right, and one metre up, of a camera that stands level at the origin and
# looks "forward", in each program's world as its manual draws it. Up is the negative y axis here.
MANUALS = {
    "opencv": {"ahead": (0, 0, 1), "right": (1, 0, 0), "up": (0, -1, 0)},
    "colmap": {"ahead": (0, 0, 1), "right": (1, 0, 0), "up": (0, -1, 0)},
    "opengl": {"ahead": (0, 0, -1), "right": (1, 0, 0), "up": (0, 1, 0)},
    "gltf": {"ahead": (0, 0, -1), "right": (1, 0, 0), "up": (0, 1, 0)},
    "godot": {"ahead": (0, 0, -1), "right": (1, 0, 0), "up": (0, 1, 0)},
    "nerfstudio": {"ahead": (0, 1, 0), "right": (1, 0, 0), "up": (0, 0, 1)},
    "blender": {"ahead": (0, 1, 0), "right": (1, 0, 0), "up": (0, 0, 1)},
    "unity": {"ahead": (0, 0, 1), "right": (1, 0, 0), "up": (0, 1, 0)},
    "unreal": {"ahead": (100, 0, 0), "right": (0, 100, 0), "up": (0, 0, 100)},
}
# Which of the camera's own axes looks ahead, to the right and up, again from the manuals.
CAMERA_AXES = {
    "opencv": {"ahead": (0, 0, 1), "right": (1, 0, 0), "up": (0, -1, 0)},
    "colmap": {"ahead": (0, 0, 1), "right": (1, 0, 0), "up": (0, -1, 0)},
    "opengl": {"ahead": (0, 0, -1), "right": (1, 0, 0), "up": (0, 1, 0)},
    "gltf": {"ahead": (0, 0, -1), "right": (1, 0, 0), "up": (0, 1, 0)},
    "godot": {"ahead": (0, 0, -1), "right": (1, 0, 0), "up": (0, 1, 0)},
    "nerfstudio": {"ahead": (0, 0, -1), "right": (1, 0, 0), "up": (0, 1, 0)},
    "blender": {"ahead": (0, 0, -1), "right": (1, 0, 0), "up": (0, 1, 0)},
    "unity": {"ahead": (0, 0, 1), "right": (1, 0, 0), "up": (0, 1, 0)},
    "unreal": {"ahead": (1, 0, 0), "right": (0, 1, 0), "up": (0, 0, 1)},
}
OURS = {"ahead": (0, 0, 1), "right": (1, 0, 0), "up": (0, -1, 0)}
LEFT_HANDED = {"unity", "unreal"}


def random_pose(rng: np.random.Generator) -> np.ndarray:
    c2w = np.eye(4)
    c2w[:3, :3] = Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix()
    c2w[:3, 3] = rng.normal(size=3) * 10
    return c2w


def test_every_convention_has_its_manual_here():
    assert set(MANUALS) == set(CONVENTIONS) == set(CAMERA_AXES)


@pytest.mark.parametrize("name", sorted(MANUALS))
def test_known_points_lie_where_the_manual_says(name):
    for direction, there in MANUALS[name].items():
        np.testing.assert_allclose(convert_points(OURS[direction], to=name), there)


@pytest.mark.parametrize("name", sorted(MANUALS))
def test_the_point_ahead_of_any_camera_stays_ahead_of_it(name, rng):
    """Camera matrix and point are converted apart; seen from the converted camera the point must be where it was."""
    scale = 100 if name == "unreal" else 1
    for _ in range(5):
        c2w = random_pose(rng)
        theirs = convert_c2w(c2w, to=name)
        for direction, axis in CAMERA_AXES[name].items():
            world = c2w[:3, :3] @ np.array(OURS[direction], float) + c2w[:3, 3]
            moved = theirs[:3, :3] @ (np.array(axis, float) * scale) + theirs[:3, 3]
            np.testing.assert_allclose(moved, convert_points(world, to=name), atol=1e-9)


@pytest.mark.parametrize("name", sorted(MANUALS))
def test_there_and_back_is_the_same_pose(name, rng):
    poses = np.stack([random_pose(rng) for _ in range(4)])
    np.testing.assert_allclose(restore_c2w(convert_c2w(poses, to=name), source=name), poses, atol=1e-12)


@pytest.mark.parametrize("name", sorted(MANUALS))
def test_handedness_is_the_programs(name, rng):
    triple = [convert_points(axis, to=name) for axis in np.eye(3)]
    assert (np.linalg.det(np.stack(triple)) < 0) == (name in LEFT_HANDED)
    assert CONVENTIONS[name].left_handed == (name in LEFT_HANDED)
    # A camera's matrix is a rotation in any of them: nothing is mirrored within a program.
    assert np.linalg.det(convert_c2w(random_pose(rng), to=name)[:3, :3]) == pytest.approx(1)


def test_blender_as_derived_by_hand():
    """A camera at 2 m height, 3 m along the walk, turned 90 degrees to the right."""
    c2w = np.array([[0, 0, 1, 0], [0, 1, 0, -2], [-1, 0, 0, 3], [0, 0, 0, 1]], float)
    blender = convert_c2w(c2w, to="blender")
    np.testing.assert_allclose(blender[:3, 3], [0, 3, 2])  # y is forward, z is up
    np.testing.assert_allclose(-blender[:3, 2], [1, 0, 0])  # it looks along its own -z: to the right
    np.testing.assert_allclose(blender[:3, 1], [0, 0, 1])  # its own y is up


def test_an_unknown_convention_names_the_known_ones():
    with pytest.raises(ValueError, match="unity"):
        convert_c2w(np.eye(4), to="maya")


def test_project_and_unproject_are_inverse(rng):
    camera = Camera(c2w=random_pose(rng), K=intrinsics(32, 24, 1.2), width=32, height=24)
    depth = rng.uniform(1, 9, (24, 32)).astype(np.float32)
    seen = camera.project(camera.unproject(depth))
    u, v = np.meshgrid(np.arange(32) + 0.5, np.arange(24) + 0.5)
    np.testing.assert_allclose(seen[..., 0], u, atol=1e-6)
    np.testing.assert_allclose(seen[..., 1], v, atol=1e-6)
    np.testing.assert_allclose(seen[..., 2], depth, atol=1e-6)


def test_the_field_of_view_reaches_from_edge_to_edge():
    K = intrinsics(200, 100, math.radians(90))
    left = np.linalg.inv(K) @ [0, 50, 1]
    assert math.degrees(math.atan2(left[0], left[2])) == pytest.approx(-45)


def test_a_rigid_inverse_is_the_inverse(rng):
    c2w = random_pose(rng)
    np.testing.assert_allclose(invert_rigid(c2w), np.linalg.inv(c2w), atol=1e-12)


def test_quaternions_agree_with_scipy(rng):
    for rotation in Rotation.random(50, random_state=3).as_matrix():
        x, y, z, w = Rotation.from_matrix(rotation).as_quat()
        expected = np.array([w, x, y, z]) * (1 if w >= 0 else -1)
        np.testing.assert_allclose(quat_from_rotation(rotation), expected, atol=1e-9)
        np.testing.assert_allclose(rotation_from_quat(2.5 * expected), rotation, atol=1e-9)


@pytest.mark.parametrize(
    "c2w",
    [np.eye(3), np.full((4, 4), np.nan), np.diag([1.0, 1, -1, 1]), np.diag([2.0, 2, 2, 1])],
    ids=["3x3", "nan", "mirror", "scaled"],
)
def test_what_is_no_pose_is_refused(c2w):
    with pytest.raises(ValueError, match="c2w"):
        Camera(c2w=c2w, K=intrinsics(8, 8, 1.0), width=8, height=8)


def test_the_golden_cameras_are_what_their_closed_forms_give():
    assert make_cameras.FILE.read_text() == make_cameras.text()


@pytest.mark.parametrize("camera", GOLDEN["cameras"], ids=lambda camera: camera["name"])
def test_golden_cameras_come_out_as_each_program_wants_them(camera):
    """C++ and TypeScript are held against the same file."""
    for program, there in camera["c2w"].items():
        np.testing.assert_allclose(convert_c2w(camera["c2w"]["opencv"], to=program), there, atol=1e-12)
        np.testing.assert_allclose(convert_points(GOLDEN["point"]["opencv"], to=program), GOLDEN["point"][program])


def test_the_angles_of_view_are_the_golden_ones():
    k = GOLDEN["intrinsics"]
    K = np.array([[k["fx"], 0, k["cx"]], [0, k["fy"], k["cy"]], [0, 0, 1]])
    camera = Camera(c2w=np.eye(4), K=K, width=k["width"], height=k["height"])
    assert math.degrees(camera.fov_x) == pytest.approx(GOLDEN["fov_degrees"]["horizontal"], abs=1e-12)
    assert math.degrees(camera.fov_y) == pytest.approx(GOLDEN["fov_degrees"]["vertical"], abs=1e-12)
