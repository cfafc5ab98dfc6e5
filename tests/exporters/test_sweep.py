"""Depth from pictures and cameras alone, against worlds whose depth is known."""

import math

import numpy as np
import pytest
import trimesh
from keepworld.camera import Camera, intrinsics
from keepworld.errors import ExportError
from keepworld_exporters.__main__ import main
from keepworld_exporters.reading import read_back
from keepworld_exporters.stages.agree import agree
from keepworld_exporters.stages.depth import load_view
from keepworld_exporters.stages.neighbours import choose_neighbours, choose_views
from keepworld_exporters.stages.polish import polish
from keepworld_exporters.stages.sources import SessionDepth
from keepworld_exporters.stages.spread import spread
from keepworld_exporters.stages.stereo import find_depth, find_reach, picture_of
from keepworld_exporters.stages.sweep import matching_cost, sweep

from tests import scenes
from tests.exporters.room import BALL, GROUND, SIZE, WALL, bare, mottled, sideways


def quiet() -> None:
    """Progress nobody listens to."""


@pytest.fixture(scope="module")
def found(room):
    frames = room[1].frames
    reach = find_reach(frames)
    return reach, find_depth(frames, reach, on_view=quiet)


def test_how_near_and_far_a_world_is_is_found_from_its_pictures(room, found):
    true = np.concatenate([SessionDepth().of(frame).depth.ravel() for frame in room[0].frames])
    true = true[true > 0]
    assert 0.5 * true.min() < found[0].near < np.quantile(true, 0.05)
    assert found[0].typical == pytest.approx(np.median(true), rel=0.15)


def test_depth_found_is_the_depth_that_was_there(room, found):
    for frame in room[0].frames[2:7]:
        true, depth = SessionDepth().of(frame).depth, found[1].of(frame).depth
        known = (depth > 0) & np.isfinite(depth) & (true > 0)
        assert known.sum() > 0.7 * (true > 0).sum()
        off = np.abs(depth - true)[known] / true[known]
        # a pixel of parallax is 5 % of the depth here
        assert np.median(off) < 0.01 and (off < 0.03).mean() > 0.93


def test_two_searches_find_the_same_to_the_bit(room, found):
    again = find_depth(room[1].frames, found[0], on_view=quiet)
    for frame in room[1].frames:
        np.testing.assert_array_equal(again.of(frame).depth, found[1].of(frame).depth)


def test_a_world_twice_as_large_is_found_twice_as_far(room, found, tmp_path):
    def grown(solid):
        low, high = (tuple(2 * value for value in corner) for corner in (solid.low, solid.high))
        return scenes.Solid(low, high, lambda points: mottled(points / 2), ball=solid.ball)

    path = [np.block([[c2w[:3, :3], 2 * c2w[:3, 3:]], [c2w[3:]]]) for c2w in sideways(9)]
    frames = bare(scenes.write(tmp_path / "walk", [grown(s) for s in (WALL, GROUND, BALL)], path, size=SIZE)).frames
    reach = find_reach(frames)
    assert reach.typical == pytest.approx(2 * found[0].typical, rel=0.02)
    depth = find_depth(frames, reach, on_view=quiet).of(frames[4]).depth
    both = (depth > 0) & (found[1].of(room[1].frames[4]).depth > 0)
    assert np.median(depth[both] / found[1].of(room[1].frames[4]).depth[both]) == pytest.approx(2, rel=0.005)


def test_torch_sweeps_as_the_cpu_does(room):
    """Costs to a step of 127ths where rounding falls on the other side; then the same planes win."""
    pytest.importorskip("torch")
    from keepworld_exporters.stages import sweep_cuda

    pictures = [picture_of(frame) for frame in room[1].frames]
    planes, others = np.linspace(0, 1 / 1.0, 40), [pictures[3], pictures[5], pictures[2]]
    ours, theirs = (
        matching_cost(pictures[4], others, planes).astype(int),
        sweep_cuda.matching_cost(pictures[4], others, planes, device="cpu").numpy(),
    )
    assert (ours == theirs).mean() > 0.95 and (np.abs(ours - theirs) <= 1).mean() > 0.999
    cpu, torch_ = sweep(pictures[4], others, planes), sweep_cuda.sweep(pictures[4], others, planes, device="cpu")
    step = planes[1]
    assert (np.abs(cpu.inverse - torch_.inverse) < 0.1 * step).mean() > 0.99
    assert (np.abs(cpu.agreement - torch_.agreement) < 0.02).mean() > 0.99


def test_slanted_planes_of_their_own_make_ground_better(room):
    frames = room[1].frames
    pictures = [picture_of(frame) for frame in frames]
    planes = np.linspace(0, 1 / 1.0, 48)
    swept = sweep(pictures[4], [pictures[3], pictures[5]], planes)
    finer = polish([(pictures[4], [pictures[1], pictures[2], pictures[6], pictures[7]])], swept, planes[1])
    true = SessionDepth().of(room[0].frames[4]).depth
    ground = np.zeros_like(true, bool)
    ground[SIZE[1] * 3 // 4 :, 12:-12] = True

    def off(result):
        return np.median(np.abs(result.inverse * true - 1)[ground])

    assert off(finer) < 0.65 * off(swept) and off(finer) < 0.01


def test_the_sky_is_free_and_only_the_sky(tmp_path):
    """A ball before nothing: what is open to the top of the picture and flat is sky, and the ball is not."""
    path = [scenes.look((0.1 * (k - 4), 0, 0), (-0.1, 0, 2)) for k in range(9)]
    known = scenes.write(tmp_path / "known", [BALL], path, size=SIZE)
    frames = bare(scenes.write(tmp_path / "bare", [BALL], path, size=SIZE)).frames
    depth = find_depth(frames, find_reach(frames), on_view=quiet).of(frames[4]).depth
    true_sky = known.frames[4].labels() == 1
    assert np.isinf(depth[true_sky]).mean() > 0.9
    assert np.isinf(depth[~true_sky]).mean() < 0.02


def test_a_frame_that_no_other_can_be_compared_with_is_unknown_and_not_sky(tmp_path):
    path = [*sideways(5), scenes.look((0, 0, 0), (0, 0, -3))]
    frames = bare(scenes.write(tmp_path / "walk", [WALL, GROUND, BALL], path, size=SIZE)).frames
    maps = find_depth(frames, find_reach(frames[:5]), on_view=quiet)
    assert not maps.of(frames[5]).depth.any()
    assert (maps.of(frames[2]).depth > 0).mean() > 0.5


def test_what_one_view_alone_claims_does_not_count(room):
    views = [load_view(frame) for frame in room[0].frames]
    lying = views[4].depth.copy()
    lying[40:60, 60:90] *= 0.7
    votes = agree(
        lying, views[4].viewmat, views[4].K, [(view.depth, view.viewmat, view.K) for view in views[1:4]]
    ).votes
    assert (votes[40:60, 60:90] == 0).mean() > 0.95
    honest = votes[70:90, 40:100]
    assert (honest >= 2).mean() > 0.95


def test_depth_spreads_over_likely_pixels_as_growing_it_ring_by_ring_does(rng):
    """The slow way: again and again all neighbours of what is reached, until nothing more is."""
    inverse = (0.5 + 0.004 * rng.integers(0, 2, (40, 50)) + 0.1 * (np.arange(50) > 24)).astype(np.float32)
    likely, sure = rng.random((40, 50)) < 0.75, rng.random((40, 50)) < 0.003
    sure[:, 20:] = False
    true = sure.copy()
    for _ in range(2000):
        grown = true.copy()
        for axis, ahead in ((0, 1), (0, -1), (1, 1), (1, -1)):
            beside, theirs = np.roll(true, ahead, axis), np.roll(inverse, ahead, axis)
            first = [slice(None)] * 2
            first[axis] = slice(0, 1) if ahead == 1 else slice(-1, None)
            beside[tuple(first)] = False  # what came round from the other side
            grown |= beside & likely & (np.abs(inverse - theirs) <= 0.02 * np.maximum(inverse, theirs))
        if (grown == true).all():
            break
        true = grown
    reached = spread(inverse, sure, likely)
    np.testing.assert_array_equal(reached, true)
    assert reached[:, :25].sum() > 500 and not reached[:, 25:].any()  # a jump of a fifth is another surface


def test_what_others_see_through_is_not_there_and_what_hides_says_nothing(room):
    """A place held too near is seen through by views of the wall behind it; one held too far is behind it for them."""
    views = [load_view(frame) for frame in room[0].frames]
    near, far = views[4].depth.copy(), views[4].depth.copy()
    near[20:40, 100:130] *= 0.7
    far[20:40, 100:130] *= 1.4
    others = [(views[k].depth, views[k].viewmat, views[k].K) for k in (2, 3, 5, 6)]
    through = [agree(depth, views[4].viewmat, views[4].K, others).through for depth in (near, far)]
    assert (through[0][22:38, 105:125] >= 3).mean() > 0.9
    assert not through[1][22:38, 105:125].any()


def test_agreement_averages_noise_away(room, rng):
    views = [load_view(frame) for frame in room[0].frames]
    noisy = [(view.depth * (1 + 0.004 * rng.standard_normal(view.depth.shape))).astype(np.float32) for view in views]
    others = [(noisy[k], views[k].viewmat, views[k].K) for k in (0, 1, 2, 3, 5, 6, 7, 8)]
    found = agree(noisy[4], views[4].viewmat, views[4].K, others)
    mean, inner = found.depth, found.votes >= 6
    assert inner.sum() > 2000
    before, after = (np.std((depth / views[4].depth - 1)[inner]) for depth in (noisy[4], mean))
    assert after < 0.55 * before  # 1 / sqrt(7) = 0.38 where pixels fall on pixels


def test_neighbours_stand_where_wanted_and_look_the_same_way():
    path = np.stack(
        [scenes.look((0.1 * k, 0, 0), (0.1 * k, 0, 5)) for k in range(60)] + [scenes.look((3.1, 0, 0), (9, 0, -5))]
    )
    chosen = choose_neighbours(path, 30, distance=0.8, count=4)
    assert len(chosen) == 4 and 30 not in chosen and 60 not in chosen
    apart = np.abs(path[chosen, 0, 3] - 3.0)
    assert ((apart > 0.3) & (apart < 2)).all()
    assert {22, 38} <= set(chosen)
    assert choose_neighbours(path[:1], 0, distance=0.8, count=4) == []


def test_walking_ahead_the_ground_that_leaves_the_picture_is_compared_with_what_lies_behind():
    """What is at the picture's lower edge only cameras further back still see; turned on the spot nothing is learned."""
    size = {"K": intrinsics(256, 144, math.radians(75)), "width": 256, "height": 144}
    ahead = [Camera(c2w=scenes.look((0, 0, 0.3 * k), (0, 0, 0.3 * k + 5)), **size) for k in range(21)]
    turned = [Camera(c2w=scenes.look((0, 0, 3.0), (0.3 * k, 0, 8.0)), **size) for k in range(1, 4)]
    chosen = choose_views([*ahead, *turned], 10, depths=(4.0, 6.0), parallax=0.1, count=4)
    assert len(set(chosen)) == 4 and max(chosen) < 21 and 10 not in chosen
    assert sum(k < 10 for k in chosen) >= 2
    assert choose_views(turned, 0, depths=(4.0,), parallax=0.1, count=4) == []


def test_a_post_is_no_wider_than_it_is(tmp_path):
    """A dark post, 7 pixels wide, before a wall: the windows that straddle its edge are told apart by brightness."""
    post = scenes.Solid((-0.06, -3, 1.4), (0.06, 1.0, 1.5), scenes.plain(25, 20, 15))
    path = sideways(9)
    known = scenes.write(tmp_path / "known", [WALL, post], path, size=SIZE)
    frames = bare(scenes.write(tmp_path / "bare", [WALL, post], path, size=SIZE)).frames
    depth = find_depth(frames, find_reach(frames), on_view=quiet).of(frames[4]).depth
    true = SessionDepth().of(known.frames[4]).depth
    before, near = (true > 0) & (true < 2), (depth > 0) & (depth < 2)
    assert before.sum() > 5 * SIZE[1]
    assert (near & before).sum() > 0.5 * before.sum()
    assert (near & ~before).sum() < 0.3 * before.sum()


def test_a_camera_that_never_moves_says_so(tmp_path):
    frames = bare(scenes.write(tmp_path / "walk", [WALL], [np.eye(4)] * 5, size=(64, 48))).frames
    with pytest.raises(ExportError, match="never moves"):
        find_reach(frames)


def test_pictures_of_nothing_say_so(tmp_path):
    blank = scenes.Solid((-9, -9, 3.0), (9, 9, 3.4), scenes.plain(90, 90, 90))
    frames = bare(scenes.write(tmp_path / "walk", [blank], sideways(5), size=(64, 48))).frames
    with pytest.raises(ExportError, match="too little"):
        find_reach(frames)


def test_a_ball_seen_from_all_round_is_found_round(sphere_capture, tmp_path):
    """Cameras round a ball: its depth, from pictures alone, lies on the ball."""
    path = [scenes.look((2 * math.sin(a), -0.3, -2 * math.cos(a)), (0, 0, 0)) for a in np.linspace(0, 1.2, 9)]
    ball = scenes.Solid((-0.7,) * 3, (0.7,) * 3, mottled, ball=True)
    frames = bare(scenes.write(tmp_path / "walk", [ball], path, size=SIZE)).frames
    maps = find_depth(frames, find_reach(frames), on_view=quiet)
    frame = frames[4]
    depth = maps.of(frame).depth
    v, u = np.nonzero((depth > 0) & np.isfinite(depth))
    rays = np.stack([u + 0.5, v + 0.5, np.ones(len(u))], 1) @ np.linalg.inv(frame.camera.K).T
    places = (rays * depth[v, u, None]) @ frame.camera.c2w[:3, :3].T + frame.camera.centre
    radii = np.linalg.norm(places, axis=1)
    assert len(radii) > 1000
    assert np.median(np.abs(radii - 0.7)) < 0.01 and (np.abs(radii - 0.7) < 0.03).mean() > 0.95


def test_a_walk_without_depth_becomes_a_mesh_of_what_was_there(room, tmp_path, capsys):
    assert main([str(room[1].folder), str(tmp_path / "x.glb"), "--json", "--holdout", "0", "--voxel", "0.05"]) == 0
    mesh = read_back(tmp_path / "x.glb")
    truth = [(np.abs(mesh.vertices[:, 2] - 3.0)), np.abs(mesh.vertices[:, 1] - 1.0)]
    truth.append(np.abs(np.linalg.norm(mesh.vertices - np.float32([-0.1, 0, 2]), axis=1) - 0.5))
    off = np.min(truth, axis=0)
    assert len(off) > 1500
    assert np.median(off) < 0.02 and (off < 0.08).mean() > 0.9


def test_a_truth_cannot_be_compared_where_no_depth_says_what_was_seen(room, tmp_path, capsys):
    truth = trimesh.creation.box(extents=(1, 1, 1)).export(file_type="ply")
    (tmp_path / "truth.ply").write_bytes(truth)
    command = [str(room[1].folder), str(tmp_path / "x.glb"), "--truth", str(tmp_path / "truth.ply")]
    assert main(command) == 1
    assert "lacks" in capsys.readouterr().err
