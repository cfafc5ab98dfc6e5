"""What steers a chunk: the queue first, then hands, for as long as they are there."""

import numpy as np
import pytest
from keepworld.motion import NEUTRAL, Control, Segment
from keepworld_runtime.engine.errors import QueueFullError
from keepworld_runtime.engine.track import ControlTrack

FORWARD, BACK = Control(move=(0, 0, 1)), Control(move=(0, 0, -1))


@pytest.fixture
def track() -> ControlTrack:
    return ControlTrack(dead_man_s=2.0, max_queued=100)


def test_nothing_asked_stands_still(track):
    steering = track.sample(3, now_s=0.0)
    assert steering.controls == (NEUTRAL,) * 3
    assert steering.poses == (None,) * 3
    assert steering.touch is None


def test_the_newest_touch_counts_and_is_new_once(track):
    track.touch(BACK, 1, at_s=10.0)
    track.touch(FORWARD, 2, at_s=10.1)
    first, second = track.sample(2, now_s=10.2), track.sample(2, now_s=10.9)
    assert first.controls == second.controls == (FORWARD, FORWARD)
    assert first.touch is not None and first.touch.client_time_us == 2
    assert second.touch is None


@pytest.mark.parametrize(("later_s", "control"), [(2.0, FORWARD), (2.001, NEUTRAL)])
def test_a_touch_ends_with_the_dead_man_time(track, later_s, control):
    track.touch(FORWARD, 1, at_s=5.0)
    assert track.sample(1, now_s=5.0 + later_s).controls == (control,)


def test_queued_frames_come_before_hands_and_in_order(track):
    pose = np.eye(4)
    assert track.queue_segments([Segment(FORWARD, 2), Segment(BACK, 3)]) == 0
    assert track.queue_poses([pose]) == 5
    track.touch(Control(move=(1, 0, 0)), 1, at_s=0.0)
    first = track.sample(4, now_s=0.0)
    assert first.controls == (FORWARD, FORWARD, BACK, BACK)
    assert first.touch is None
    assert track.queued == 2
    second = track.sample(4, now_s=0.0)
    assert [control.move for control in second.controls] == [(0, 0, -1), (0, 0, 0), (1, 0, 0), (1, 0, 0)]
    assert second.poses == (None, pose, None, None)
    assert second.touch is not None


def test_without_live_the_rest_of_a_script_stands_still(track):
    track.queue_segments([Segment(FORWARD, 1)])
    track.touch(BACK, 1, at_s=0.0)
    assert track.sample(2, now_s=0.0, live=False).controls == (FORWARD, NEUTRAL)


def test_a_full_queue_refuses_and_keeps_what_it_has(track):
    track.queue_segments([Segment(FORWARD, 90)])
    with pytest.raises(QueueFullError, match="limit of 100"):
        track.queue_segments([Segment(FORWARD, 11)])
    assert track.queued == 90
    assert track.queue_segments([Segment(FORWARD, 10)]) == 90


def test_a_worlds_first_frame_uses_no_control_up(track):
    track.queue_segments([Segment(FORWARD, 3)])
    first, second = track.sample(3, now_s=0.0, opens=True), track.sample(3, now_s=0.0)
    assert first.controls == (NEUTRAL, FORWARD, FORWARD)
    assert second.controls == (FORWARD, NEUTRAL, NEUTRAL)
    assert track.queued == 0


def test_a_worlds_first_frame_is_the_first_of_a_path(track):
    poses = [np.eye(4), np.eye(4)]
    track.queue_poses(poses)
    steering = track.sample(3, now_s=0.0, opens=True)
    assert steering.poses[0] is poses[0] and steering.poses[1] is poses[1] and steering.poses[2] is None
