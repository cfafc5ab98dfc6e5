from __future__ import annotations

import numpy as np
import pytest
import torch
from keepworld_runtime.memory.clip import Clip, read_clip
from keepworld_runtime.memory.frame_bank import FrameBank, Room
from keepworld_runtime.memory.pose_distance import farthest_first, pose_distances
from keepworld_runtime.memory.views import rebased
from numpy.typing import NDArray

from tests.runtime.memory.walks import latents_of, random_viewmats, turned, views_of, wander

SMALL = Room(capacity=40)


def filled(room: Room, viewmats: NDArray[np.float64], chunk: int = 4) -> FrameBank:
    """A bank that has been given a walk, `chunk` latents at a time; every latent's value is its number."""
    bank = FrameBank(room, "cpu")
    for at in range(0, len(viewmats), chunk):
        own = viewmats[at : at + chunk]
        latents = torch.arange(at, at + len(own), dtype=torch.float32)[None, None, :, None, None].expand(1, 2, -1, 3, 3)
        for clip in bank.cut(latents, views_of(own)):
            bank.add(clip)
    return bank


def kept(bank: FrameBank) -> list[int]:
    return [index for clip in bank.clips for index in range(clip.start, clip.end)]


def test_everything_is_there_while_there_is_room(rng: np.random.Generator) -> None:
    bank = filled(SMALL, random_viewmats(rng, 40))
    latents, views = bank.gather(np.arange(40))
    assert latents[0, 0, :, 0, 0].tolist() == list(range(40))
    np.testing.assert_array_equal(views.actions, [*[0, 1, 2, 3] * 10])
    assert bank.last(7)[0, 0, :, 0, 0].tolist() == list(range(33, 40))


def test_the_first_and_the_newest_stay_and_no_more_is_kept_than_there_is_room_for(rng: np.random.Generator) -> None:
    for num in range(44, 240, 28):
        bank = filled(SMALL, random_viewmats(rng, num))
        assert {*range(4), *range(num - 12, num)} <= set(kept(bank))
        assert bank.num_kept == 40
        assert len(kept(bank)) == len(set(kept(bank)))
        assert bank.last(12)[0, 0, :, 0, 0].tolist() == list(range(num - 12, num))


def test_the_clip_that_shows_again_what_another_shows_is_the_one_that_goes() -> None:
    ways = [0, 40, 80, 120, 81, 160, 200, 240, 280, 320, 360]  # the fifth clip looks where the third did
    bank = filled(SMALL, np.repeat(np.stack([turned(float(way)) for way in ways]), 4, axis=0))
    assert set(range(44)) - set(kept(bank)) == {16, 17, 18, 19}


def test_a_short_clip_is_one_of_its_own_and_those_after_it_count_on(rng: np.random.Generator) -> None:
    bank = FrameBank(SMALL, "cpu")
    viewmats = random_viewmats(rng, 15)
    for at, to in ((0, 7), (7, 11), (11, 15)):
        for clip in bank.cut(latents_of(at, to - at), views_of(viewmats[at:to])):
            bank.add(clip)
    assert [(clip.start, clip.end) for clip in bank.clips] == [(0, 4), (4, 7), (7, 11), (11, 15)]
    np.testing.assert_array_equal(bank.history().probes[1], viewmats[[4, 6]])


def test_a_bank_does_not_hold_on_to_the_chunk_that_its_latents_came_in() -> None:
    chunk = latents_of(0, 16)
    bank = FrameBank(SMALL, "cpu")
    views = views_of(np.tile(np.eye(4), (16, 1, 1)))
    for clip in bank.cut(chunk, views):
        bank.add(clip)
    chunk.zero_()
    views.viewmats[:] = 0
    latents, kept_views = bank.gather(np.arange(16))
    assert torch.equal(latents, latents_of(0, 16))
    np.testing.assert_array_equal(kept_views.viewmats, np.tile(np.eye(4), (16, 1, 1)))
    assert all(clip.latents.untyped_storage().nbytes() == clip.latents.nbytes for clip in bank.clips)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_clip_is_stored_to_the_bit(dtype: torch.dtype, rng: np.random.Generator) -> None:
    clip = Clip(12, latents_of(3, 4).to(dtype), views_of(random_viewmats(rng, 4)))
    again = read_clip(12, clip.part, "cpu")
    assert again.latents.dtype == dtype
    assert torch.equal(again.latents, clip.latents)
    np.testing.assert_array_equal(again.views.viewmats, clip.views.viewmats)
    np.testing.assert_array_equal(again.views.Ks, clip.views.Ks)
    np.testing.assert_array_equal(again.views.actions, clip.views.actions)
    assert again.part == clip.part


def test_a_part_is_made_once_under_a_name_of_its_own(rng: np.random.Generator) -> None:
    bank = filled(SMALL, random_viewmats(rng, 16))
    before, after = bank.parts(), bank.parts()
    assert list(before) == ["latents/000000", "latents/000004", "latents/000008", "latents/000012"]
    assert all(before[name] is after[name] for name in before)


def test_a_room_too_small_to_choose_in_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity must be at least 24 latents, got 20"):
        Room(capacity=20)


def test_latents_that_are_not_like_those_before_are_refused(rng: np.random.Generator) -> None:
    bank = filled(SMALL, random_viewmats(rng, 4))
    for wrong in (latents_of(0, 4), latents_of(0, 4, 2, (3, 3)).bfloat16()):
        with pytest.raises(ValueError, match="as those before"):
            bank.add(bank.cut(wrong, views_of(random_viewmats(rng, 4)))[0])
    with pytest.raises(ValueError, match=r"latents must be \[1, C, 4, h, w\], got \[1, 4, 3, 4, 8\]"):
        bank.cut(latents_of(0, 3), views_of(random_viewmats(rng, 4)))
    assert bank.num_latents == 4


def test_a_way_of_one_length_is_as_far_as_a_turn_by_45_degrees() -> None:
    here, there, aside = turned(0), turned(0, (4, 0, 0)), turned(45)
    found = pose_distances(here[None], np.stack([here, there, aside, turned(-90, (0, 0, 8))]), 4.0)
    np.testing.assert_allclose(found, [[0, 1, 1, 4]], atol=1e-7)


def test_the_last_of_the_farthest_first_order_is_one_of_the_closest_pair(rng: np.random.Generator) -> None:
    for _ in range(50):
        viewmats = random_viewmats(rng, 12)
        distances = pose_distances(viewmats, viewmats, 4.0)
        order = farthest_first(distances, np.array([0]))
        np.fill_diagonal(distances, np.inf)
        assert sorted(order) == list(range(1, 12))
        assert distances[order[-1]].min() == distances.min()


def test_farthest_points_are_farther_from_each_other_than_random_ones(rng: np.random.Generator) -> None:
    better = 0
    for _ in range(100):
        viewmats = random_viewmats(rng, 100)
        distances = pose_distances(viewmats, viewmats, 4.0)
        np.fill_diagonal(distances, np.inf)
        chosen = farthest_first(np.where(np.isinf(distances), 0, distances), np.array([0]))[:15]
        random = rng.choice(np.arange(1, 100), 15, replace=False)
        better += distances[np.ix_(chosen, chosen)].min() >= distances[np.ix_(random, random)].min()
    assert better >= 95


def test_rebasing_keeps_how_cameras_lie_to_each_other(rng: np.random.Generator) -> None:
    views = views_of(wander(rng, 12))
    moved = rebased(views, views.viewmats[7])
    np.testing.assert_allclose(moved.viewmats[7], np.eye(4), atol=1e-14)
    before = views.viewmats[:, None] @ np.linalg.inv(views.viewmats)[None]
    after = moved.viewmats[:, None] @ np.linalg.inv(moved.viewmats)[None]
    np.testing.assert_allclose(after, before, atol=1e-13)
    assert moved.viewmats.dtype == np.float64
