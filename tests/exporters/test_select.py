"""Which frames are used: those that show something new, sharply, and together all that was seen."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from keepworld import png
from keepworld.camera import PoseSource
from keepworld.capture import Capture
from keepworld_exporters.stages.select import cover, evenly, picture_shift, select
from keepworld_exporters.stages.sharpness import sharpness
from scipy.ndimage import gaussian_filter

from tests import scenes
from tests.exporters.room import GROUND, WALL, sideways

TYPICAL = 3.0


@pytest.fixture
def walk(tmp_path):
    """Thirty frames past a wall, two pixels' shift apart, as if someone had filmed them."""
    walk = scenes.write(tmp_path / "walk", [WALL, GROUND], sideways(30, 0.08), size=(128, 96))
    return as_filmed(walk.folder)


def as_filmed(folder):
    capture = Capture(folder)
    return [replace(f, camera=replace(f.camera, source=PoseSource.GIVEN)) for f in capture.frames]


def blur(frames, numbers, sigma=2.0):
    for number in numbers:
        path = frames[number].folder / f"frames/{number:06d}.png"
        soft = gaussian_filter(frames[number].image().astype(float), (sigma, sigma, 0))
        path.write_bytes(png.encode(np.round(soft).astype(np.uint8)))


def test_blur_lowers_sharpness_and_light_and_contrast_do_not(walk):
    image = walk[3].image()
    soft = np.round(gaussian_filter(image.astype(float), (1.2, 1.2, 0))).astype(np.uint8)
    dim = (image // 2 + 20).astype(np.uint8)
    assert sharpness(soft) < 0.5 * sharpness(image)
    assert sharpness(dim) == pytest.approx(sharpness(image), rel=0.25)


def test_of_frames_that_show_the_same_the_sharpest_is_used(walk):
    all_sharp = [frame.number for frame in select(walk, holdout=0, typical_depth=TYPICAL).used]
    assert 5 < len(all_sharp) < 28  # some shifts are below a new view's
    blur(walk, all_sharp[2:6])
    chosen = [frame.number for frame in select(walk, holdout=0, typical_depth=TYPICAL).used]
    assert not set(chosen) & set(all_sharp[2:6])
    gaps = [picture_shift(walk[a], walk[b], TYPICAL) for a, b in pairwise(chosen)]
    assert max(gaps) < 0.25 * 128 + 8  # nothing was left unseen for it


@pytest.mark.parametrize(("first", "numbers"), [(None, [4, 12, 20, 28]), (0, [0, 8, 16, 24]), (6, [6, 14, 22])])
def test_every_eighth_frame_is_held_out_from_the_one_that_is_said(walk, first, numbers):
    selection = select(walk, holdout=8, typical_depth=TYPICAL, first=first)
    assert [frame.number for frame in selection.heldout] == numbers
    assert not {frame.number for frame in selection.used} & set(numbers)


def test_a_blurred_frame_is_kept_where_nothing_else_shows_what_it_shows(tmp_path):
    walk = scenes.write(tmp_path / "walk", [WALL, GROUND], sideways(7, 0.6), size=(128, 96))
    frames = as_filmed(walk.folder)
    blur(frames, [3])
    assert 3 in [frame.number for frame in select(frames, holdout=0, typical_depth=TYPICAL).used]


def test_frames_that_were_drawn_are_chosen_by_how_far_they_are_apart_alone(walk):
    drawn = Capture(walk[0].folder).frames
    before = [frame.number for frame in select(drawn, holdout=0, typical_depth=TYPICAL).used]
    blur(walk, before[1:4])
    assert [frame.number for frame in select(drawn, holdout=0, typical_depth=TYPICAL).used] == before


def test_a_way_gone_twice_is_not_looked_at_twice(tmp_path):
    way = sideways(16, 0.3)
    walk = scenes.write(tmp_path / "walk", [WALL], [*way, *([way[-1]] * 16), *way[::-1]], size=(64, 48))
    chosen = cover(walk.frames, 12, typical_depth=TYPICAL)
    assert [f.number for f in chosen] == sorted(f.number for f in chosen) and len(chosen) == 12

    def worst(few):
        return max(min(picture_shift(a, b, TYPICAL) for b in few) for a in walk.frames)

    assert worst(chosen) < worst(evenly(walk.frames, 12))
    # Sixteen places by twelve frames: none further from one of them than its neighbour is.
    assert worst(chosen) <= picture_shift(walk.frames[0], walk.frames[1], TYPICAL) * 1.3
