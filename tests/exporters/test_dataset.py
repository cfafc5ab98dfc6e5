"""Data sets for trainers: what pycolmap and Pillow see in them, what may be replaced, what is refused."""

import json
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from keepworld.capture import Capture
from keepworld_exporters.__main__ import main
from PIL import Image


def depth_of(folder: Path, name: str) -> np.ndarray:
    """A depth map as COLMAP's own code reads it."""
    read = pycolmap.DepthMap()
    read.read(folder / "stereo/depth_maps" / f"{name}.geometric.bin")
    return np.asarray(read.to_array())


def made(capsys, *words: str) -> dict:
    assert main([*words, "--json", "--progress", "none"]) == 0
    return json.loads(capsys.readouterr().out)


def test_depth_and_confidence_are_those_of_the_walk(letter_capture, tmp_path, capsys):
    """Pixel (u, v) of image NAME is pixel (u, v) of NAME.geometric.bin, along z, in the capture's units."""
    told = made(capsys, str(letter_capture.folder), str(tmp_path / "new/a1"), "--format", "colmap", "--depth-maps")
    folder, frames = tmp_path / "new/a1", letter_capture.frames
    assert told["files"]["a1"] == {
        "path": str(folder), "frames": len(frames), "points": told["metrics"]["points"], "depth_maps": len(frames),
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    }  # fmt: skip
    model = pycolmap.Reconstruction(folder / "sparse/0")
    assert model.num_images() == len(frames) and model.num_points3D() == told["metrics"]["points"] > 50_000
    for frame in frames[::7]:
        name = f"{frame.number:06d}.png"
        np.testing.assert_array_equal(depth_of(folder, name), frame.depth())
        np.testing.assert_array_equal(np.asarray(Image.open(folder / "images" / name)), frame.image())
        sure = np.asarray(Image.open(folder / "confidence" / name))
        assert (sure[frame.lasting() & (frame.depth() > 0)] == 255).all() and not sure[~frame.lasting()].any()
    about = json.loads((tmp_path / "new/a1.manifest.json").read_text())
    assert (about["dataset"], about["units"], about["depth_maps"]) == ("colmap", "metres", len(frames))


def test_points_of_a_view_lie_at_the_depth_of_its_map(letter_capture, tmp_path, capsys):
    """COLMAP's camera, points and depth maps say the same."""
    made(capsys, str(letter_capture.folder), str(tmp_path / "a.colmap"), "--depth-maps")
    model = pycolmap.Reconstruction(tmp_path / "a.colmap/sparse/0")
    image = model.images[1]
    depth = depth_of(tmp_path / "a.colmap", image.name)
    off = []
    for point in list(model.points3D.values())[::50]:
        place, seen = image.cam_from_world() * point.xyz, image.project_point(point.xyz)
        if seen is not None and (seen >= 0).all() and (seen < depth.shape[::-1]).all():
            off.append(depth[int(seen[1]), int(seen[0])] / place[2] - 1)
    # All but those that something hides, and those on an edge, which are in the pixel beside it.
    assert len(off) > 200 and np.mean(np.abs(off) < 0.02) > 0.8


def test_depth_that_a_walk_has_not_is_found(room, tmp_path, capsys):
    known, bare = room
    told = made(capsys, str(bare.folder), str(tmp_path / "a.colmap"), "--depth-maps")
    assert told["metrics"]["depth_maps"] == len(bare) and told["metrics"]["points"] > 10_000
    frame = known.frames[4]
    found, true = depth_of(tmp_path / "a.colmap", f"{frame.number:06d}.png"), frame.depth()
    sure = np.asarray(Image.open(tmp_path / f"a.colmap/confidence/{frame.number:06d}.png"))
    both = (found > 0) & (true > 0)
    assert both.mean() > 0.4 and np.median(np.abs(found[both] / true[both] - 1)) < 0.02
    assert not sure[found == 0].any() and sure.max() == 255


def test_a_data_set_is_replaced_and_nothing_else_is(letter_capture, tmp_path, capsys):
    words = [str(letter_capture.folder), str(tmp_path / "a.colmap.txt")]
    made(capsys, *words, "--depth-maps")
    made(capsys, *words)
    assert sorted(path.name for path in (tmp_path / "a.colmap.txt").iterdir()) == ["images", "sparse"]
    assert {path.name for path in tmp_path.iterdir()} == {"a.colmap.txt", "a.colmap.txt.manifest.json"}
    (tmp_path / "a.colmap.txt/notes.txt").write_text("mine")
    assert main([*words, "--progress", "none"]) == 1
    assert "already exists and is no data set" in capsys.readouterr().err
    assert (tmp_path / "a.colmap.txt/notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["a", "b", "--format", "colmap"], "one folder"),
        (["a.glb", "--depth-maps"], "add --format colmap"),
        (["a", "--format", "colmap", "--voxel", "0.1"], "--voxel is not of a data set"),
        (["a.colmap", "--training", "3dgs-7k"], "--training is not of a data set"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_way_out(
    letter_capture, tmp_path, capsys, monkeypatch, words, complaint
):
    monkeypatch.chdir(tmp_path)
    assert main([str(letter_capture.folder), *words]) == 2
    assert complaint in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_capture_without_frames_is_refused(letter_capture, tmp_path, capsys):
    empty = tmp_path / "walk"
    empty.mkdir()
    (empty / "capture.json").write_bytes((letter_capture.folder / "capture.json").read_bytes())
    assert not Capture(empty).frames
    assert main([str(empty), str(tmp_path / "a.colmap")]) == 1
    assert "nothing to export" in capsys.readouterr().err and not (tmp_path / "a.colmap").exists()
