"""What moves is found where nothing labels it, by the views that see through it."""

import shutil

import numpy as np
import pytest
from keepworld.capture import Capture
from keepworld_exporters.stages.moving import without_moving
from keepworld_exporters.stages.sources import SessionDepth

from tests import scenes


def unlabelled(capture):
    for kind in ("labels", "masks"):
        shutil.rmtree(capture.folder / kind)
    return Capture(capture.folder)


def stilled(capture):
    found = without_moving(capture.frames, SessionDepth(), typical=3.0)
    return np.stack([found.of(frame).depth for frame in capture.frames])


def test_a_ball_that_flies_through_is_taken_out_and_the_letter_stays(tmp_path):
    walk = scenes.haunted_wall(tmp_path / "walk")
    moving = np.stack([(frame.labels() & 2) != 0 for frame in walk.frames])
    depth = np.stack([frame.depth() for frame in walk.frames])
    left = stilled(unlabelled(walk))
    assert (left[moving] == 0).mean() > 0.9
    lasting = ~moving & (depth > 0)
    assert (left[lasting] == depth[lasting]).mean() > 0.99


@pytest.mark.parametrize("views", [12, 29])
def test_of_a_world_that_lasts_hardly_anything_is_taken_out(tmp_path, views):
    walk = scenes.letter_wall(tmp_path / "walk", views=views)
    depth = np.stack([frame.depth() for frame in walk.frames])
    left = stilled(unlabelled(walk))
    assert (left[depth > 0] > 0).mean() > 0.995
