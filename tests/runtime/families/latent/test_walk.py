import math

import numpy as np
import pytest
from keepworld.motion import NEUTRAL, Control
from keepworld_runtime.families.latent.walk import latent_cameras, walked

FORWARD = Control(move=(0, 0, 1))
LOOK_RIGHT = Control(turn=(1, 0, 0))


def test_one_latent_of_full_deflection_is_the_published_step():
    forward = walked(np.eye(4), [FORWARD] * 4, [None] * 4, mode="fly", is_first=False)
    right = walked(np.eye(4), [LOOK_RIGHT] * 4, [None] * 4, mode="fly", is_first=False)
    assert forward[-1][:3, 3] == pytest.approx([0, 0, 0.08])
    assert right[-1][:3, 2] == pytest.approx([math.sin(math.radians(3)), 0, math.cos(math.radians(3))])


def test_a_world_begins_where_it_is_and_the_first_control_moves_nothing():
    cameras = walked(np.eye(4), [FORWARD] * 13, [None] * 13, mode="walk", is_first=True)
    assert (cameras[0] == np.eye(4)).all()
    assert cameras[12][:3, 3] == pytest.approx([0, 0, 0.24])  # three latents further


def test_a_latent_has_the_camera_of_its_last_frame():
    cameras = walked(np.eye(4), [FORWARD] * 13, [None] * 13, mode="fly", is_first=True)
    assert latent_cameras(cameras, is_first=True)[:, 2, 3] == pytest.approx([0, 0.08, 0.16, 0.24])
    later = walked(cameras[-1], [FORWARD] * 16, [None] * 16, mode="fly", is_first=False)
    assert latent_cameras(later, is_first=False)[:, 2, 3] == pytest.approx([0.32, 0.40, 0.48, 0.56])


def test_walking_stays_level_and_flying_does_not():
    looking_up = walked(np.eye(4), [Control(turn=(0, 1, 0))] * 40, [None] * 40, mode="fly", is_first=False)[-1]
    on_ground = walked(looking_up, [FORWARD] * 4, [None] * 4, mode="walk", is_first=False)[-1]
    in_the_air = walked(looking_up, [FORWARD] * 4, [None] * 4, mode="fly", is_first=False)[-1]
    assert on_ground[1, 3] == pytest.approx(0) and on_ground[2, 3] == pytest.approx(0.08)
    assert in_the_air[1, 3] == pytest.approx(-0.08 * math.sin(math.radians(30)))


def test_a_given_pose_is_taken_as_it_is_and_gone_on_from():
    pose = np.eye(4)
    pose[:3, 3] = (1, 2, 3)
    cameras = walked(np.eye(4), [NEUTRAL, FORWARD], [pose, None], mode="fly", is_first=True)
    assert (cameras[0] == pose).all()
    assert cameras[1][:3, 3] == pytest.approx([1, 2, 3.02])
