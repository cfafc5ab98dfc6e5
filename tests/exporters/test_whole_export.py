"""The command from end to end: a captured walk becomes files that others read, and a report that tells the truth."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import av
import numpy as np
import plyfile
import pytest
import trimesh
from keepworld.capture import Capture
from keepworld_exporters.__main__ import main
from keepworld_exporters.rasterize.cpu import render_splats
from keepworld_exporters.reading import read_back

from tests import scenes

HOSTILE = "<script>alert('x')</script>\nelement vertex 9 \"&"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The wall with the letter F, exported whole, its prompt hostile; gives the folder and what --json said."""
    folder = tmp_path_factory.mktemp("export")
    scenes.letter_wall(folder / "walk", prompt=HOSTILE)
    truth = trimesh.util.concatenate(
        [trimesh.creation.box(bounds=[solid.low, solid.high]) for solid in scenes.letter_world()]
    )
    (folder / "truth.ply").write_bytes(truth.export(file_type="ply"))
    out, keep = io.StringIO(), sys.stdout
    sys.stdout = out
    try:
        status = main([str(folder / "walk"), str(folder / "out"), "--json", "--truth", str(folder / "truth.ply")])
    finally:
        sys.stdout = keep
    assert status == 0
    return folder / "out", json.loads(out.getvalue().splitlines()[-1])


def assert_letter_and_bars(positions, colours):
    """The letter F upright and unmirrored, and each bar in its colour along its own axis, in the session's frame."""
    for places, dark in ((scenes.F_DARK_PLACES, True), (scenes.F_LIGHT_PLACES, False)):
        for place in places:
            nearest = np.linalg.norm(positions - np.array(place), axis=1).argmin()
            assert np.linalg.norm(positions[nearest] - place) < 0.06
            assert (colours[nearest].mean() < 120) == dark
    for name, strongest in (("x", 0), ("y", 1), ("z", 2)):
        nearest = np.linalg.norm(positions - np.array(scenes.BAR_PLACES[name]), axis=1).argmin()
        assert colours[nearest].argmax() == strongest


def linear_to_srgb(light):
    """By the plain power law that the sRGB curve approximates; good enough to tell ink from paper."""
    light = np.asarray(light, float)
    return (light / (65535 if light.max() > 255 else 255 if light.max() > 1 else 1)) ** (1 / 2.2)


def test_the_letter_is_upright_in_the_points(exported):
    vertex = plyfile.PlyData.read(exported[0] / "scene.points.ply")["vertex"]
    assert_letter_and_bars(
        np.stack([vertex[a] for a in "xyz"], 1), np.stack([vertex[c] for c in ("red", "green", "blue")], 1)
    )


def test_the_letter_is_upright_in_the_splats(exported):
    vertex = plyfile.PlyData.read(exported[0] / "scene.splat.ply")["vertex"]
    colours = 255 * (0.5 + 0.28209479 * np.stack([vertex[f"f_dc_{k}"] for k in range(3)], 1))
    assert_letter_and_bars(np.stack([vertex[a] for a in "xyz"], 1), colours)


def test_the_letter_is_upright_in_the_mesh_as_gltf_has_it(exported):
    """glTF: x right, y up, z towards the viewer. So what was at (x, y, z) is at (x, -y, -z)."""
    (mesh,) = trimesh.load(exported[0] / "scene.glb", process=False).geometry.values()
    colours = 255 * linear_to_srgb(mesh.visual.vertex_attributes["color"][:, :3])
    assert_letter_and_bars(mesh.vertices * [1, -1, -1], colours)


def test_splats_drawn_from_a_camera_look_like_the_picture(exported):
    splats = read_back(exported[0] / "scene.splat.ply")
    frame = Capture(exported[0].parent / "walk").frames[0]
    camera = frame.camera
    seen = render_splats(splats, camera.viewmat, camera.K, camera.width, camera.height).image
    for places, dark in ((scenes.F_DARK_PLACES, True), (scenes.F_LIGHT_PLACES, False)):
        for place in places:
            u, v, _ = camera.project(place)
            assert (seen[int(v), int(u)].mean() < 0.45) == dark


def test_the_figures_are_good_and_complete(exported):
    metrics = exported[1]["metrics"]
    assert metrics["psnr"] > 23 and metrics["ssim"] > 0.9 and metrics["coverage"] > 0.99
    assert metrics["fscore"] > 0.97 and metrics["threshold"] == 0.05
    assert exported[1]["psnr"] == exported[1]["files"]["scene.splat.ply"]["psnr"] == metrics["psnr"]
    mesh = exported[1]["files"]["scene.glb"]
    assert mesh["psnr"] == metrics["mesh_psnr"] > 20 and mesh["coverage"] > 0.97 and mesh["floaters"] < 0.01
    assert mesh["chamfer"] == pytest.approx((mesh["accuracy"] + mesh["completeness"]) / 2) and mesh["chamfer"] < 0.01
    report = json.loads((exported[0] / "report.json").read_text())
    assert set(report["files"]) == {"walk.mp4", "scene.points.ply", "scene.glb", "scene.splat.ply"}
    for name, entry in report["files"].items():
        assert entry["bytes"] == (exported[0] / name).stat().st_size
    assert report["heldout"] == [4, 12, 20, 28]
    assert json.loads((exported[0] / "scene.manifest.json").read_text())["prompt"] == HOSTILE


def test_every_file_is_told_about_beside_it_and_in_it(exported):
    for name in ("scene.points.ply", "scene.glb", "scene.splat.ply"):
        told = json.loads((exported[0] / f"{name}.manifest.json").read_text())
        assert told["prompt"] == HOSTILE and told["licence"] and told["units"] == "metres" and told["seed"] == 1
        assert np.shape(told["transform_from_session"]) == (3, 3) and told["metrics"]
    with av.open(str(exported[0] / "walk.mp4")) as film:
        assert json.loads(film.metadata["comment"])["prompt"] == HOSTILE


def test_the_report_asks_nothing_of_the_network_and_escapes_what_people_wrote(exported):
    page = (exported[0] / "report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)[a-z]*:?//", page)
    assert page.count("data:image/jpeg;base64,") >= 5


def test_a_turntable_goes_once_round(exported):
    with av.open(str(exported[0] / "turntable.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(video=0)]
    assert len(frames) == 72
    apart = [np.abs(frame - frames[0]).mean() for frame in frames]
    assert apart[36] > 2 * apart[71]  # half-way it shows the other side, at the end it is nearly back


def test_the_film_has_every_frame_and_plays_anywhere(exported):
    with av.open(str(exported[0] / "walk.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 24
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
    capture = Capture(exported[0].parent / "walk")
    assert len(frames) == len(capture)
    assert np.abs(frames[5].astype(int) - capture.frames[5].image()).mean() < 6
    data = (exported[0] / "walk.mp4").read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")  # fast start: the index comes first


def test_two_exports_are_the_same_to_the_byte(exported, tmp_path):
    assert main([str(exported[0].parent / "walk"), str(tmp_path / "again"), "--progress", "none"]) == 0
    for name in ("scene.points.ply", "scene.glb", "scene.splat.ply", "walk.mp4"):
        assert (tmp_path / "again" / name).read_bytes() == (exported[0] / name).read_bytes(), name


def test_no_temporary_files_are_left(exported):
    assert not [path for path in exported[0].iterdir() if path.name.startswith(".")]


def test_a_cut_off_walk_exports_up_to_its_last_whole_chunk(letter_capture, tmp_path, capsys):
    shutil.copytree(letter_capture.folder, tmp_path / "walk")
    lines = (tmp_path / "walk/chunks.jsonl").read_bytes()
    (tmp_path / "walk/chunks.jsonl").write_bytes(lines[:-9])
    assert main([str(tmp_path / "walk"), str(tmp_path / "x.glb"), "--json", "--holdout", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["frames"] == 13


def test_progress_as_json_only_grows_and_ends_at_one(letter_capture, tmp_path, capsys):
    assert main([str(letter_capture.folder), str(tmp_path / "x.points.ply"), "--progress", "json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    shares = [line["share"] for line in lines]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert lines[0]["stage"] == "expected" and lines[0]["expected_s"] > 0 and lines[0]["expected_bytes"] > 10**8
    assert set(lines[1]) == {"stage", "share", "left_s", "memory_bytes"}
    assert all(line["memory_bytes"] > 10**7 for line in lines[1:])


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nowhere", "x.glb"], 1, "not a capture"),
        (["{walk}", "x.doc"], 2, ".splat.ply"),
        (["{walk}", "{tmp}/missing/x.glb"], 2, "does not exist"),
        (["{walk}", "{tmp}/x.glb", "{tmp}/x.glb"], 2, "same name"),
        (["{walk}", "{tmp}/x.glb", "--voxel", "0.0005"], 1, "--voxel"),
        (["{walk}", "{tmp}/x.glb", "--max-depth", "0.1"], 1, "--max-depth"),
        (["{walk}", "{tmp}/x.glb", "--truth", "{walk}/capture.json"], 1, "PLY"),
    ],
)
def test_mistakes_say_what_and_the_way_out(arguments, status, words, letter_capture, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("keepworld_exporters.survey.BUDGET_BYTES", 1 << 26)
    filled = [text.format(walk=letter_capture.folder, tmp=tmp_path) for text in arguments]
    assert main([*filled, "--progress", "none"]) == status
    told = capsys.readouterr().err
    assert words in told and "Traceback" not in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option",
    [
        ["--holdout", "1"],
        ["--holdout", "-3"],
        ["--holdout", "8:8"],
        ["--voxel", "0"],
        ["--voxel", "nan"],
        ["--max-depth", "x"],
    ],
)
def test_bad_options_are_usage_errors(option, letter_capture, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(letter_capture.folder), "x.glb", *option])
    assert stopped.value.code == 2


def test_interrupting_leaves_no_half_written_file(letter_capture, tmp_path):
    command = [
        sys.executable,
        "-m",
        "keepworld_exporters",
        str(letter_capture.folder),
        str(tmp_path / "out"),
        "--progress",
        "json",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    process.stderr.readline()  # it has begun
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in told
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
