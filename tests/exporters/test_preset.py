"""The presets of an export: trained splats against the preview's, from one capture, through the written files."""

import json
import subprocess
import sys

import numba
import numpy as np
import pytest
from keepworld_exporters.__main__ import main
from keepworld_exporters.export import export
from keepworld_exporters.plan import Plan
from keepworld_exporters.scene import Points
from keepworld_exporters.stages.points import Cloud
from keepworld_exporters.train import settings
from keepworld_exporters.train.preset import thinned
from keepworld_exporters.train.settings import Settings


@pytest.fixture(autouse=True)
def one_thread():
    """Pictures this small gain nothing from a second thread."""
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(threads)


def test_trained_splats_show_held_out_frames_better_than_the_preview(letter_capture, tmp_path, monkeypatch):
    monkeypatch.setitem(settings.TRAINED, "standard", Settings(iterations=100, cap=6000, speed=2.0))
    found, stages = {}, []
    for preset in ("preview", "standard"):
        plan = Plan(files=(tmp_path / f"{preset}.splat.ply",), preset=preset)
        content = export(letter_capture, plan, on_progress=lambda progress: stages.append(progress.stage))
        found[preset] = content["files"][f"{preset}.splat.ply"]
    assert found["standard"]["psnr"] > found["preview"]["psnr"] + 2
    assert {"colours", "standard"} <= set(stages)
    assert b"SplatRenderMode: mip" in (tmp_path / "standard.splat.ply").read_bytes()[:2000]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "preview.splat.ply", "preview.splat.ply.manifest.json", "scene.manifest.json", "standard.splat.ply",
        "standard.splat.ply.manifest.json",
    ]  # fmt: skip


def test_an_export_interrupted_in_training_is_gone_on_with_by_the_same_command(
    letter_capture, tmp_path, monkeypatch, capsys
):
    """Ctrl-C at about the 40th step of 100: nothing written but the training; then the same bytes as without it."""
    monkeypatch.setitem(settings.TRAINED, "standard", Settings(iterations=100, cap=3000, speed=2.0))
    told = []

    def interrupt(progress):
        told.append(progress.stage)
        if told.count("standard") == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("keepworld_exporters.progress.INTERVAL_S", 0.0)
    plan = Plan(
        files=(tmp_path / "a.splat.ply",), preset="standard", training=settings.Training(watch=tmp_path / "now.png")
    )
    with pytest.raises(KeyboardInterrupt):
        export(letter_capture, plan, on_progress=interrupt)
    assert (tmp_path / ".a.splat.ply.training").exists() and not (tmp_path / "a.splat.ply").exists()
    steps = []
    export(letter_capture, plan, on_progress=lambda progress: steps.append(progress.stage))
    assert steps.count("standard") < 100 and not (tmp_path / ".a.splat.ply.training").exists()
    assert (tmp_path / "now.png").read_bytes()[:4] == b"\x89PNG"
    other = Plan(files=(tmp_path / "b.splat.ply",), preset="standard")
    export(letter_capture, other)
    assert (tmp_path / "a.splat.ply").read_bytes() == (tmp_path / "b.splat.ply").read_bytes()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(["--minutes", "2"], "--preset standard or final"), (["--preset", "final", "--watch", "a.bmp"], "must be a .png or .jpg"),
     (["--preset", "final", "--watch", "nowhere/a.png"], "does not exist")],
)  # fmt: skip
def test_what_is_asked_of_no_training_is_refused(letter_capture, tmp_path, capsys, wrong, words):
    assert main([str(letter_capture.folder), str(tmp_path / "a.splat.ply"), *wrong]) == 2
    assert words in capsys.readouterr().err


def test_what_is_asked_of_a_training_reaches_its_settings():
    asked = settings.Training(target_psnr=30.0, exposure=True, refine_poses=True, surfaces=True, cap=500)
    asked = asked.settings("standard")
    assert (asked.cap, asked.target_psnr, asked.exposure, asked.refine_poses, asked.surfaces) == (
        500,
        30.0,
        *[True] * 3,
    )
    assert asked.iterations == settings.TRAINED["standard"].iterations
    assert settings.Training().settings("standard", megapixels=1.4).cap == 42_000
    assert settings.Training(cap=90_000).settings("standard", megapixels=1.4).cap == 90_000
    for_a_time = settings.Training(minutes=2).settings("standard")
    assert (for_a_time.budget_s, for_a_time.iterations) == (120, None)
    at_most = settings.Training(minutes=2, steps=70).settings("standard")
    assert (at_most.budget_s, at_most.iterations) == (120, 70)


def test_an_unknown_preset_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(ValueError, match="preset must be one of preview, standard, final, got 'best'"):
        Plan(files=(tmp_path / "a.splat.ply",), preset="best")


def test_a_thinned_cloud_stands_for_as_much_surface(rng):
    points = Points(
        positions=rng.random((400, 3)).astype(np.float32), normals=np.zeros((400, 3), np.float32),
        colours=np.zeros((400, 3), np.uint8), confidence=np.ones(400, np.uint16),
    )  # fmt: skip
    some = thinned(Cloud(points=points, sizes=np.full(400, 0.1, np.float32)), 100, seed=1)
    assert len(some.points.positions) == 100
    assert (some.sizes**2).sum() == pytest.approx(400 * 0.1**2, rel=1e-5)


def test_exporting_needs_no_torch():
    """With torch and gsplat out of reach, the CPU draws."""
    program = """
import sys, json
sys.modules["torch"] = sys.modules["gsplat"] = None
import keepworld_exporters.export
from keepworld_exporters.rasterize.choose import choose_rasterizer
print(json.dumps(type(choose_rasterizer()).__name__))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == "CpuRasterizer"
