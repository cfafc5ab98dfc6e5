"""What moves is found where nothing labels it, by the views that see through it."""

import shutil

import numpy as np
import pytest
from keepworld.capture import Capture
from keepworld_exporters.stages.depth import load_view
from keepworld_exporters.stages.moving import without_moving
from keepworld_exporters.stages.sources import DepthMap, FoundDepth, SessionDepth

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


def test_pictures_count_where_nothing_moves_whether_or_not_a_depth_is_known_there(tmp_path):
    walk = scenes.haunted_wall(tmp_path / "walk")
    frame = walk.frames[4]
    moving = (frame.labels() & 2) != 0
    nothing = FoundDepth.of_maps({frame.number: DepthMap(depth=np.zeros(moving.shape, np.float32), confidence=None)})
    np.testing.assert_array_equal(load_view(frame, nothing).lasting, ~moving)
    all_moving = np.stack([(frame.labels() & 2) != 0 for frame in walk.frames])
    bare = unlabelled(walk)
    found = without_moving(bare.frames, SessionDepth(), typical=3.0)
    still = np.stack([load_view(frame, found).lasting for frame in bare.frames])
    assert still[all_moving].mean() < 0.1 and still[~all_moving].mean() > 0.99
    assert load_view(bare.frames[4], nothing).lasting.all()


@pytest.mark.parametrize("views", [12, 29])
def test_of_a_world_that_lasts_hardly_anything_is_taken_out(tmp_path, views):
    walk = scenes.letter_wall(tmp_path / "walk", views=views)
    depth = np.stack([frame.depth() for frame in walk.frames])
    left = stilled(unlabelled(walk))
    assert (left[depth > 0] > 0).mean() > 0.995
