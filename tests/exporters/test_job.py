"""An export as a job: what it expects to take, and does if that is too much; where its files stand; what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keepworld.export
import numpy as np
import plyfile
import pytest
import trimesh
from keepworld.capture import Capture
from keepworld.errors import ExportError
from keepworld.operation import Operation
from keepworld_exporters.__main__ import main
from keepworld_exporters.command import DATASETS
from keepworld_exporters.estimate import estimate, fitting
from keepworld_exporters.export import begin
from keepworld_exporters.formats.paths import MODELS
from keepworld_exporters.outputs import output_of, usual_names
from keepworld_exporters.placement import Placement
from keepworld_exporters.plan import Budget, Plan
from keepworld_exporters.profiles import PROFILES
from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.depth import load_view
from keepworld_exporters.stages.fuse import Surface
from keepworld_exporters.stages.holes import Holes
from keepworld_exporters.stages.points import FINER, count_points
from keepworld_exporters.train.settings import BUDGETS, Training
from keepworld_exporters.unfinished import Unfinished

from tests import scenes


@pytest.fixture(scope="module")
def meadow(tmp_path_factory):
    """A box on a plain 1.6 m below the cameras."""
    ground = scenes.Solid((-30, 1.6, -5), (30, 2.6, 60), scenes.chequered((90, 160, 60), 0.5))
    box = scenes.Solid((-1, 0.6, 5), (1, 1.6, 6), scenes.plain(200, 40, 40))
    path = [scenes.look((0.2 * k - 1, 0, 0.1 * k), (0, 0.8, 6)) for k in range(13)]
    return scenes.write(tmp_path_factory.mktemp("meadow") / "walk", [ground, box], path, size=(128, 96)).folder


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("a.glb", "mesh"),
        ("a.lod2.glb", "lod2"),
        ("a.collider.obj", "collider"),
        ("a.hulls.glb", "hulls"),
        ("a.splat.glb", "splats"),
        ("a.mp4", "video"),
        ("a.lod2.points.ply", "points"),
        (".collider.glb", "collider"),
        ("a.ply", "splats"),
        ("a.points.ply", "points"),
    ],
)
def test_a_name_says_what_a_file_holds(name, part):
    assert output_of(Path(name)).part == part


def test_a_profiles_folder_has_its_formats_and_what_engines_need():
    names = usual_names("houdini", engine=True)
    mesh = PROFILES["houdini"].suffixes["mesh"]
    assert {f"scene{mesh}", f"scene.lod1{mesh}", f"scene.collider{mesh}", "scene.splat.ply", "walk.mp4"} <= set(names)


def test_files_stand_on_the_ground_in_the_axes_and_units_of_their_program(meadow, tmp_path):
    """Unreal: x forward, y right, z up, centimetres. The camera looks along z with the ground 1.6 m below it."""
    names = [str(tmp_path / name) for name in ("a.points.ply", "a.collider.glb", "a.lod1.glb", "a.hulls.glb")]
    options = [
        "--profile",
        "unreal",
        "--origin",
        "ground",
        "--voxel",
        "0.08",
        "--collider-faces",
        "2000",
        "--hulls",
        "6",
    ]
    assert main([str(meadow), *names, *options, "--progress", "none"]) == 0
    vertex = plyfile.PlyData.read(names[0])["vertex"]
    places = np.stack([vertex[axis] for axis in "xyz"], 1)
    red = np.stack([vertex[colour] for colour in ("red", "green", "blue")], 1) @ np.array([1, -1, 0.0]) > 50
    start = Capture(meadow).frames[0].camera.centre
    front = places[red & (places[:, 2] > 20) & (places[:, 2] < 80)]
    assert np.median(front[:, 0]) == pytest.approx(100 * (5 - start[2]), abs=3)
    assert np.median(front[:, 1]) == pytest.approx(100 * (0 - start[0]), abs=10)
    assert np.abs(places[~red & (places[:, 0] < 450)][:, 2]).max() < 3
    collider = trimesh.load(names[1], force="mesh")  # glTF keeps its axes and metres: the importer turns it
    assert len(collider.faces) <= 2100 and abs(np.median(collider.vertices[:, 1])) < 0.05
    hulls = trimesh.load(names[3])
    assert 1 <= len(hulls.geometry) <= 6 and all(part.is_convex for part in hulls.geometry.values())
    told = json.loads((tmp_path / "a.points.ply.manifest.json").read_text())
    assert told["convention"] == "unreal" and told["profile"] == "unreal"
    whole = np.array(told["transform_from_session"]) @ np.array(told["placed_from_session"])[:3]
    np.testing.assert_allclose(whole @ [start[0], 1.6, start[2], 1], 0, atol=3)


def test_a_placement_is_undone_exactly(rng):
    mesh = Mesh(
        vertices=rng.normal(size=(9, 3)).astype(np.float32),
        faces=np.zeros((1, 3), np.int32),
        colours=np.zeros((9, 3), np.uint8),
    )
    placed = Placement(scale=2.5, shift=(1.0, -2.0, 3.0))
    moved = placed.apply(mesh)
    wanted = np.c_[mesh.vertices, np.ones(9)] @ placed.matrix().T
    np.testing.assert_allclose(moved.vertices, wanted[:, :3], atol=1e-5)
    np.testing.assert_allclose(placed.undo(moved).vertices, mesh.vertices, atol=1e-5)


def plan_for(folder, **changes):
    return Plan(files=(folder / "x.glb", folder / "x.splat.ply"), **changes)


def test_a_larger_walk_is_expected_to_take_more(meadow, tmp_path):
    plan = plan_for(tmp_path, budget=Budget(texture=512))
    seen = begin(Capture(meadow), plan).seen
    size = {"frames": 13, "heldout": 2, "blind": False}
    small = estimate(plan, seen, **size)
    wider = replace(seen, blocks=(100 * seen.blocks[0],), points=100 * seen.points)
    large = estimate(plan, replace(wider, frames=100 * seen.frames, megapixels=100 * seen.megapixels), **size)
    finer = estimate(replace(plan, budget=Budget(texture=4096)), seen, **size)
    assert large.seconds > 2 * small.seconds and large.peak_bytes > small.peak_bytes
    assert finer.seconds > small.seconds and finer.peak_bytes > small.peak_bytes
    assert list(small.processor_s) == ["read", "points", "mesh", "texture", "splats", "colours", "write", "measure"]


def test_a_machine_half_as_fast_is_expected_to_take_twice_as_long(meadow, tmp_path):
    plan = plan_for(tmp_path, preset="standard")
    seen = begin(Capture(meadow), plan).seen
    size = {"frames": 13, "heldout": 2, "blind": False}
    once, twice = (estimate(plan, replace(seen, pace=pace), **size) for pace in (1.0, 2.0))
    assert twice.seconds == pytest.approx(2 * once.seconds) and twice.peak_bytes == once.peak_bytes
    minute = estimate(replace(plan, training=Training(minutes=1)), replace(seen, pace=2.0), **size)
    fewer = estimate(replace(plan, training=Training(steps=300)), replace(seen, pace=2.0), **size)
    rest = {name: value for name, value in twice.processor_s.items() if name != "standard"}
    assert {name: value for name, value in minute.processor_s.items() if name != "standard"} == rest
    assert minute.seconds - sum(rest.values()) == pytest.approx(60, abs=0.06 * sum(rest.values()) + 1)
    assert fewer.processor_s["standard"] == pytest.approx(twice.processor_s["standard"] / 10)


def test_the_number_of_points_is_foreseen(meadow, tmp_path):
    start = begin(Capture(meadow), plan_for(tmp_path, holdout=0))
    views = [load_view(frame, start.source) for frame in start.selection.used]
    assert start.seen.points == pytest.approx(count_points(views, start.seen.resolution.voxel / FINER), rel=0.25)


def test_the_memory_that_an_export_takes_is_about_what_it_said(meadow, tmp_path):
    command = [sys.executable, "-m", "keepworld_exporters", str(meadow), f"{tmp_path}/out/", "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    assert max(told["peak_bytes"].values()) == pytest.approx(told["expected"]["peak_bytes"], rel=0.3)


def test_what_does_not_fit_is_made_coarser_unless_the_caller_wants_it_so(meadow, tmp_path):
    plan = plan_for(tmp_path)
    seen = replace(begin(Capture(meadow), plan).seen, blocks=(400_000,))
    size = {"frames": 13, "heldout": 2, "blind": False}
    needs = estimate(plan, seen, **size).peak_bytes
    fitted, coarser, found = fitting(replace(plan, max_memory=needs // 3), seen, **size)
    assert found.peak_bytes <= needs // 3 and coarser > 1 and fitted.budget.points < plan.budget.points
    with pytest.raises(ExportError, match=r"GB of memory and may use .*--voxel.*--max-memory"):
        fitting(replace(plan, max_memory=needs // 3, voxel=0.01), seen, **size)


def test_too_little_memory_is_said_before_anything_is_made(meadow, tmp_path, capsys):
    assert main([str(meadow), str(tmp_path / "x.glb"), "--max-memory", "0.1", "--progress", "none"]) == 1
    assert "--max-memory" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_an_estimate_makes_nothing(meadow, tmp_path, capsys):
    assert main([str(meadow), f"{tmp_path}/out/", "--estimate", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["expected"]["seconds"] > 0 and told["expected"]["peak_bytes"] > 10**8 and not list(tmp_path.iterdir())


def test_what_is_kept_of_an_unfinished_export_comes_back_and_only_for_the_same_one(rng, tmp_path):
    mesh = Mesh(
        vertices=rng.normal(size=(9, 3)).astype(np.float32),
        faces=np.zeros((4, 3), np.int32),
        colours=np.zeros((9, 3), np.uint8),
    )
    made = Surface(mesh=mesh, cells=np.ones(9, np.float32), fine=mesh, holes=Holes(filled=1, left=2, rim=3.5))
    Unfinished(tmp_path, {"a": 1}).keep("surface", Surface, lambda: made)
    again = Unfinished(tmp_path, {"a": 1})
    found = again.keep("surface", Surface, pytest.fail)
    assert again.resumed == ["surface"] and found.holes == made.holes and found.mesh.texture is None
    np.testing.assert_array_equal(found.mesh.vertices, mesh.vertices)
    other = Unfinished(tmp_path, {"a": 2})
    assert other.keep("surface", Surface, lambda: made) is made and not other.resumed
    (again.folder / "surface.npz").write_bytes(b"PK cut off")
    assert Unfinished(tmp_path, {"a": 1}).keep("surface", Surface, lambda: made) is made


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_end_it_after_a_step_and_leave_nothing(
    meadow, tmp_path, capsys, monkeypatch, number, status
):
    """The points are done and kept by then, the mesh is being made."""
    seen = []

    def tell(progress):
        if progress.stage == "mesh" and not seen:
            seen.extend(path.name for path in tmp_path.rglob("*"))
            os.kill(os.getpid(), number)

    monkeypatch.setattr("keepworld_exporters.progress.json_lines", lambda stream: tell)
    before = signal.getsignal(number)
    files = [str(tmp_path / name) for name in ("x.points.ply", "x.glb")]
    assert main([str(meadow), *files, "--voxel", "0.08", "--progress", "json"]) == status
    assert "points.npz" in seen and not list(tmp_path.iterdir())
    assert "interrupted; no half-written file is left" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_what_the_sdk_knows_by_name_is_what_there_is():
    assert tuple(BUDGETS) == keepworld.export.REFINEMENTS and keepworld.export.DATASETS == DATASETS
    assert {f".{kind}" for kind in DATASETS} == set(MODELS)
    assert [Training(budget=name).settings(name).iterations for name in BUDGETS] == [7_000, 30_000]


def test_a_training_is_what_its_budget_says_whatever_the_preset(meadow, tmp_path):
    """And it is that which is expected to take so long."""
    files = (tmp_path / "x.ply",)
    plans = [Plan(files=files, training=Training(budget=budget)) for budget in (None, *BUDGETS)]
    assert [plan.trained_as for plan in plans] == [None, *BUDGETS]
    assert Plan(files=files, preset="standard").trained_as == "standard"
    took = [sum(begin(Capture(meadow), plan).expected.processor_s.values()) for plan in plans]
    assert took[0] < 0.2 * took[1] < 0.2 * took[2]
    with pytest.raises(ValueError, match=r"training\.budget must be one of None, 3dgs-7k, 3dgs-30k, got '7k'"):
        Plan(files=files, training=Training(budget="7k"))


def test_an_operation_that_is_stopped_keeps_its_training_and_a_cancelled_one_nothing(meadow, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path or os.curdir for path in sys.path))
    for end, left in ((Operation.stop, [".a.ply.training"]), (Operation.cancel, [])):
        operation = Capture(meadow).start_export(tmp_path / "a.ply", refine="3dgs-7k")
        steps = (status for status in operation.watch() if status.stage == "3dgs-7k" and not status.has_ended)
        next(steps), next(steps)  # the first says that it begins, which can take a while
        end(operation)
        assert operation.poll().state == "cancelled"
        assert [path.name for path in tmp_path.iterdir()] == left


@pytest.mark.slow
def test_a_killed_export_goes_on_where_it_was_and_comes_to_the_same(letter_capture, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    words = [str(letter_capture.folder), str(out / "x.glb"), "--texture", "1024", "--progress", "json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "keepworld_exporters", *words], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    for line in process.stderr:
        if json.loads(line)["stage"] == "texture":
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (out / "x.glb").exists() and any(path.name.startswith(".") for path in out.iterdir())
    assert main([*words, "--report", str(tmp_path / "report")]) == 0
    assert json.loads((tmp_path / "report/report.json").read_text())["resumed"] == ["surface"]
    assert {path.name for path in out.iterdir()} == {"x.glb", "x.glb.manifest.json", "scene.manifest.json"}
    (tmp_path / "again").mkdir()
    assert main([words[0], str(tmp_path / "again/x.glb"), "--texture", "1024", "--progress", "none"]) == 0
    assert (tmp_path / "again/x.glb").read_bytes() == (out / "x.glb").read_bytes()
