"""Frames without depth, judged by their pictures: the one that shows something else is found, and only that one."""

import os
import shutil
import sys

import numpy as np
import pytest
from keepworld.capture import Capture
from keepworld_exporters.judge import judge, scores

from tests import scenes
from tests.exporters.room import BALL, GROUND, SIZE, WALL, bare, sideways

LIAR = 5


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Of thirteen frames, one has drifted to another place."""
    folder = tmp_path_factory.mktemp("drifted")
    capture = bare(scenes.write(folder / "walk", [WALL, GROUND, BALL], sideways(13), size=SIZE))
    elsewhere = [scenes.look((0.6, -0.3, -0.5), (1.5, 0, 3))]
    scenes.write(folder / "other", [WALL, GROUND], elsewhere, size=SIZE)
    shutil.copy(folder / "other/frames/000000.png", folder / f"walk/frames/{LIAR:06d}.png")
    return capture


def test_the_frame_that_shows_another_place_is_the_one_that_does_not_agree(walk):
    found = judge(walk)
    assert found[LIAR] < 0.3 and np.delete(found, LIAR).min() > 0.95


def test_a_capture_leaves_it_out(walk, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path or os.curdir for path in sys.path))
    capture = Capture(shutil.copytree(walk.folder, tmp_path / "walk"))
    assert capture.leave_out_below(0.9) == 1
    assert LIAR not in [frame.number for frame in capture.frames] and capture.consistency > 0.95


def test_a_frame_is_judged_by_the_second_best_of_the_others_and_not_by_little():
    """Frame 0 agrees with 1 and 2 and not with 3; 4 shares too little with any."""
    good, bad, few = np.full(40, 0.2), np.full(40, 9.0), np.zeros(3)
    found = scores({(0, 1): good, (0, 2): good, (0, 3): bad, (3, 1): bad, (4, 0): few}, 5, 100)
    np.testing.assert_array_equal(found, [1, 0, 1, 0, np.nan])
