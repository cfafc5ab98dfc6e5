from __future__ import annotations

import numpy as np
import pytest
from keepworld.camera import invert_rigid
from keepworld_runtime.families.latent.poses import Motion, moved, parse
from keepworld_runtime.families.latent.relative_actions import NAMES, RelativeActions, decode, encode
from numpy.typing import NDArray


def random_path(rng: np.random.Generator, num: int) -> NDArray[np.float64]:
    """Cameras [num, 4, 4], world to camera, anywhere and every way."""
    rotations = np.linalg.qr(rng.standard_normal((num, 3, 3)))[0]
    viewmats = np.tile(np.eye(4), (num, 1, 1))
    viewmats[:, :3, :3] = rotations * np.sign(np.linalg.det(rotations))[:, None, None]
    viewmats[:, :3, 3] = 10 * rng.standard_normal((num, 3))
    return viewmats


def test_any_path_comes_back_from_its_actions(rng: np.random.Generator) -> None:
    for _ in range(50):
        path = random_path(rng, 20)
        np.testing.assert_allclose(decode(encode(path), path[0]), path, atol=1e-10)


def test_actions_come_back_from_the_path_they_make(rng: np.random.Generator) -> None:
    signed = rng.uniform(-1.5, 1.5, (30, 6))  # less than a right angle of tilt
    vectors = np.zeros((30, 13))
    vectors[:, 0:12:2], vectors[:, 1:12:2] = np.maximum(signed, 0), np.maximum(-signed, 0)
    told = encode(decode(RelativeActions(vectors=vectors, mean_step=0.25), np.eye(4)))
    np.testing.assert_allclose(told.vectors[:, 6:], vectors[:, 6:], atol=1e-9)
    np.testing.assert_allclose(told.vectors[:, :6] * told.mean_step, vectors[:, :6] * 0.25, atol=1e-9)


def test_the_same_walk_at_any_pace_has_the_same_actions(rng: np.random.Generator) -> None:
    path = random_path(rng, 20)
    for pace in (0.01, 7.0):
        faster = path.copy()
        faster[:, :3, 3] *= pace
        told = encode(faster)
        np.testing.assert_allclose(told.vectors, encode(path).vectors, atol=1e-9)
        assert told.mean_step == pytest.approx(pace * encode(path).mean_step)


def test_steps_that_go_anywhere_have_a_mean_magnitude_of_one() -> None:
    told = encode(parse("w-3, right-4, d-2").views().viewmats)
    lengths = np.linalg.norm(told.vectors[:, 0:6], axis=-1)
    assert lengths[lengths > 0].mean() == pytest.approx(1)
    assert told.mean_step == pytest.approx(0.08)


def test_a_speed_makes_moves_longer_and_leaves_turns(rng: np.random.Generator) -> None:
    path = random_path(rng, 20)
    faster = decode(encode(path), path[0], speed=3.0)
    np.testing.assert_allclose(faster[:, :3, :3], path[:, :3, :3], atol=1e-10)
    centres, far = invert_rigid(path)[:, :3, 3], invert_rigid(faster)[:, :3, 3]
    np.testing.assert_allclose(far - far[0], 3 * (centres - centres[0]), atol=1e-9)


@pytest.mark.parametrize(
    ("motion", "name"),
    [
        (Motion(forward=0.08), "dolly_in"),
        (Motion(forward=-0.08), "dolly_out"),
        (Motion(right=-0.08), "truck_left"),
        (Motion(right=0.08), "truck_right"),
        (Motion(pitch=0.05), "tilt_up"),
        (Motion(pitch=-0.05), "tilt_down"),
        (Motion(yaw=-0.05), "pan_left"),
        (Motion(yaw=0.05), "pan_right"),
        (Motion(), "static"),
    ],
)
def test_one_motion_is_one_number(motion: Motion, name: str) -> None:
    vector = encode(invert_rigid(moved(np.eye(4), [motion]))).vectors[0]
    assert [NAMES[place] for place in np.flatnonzero(vector)] == [name]


def test_going_down_and_leaning_to_the_right_are_told_as_such() -> None:
    c2ws = np.tile(np.eye(4), (2, 1, 1))
    c2ws[1, :3, :3] = [[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]]  # the head's right goes down, where y points
    c2ws[1, 1, 3] = 0.5
    told = dict(zip(NAMES, encode(invert_rigid(c2ws)).vectors[0], strict=True))
    assert told["roll_clockwise"] == pytest.approx(np.arctan2(0.8, 0.6))
    assert told["pedestal_down"] == pytest.approx(1)
    assert sum(value > 0 for value in told.values()) == 2


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((2, 12)), r"vectors must be \[N, 13\], got \[2, 12\]"),
        (np.full((1, 13), -1.0), "finite magnitudes"),
        (np.full((1, 13), np.nan), "finite magnitudes"),
        (np.ones((1, 13)), "a static step must not move or turn"),
    ],
)
def test_vectors_that_are_no_actions_are_refused(vectors: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(RelativeActions(vectors=vectors, mean_step=1.0), np.eye(4))
