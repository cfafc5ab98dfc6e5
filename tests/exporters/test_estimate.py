"""What an export is expected to take: counted from the work, before any of it is done, and what gives way if it is too much."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from keepworld.capture import Capture
from keepworld.errors import ExportError
from keepworld_exporters.__main__ import main
from keepworld_exporters.cost import Cost, priced
from keepworld_exporters.estimate import FACES_A_BLOCK, estimate, fitting
from keepworld_exporters.expect import expect
from keepworld_exporters.export import begin
from keepworld_exporters.ingest.foresee import costs, foresee
from keepworld_exporters.ingest.prepare import prepared
from keepworld_exporters.ingest.sources import Asked
from keepworld_exporters.ingest.wanted import Wanted
from keepworld_exporters.plan import Budget, Plan
from keepworld_exporters.stages.depth import load_view
from keepworld_exporters.stages.points import FINER, count_points
from keepworld_exporters.stages.surface import extract_surface
from keepworld_exporters.stages.tsdf import build_volume
from keepworld_exporters.survey import BUDGET_BYTES
from keepworld_exporters.train.settings import BUDGETS, Training

from tests.exporters.ingest.datasets import room, save_json, save_pictures, transforms

SIZE = {"frames": 13, "heldout": 2, "blind": False}
EVERYTHING = ("x.glb", "x.lod1.glb", "x.collider.glb", "x.hulls.glb", "x.splat.ply", "x.points.ply", "x.mp4")


@pytest.fixture(scope="module")
def seen(meadow, tmp_path_factory):
    """What a look at the meadow shows."""
    return begin(Capture(meadow), plan_for(tmp_path_factory.mktemp("plan"))).seen


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The pictures of a room with their cameras, and a folder with nothing but pictures."""
    folder = tmp_path_factory.mktemp("photos")
    walk = room(folder / "walk")
    save_json(folder / "set/transforms.json", transforms(walk, save_pictures(walk, folder / "set/images")))
    save_pictures(walk, folder / "bare")
    return folder


def plan_for(folder, names=("x.glb", "x.splat.ply"), **changes):
    return Plan(files=tuple(folder / name for name in names), **changes)


@pytest.mark.parametrize("preset", ["preview", "standard"])
@pytest.mark.parametrize(
    ("more", "times", "stages"),
    [
        ({"megapixels": 10}, 5, ["points", "mesh"]),
        ({"blocks": 10}, 2, ["mesh"]),
        ({"rings": 3}, 1.5, ["mesh"]),
        ({"frames": 10, "megapixels": 10}, 3, ["points", "mesh", "film"]),
    ],
)
def test_more_work_is_expected_to_take_more_and_never_less_of_anything(seen, tmp_path, preset, more, times, stages):
    """Of one kind of work ten times as much, all else as it was: the stages that do it take so much longer, no other less."""
    plan = plan_for(tmp_path, EVERYTHING, preset=preset)
    seen = replace(seen, megapixels=50.0, frames=100, blocks=(20_000,), points=400_000, rings=1)
    changed = {
        name: (10 * seen.blocks[0],) if name == "blocks" else by * getattr(seen, name) for name, by in more.items()
    }
    small, large = (
        estimate(plan, some, **{**SIZE, "frames": some.frames}) for some in (seen, replace(seen, **changed))
    )
    assert list(small.processor_s) == list(large.processor_s)
    for stage in small.processor_s:
        assert large.processor_s[stage] >= small.processor_s[stage], stage
    for stage in stages:
        assert large.processor_s[stage] > times * small.processor_s[stage], stage


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"budget": Budget(texture=4096)}, ["texture", "levels", "write"]),
        ({"budget": Budget(texture=1024, normal_map=True)}, ["relief"]),
        ({"training": Training(steps=6000)}, ["standard"]),
        ({"training": Training(steps=3000, cap=200_000)}, ["standard", "splats"]),
    ],
)
def test_what_is_asked_for_is_expected_where_it_is_made(seen, tmp_path, changes, stages):
    usual = plan_for(tmp_path, EVERYTHING, preset="standard", budget=Budget(texture=1024))
    before, after = (estimate(plan, seen, **SIZE) for plan in (usual, replace(usual, **changes)))
    grown = {name for name in after.processor_s if after.processor_s[name] > before.processor_s.get(name, 0)}
    assert set(stages) - {"splats"} <= grown
    assert after.seconds > before.seconds and after.peak_bytes >= before.peak_bytes


def test_a_machine_half_as_fast_is_expected_to_take_twice_as_long(seen, tmp_path):
    plan = plan_for(tmp_path, preset="standard")
    once, twice = (estimate(plan, replace(seen, pace=pace), **SIZE) for pace in (1.0, 2.0))
    assert twice.seconds == pytest.approx(2 * once.seconds) and twice.peak_bytes == once.peak_bytes
    minute = estimate(replace(plan, training=Training(minutes=1)), replace(seen, pace=2.0), **SIZE)
    rest = {name: value for name, value in twice.processor_s.items() if name != "standard"}
    assert {name: value for name, value in minute.processor_s.items() if name != "standard"} == rest
    assert minute.seconds - sum(rest.values()) == pytest.approx(60, abs=0.06 * sum(rest.values()) + 1)
    few, more, many = (
        estimate(replace(plan, training=Training(steps=steps)), seen, **SIZE).processor_s["standard"]
        for steps in (1000, 2000, 3000)
    )
    assert many - more == pytest.approx(more - few) and more > 1.5 * few


def test_a_training_is_what_its_budget_says_whatever_the_preset(seen, tmp_path):
    """And it is that which is expected to take so long."""
    files = (tmp_path / "x.ply",)
    plans = [Plan(files=files, training=Training(budget=budget)) for budget in (None, *BUDGETS)]
    assert [plan.trained_as for plan in plans] == [None, *BUDGETS]
    assert Plan(files=files, preset="standard").trained_as == "standard"
    took = [sum(estimate(plan, seen, **SIZE).processor_s.values()) for plan in plans]
    assert took[0] < 0.2 * took[1] < 0.2 * took[2]
    with pytest.raises(ValueError, match=r"training\.budget must be one of None, 3dgs-7k, 3dgs-30k, got '7k'"):
        Plan(files=files, training=Training(budget="7k"))


def test_a_stage_stands_on_what_those_before_it_kept():
    found = priced(
        {"a": Cost(2, bytes=50, kept=30), "b": Cost(1, bytes=5, shared=0), "c": Cost(0, bytes=10, kept=9)},
        pace=2,
        held=100,
    )
    assert found.stage_bytes == {"a": 150, "b": 135, "c": 140} and found.peak_bytes == 150
    assert found.processor_s == {"a": 4, "b": 2, "c": 0}
    before = priced({"z": Cost(3, bytes=80)}, pace=1, held=100)
    both = found.after(before)
    assert list(both.processor_s) == ["z", "a", "b", "c"] and both.peak_bytes == 180
    assert both.seconds == found.seconds + before.seconds


def test_points_blocks_and_triangles_are_foreseen(meadow, tmp_path):
    """From a look at twelve frames, against all of them."""
    start = begin(Capture(meadow), plan_for(tmp_path, holdout=0))
    views = [load_view(frame, start.source) for frame in start.selection.used]
    resolution = start.seen.resolution
    assert start.seen.points == pytest.approx(count_points(views, resolution.voxel / FINER), rel=0.25)
    volume = build_volume(lambda: views, resolution, budget_bytes=BUDGET_BYTES, on_view=lambda: None)
    assert start.seen.blocks[0] == pytest.approx(len(volume.blocks), rel=0.25)
    assert FACES_A_BLOCK * start.seen.blocks[0] == pytest.approx(len(extract_surface(volume)[1]), rel=0.4)


def test_what_a_source_becomes_is_foreseen_from_its_headers(photos):
    for name, wanted in (("set", Wanted()), ("set", Wanted(asked=Asked(max_side=96))), ("walk", Wanted(refine="on"))):
        ahead = foresee(photos / name, wanted)
        with prepared(photos / name, wanted, lambda progress: None) as ready:
            camera = ready.capture.frames[0].camera
            assert (ahead.frames, ahead.width, ahead.height) == (len(ready.capture), camera.width, camera.height)
            assert ahead.has_depth == (ready.capture.frames[0].depth() is not None)
            assert list(ready.before.clock.processor_s) == list(costs(ahead)) == list(ready.before.expected.processor_s)


def test_finding_cameras_is_counted_in_pictures_pixels_and_pairs(photos):
    posed, bare = foresee(photos / "set", Wanted()), foresee(photos / "bare", Wanted())
    assert posed.solved_pairs == 0 and bare.solved_pairs == 9 * 8 / 2
    assert bare.solved == posed.decoded == pytest.approx(9 * 192 * 144 / 1e6)
    assert bare.tried_pairs is None  # cameras that were found are not tried again
    assert costs(bare)["photos"].work_s > 3 * costs(posed)["photos"].work_s
    one, two, three = (costs(replace(bare, solved_pairs=36 * times))["photos"].work_s for times in (1, 2, 3))
    assert two - one == pytest.approx(three - two) and two > one


def test_photos_are_estimated_without_looking_at_one(photos, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a picture was read")

    monkeypatch.setattr("keepworld_exporters.ingest.pictures.read", refuse)
    for name, first in (("bare", ["photos"]), ("set", ["photos", "features", "cameras"])):
        found = expect(photos / name, Wanted(), plan_for(tmp_path))
        stages = list(found.estimate.processor_s)
        assert stages[: len(first) + 2] == [*first, "look", "read"] and "depth" in stages and found.voxel is None
        assert main([str(photos / name), f"{tmp_path}/out/", "--estimate"]) == 0
    assert not list(tmp_path.iterdir())


def test_an_estimate_makes_nothing(meadow, tmp_path, capsys):
    assert main([str(meadow), f"{tmp_path}/out/", "--estimate", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["expected"]["seconds"] > 0 and told["expected"]["peak_bytes"] > 10**8 and not list(tmp_path.iterdir())


def test_the_memory_that_an_export_takes_is_about_what_it_said(meadow, tmp_path):
    """And every stage that was expected has been, and no other."""
    command = [sys.executable, "-m", "keepworld_exporters", str(meadow), f"{tmp_path}/out/", "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    assert max(told["peak_bytes"].values()) == pytest.approx(told["expected"]["peak_bytes"], rel=0.3)
    assert list(told["processor_s"]) == list(told["expected"]["processor_s"])


def test_what_does_not_fit_is_made_coarser_unless_the_caller_wants_it_so(seen, tmp_path):
    plan = plan_for(tmp_path)
    seen = replace(seen, blocks=(400_000,))
    needs = estimate(plan, seen, **SIZE).peak_bytes
    fitted, coarser, found = fitting(replace(plan, max_memory=needs // 3), seen, **SIZE)
    assert found.peak_bytes <= needs // 3 and coarser > 1 and fitted.budget.points < plan.budget.points
    with pytest.raises(ExportError, match=r"GB of memory and may use .*--voxel.*--max-memory"):
        fitting(replace(plan, max_memory=needs // 3, voxel=0.01), seen, **SIZE)
