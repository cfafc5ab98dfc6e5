"""An export as a job: what it expects to take, and does if that is too much; where its files stand; what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keepworld.export
import numpy as np
import plyfile
import pytest
import trimesh
from keepworld.capture import Capture
from keepworld.operation import Operation
from keepworld_exporters.__main__ import main
from keepworld_exporters.command import DATASETS
from keepworld_exporters.formats.paths import MODELS
from keepworld_exporters.outputs import output_of, usual_names
from keepworld_exporters.placement import Placement
from keepworld_exporters.profiles import PROFILES
from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.fuse import Surface
from keepworld_exporters.stages.holes import Holes
from keepworld_exporters.train.settings import BUDGETS, Training
from keepworld_exporters.unfinished import Unfinished


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


def test_too_little_memory_is_said_before_anything_is_made(meadow, tmp_path, capsys):
    assert main([str(meadow), str(tmp_path / "x.glb"), "--max-memory", "0.1", "--progress", "none"]) == 1
    assert "--max-memory" in capsys.readouterr().err and not list(tmp_path.iterdir())


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
