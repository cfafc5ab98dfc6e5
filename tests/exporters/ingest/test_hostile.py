"""Sources of strangers: what lies about itself is refused by name, before memory is spent, and nothing outside is read."""

import json
import resource
import struct

import numpy as np
import pytest
from keepworld.errors import CaptureError, ExportError
from keepworld_exporters.__main__ import main
from keepworld_exporters.formats import colmap
from keepworld_exporters.ingest import path

from tests.exporters.ingest.datasets import opened, room, save_json, save_pictures, transforms
from tests.exporters.ingest.test_sources import colmap_model


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return room(tmp_path_factory.mktemp("walk") / "walk", count=3)


@pytest.fixture
def data(walk, tmp_path):
    """A sound nerfstudio data set, and what its file holds."""
    names = save_pictures(walk, tmp_path / "set/images")
    return tmp_path / "set", transforms(walk, names)


@pytest.fixture
def model(walk, tmp_path):
    """A sound COLMAP model."""
    names = save_pictures(walk, tmp_path / "set/images")
    colmap_model(walk, names, "PINHOLE", [130.0, 130.0, 96.0, 72.0]).write(tmp_path / "set")
    return tmp_path / "set"


def changed(content, **about):
    return {**content, **about}


def first(content, **about):
    frames = [{**content["frames"][0], **about}, *content["frames"][1:]]
    return {**content, "frames": frames}


def nan_pose(content):
    matrix = np.array(content["frames"][0]["transform_matrix"])
    matrix[0, 3] = np.nan
    return first(content, transform_matrix=matrix.tolist())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (nan_pose, "finite"),
        (lambda c: first(c, transform_matrix=[[0.0] * 4] * 4), "rotation"),
        (lambda c: first(c, transform_matrix=np.diag([1.0, 1, -1, 1]).tolist()), "rotation"),
        (lambda c: first(c, transform_matrix=np.diag([1.0, 2, 1, 1]).tolist()), "rotation"),
        (lambda c: first(c, transform_matrix=[1, 2, 3]), "finite \\[4, 4\\]"),
        (lambda c: first(c, transform_matrix="x"), "file_path|could not convert|images/"),
        (lambda c: changed(c, fl_x="wide"), "fl_x must be a finite number"),
        (lambda c: changed(c, fl_x=float("nan")), "fl_x"),
        (lambda c: changed(c, fl_x=-3.0), "focal"),
        (lambda c: changed(c, cx=1e9), "principal point"),
        (lambda c: changed(c, k1=1e300), "finite|bends"),
        (lambda c: changed(c, w=10**9, h=10**9), "size within"),
        (lambda c: changed(c, w=100), "not the same shape"),
        (lambda c: changed(c, camera_model="EQUIRECTANGULAR"), "EQUIRECTANGULAR"),
        (lambda c: changed(c, frames=[]), "frames"),
        (lambda c: changed(c, frames="many"), "frames"),
        (lambda c: changed(c, frames=[1]), "object"),
        (lambda c: changed(c, applied_scale=0), "applied_scale"),
        (lambda c: changed(c, applied_transform=[[1, 2], [3, 4]]), "applied_transform"),
        (lambda c: changed(c, applied_transform=np.zeros((3, 4)).tolist()), "applied_transform"),
        (lambda c: first(c, file_path="../../../etc/passwd"), "leads out"),
        (lambda c: first(c, file_path="/etc/passwd"), "leads out"),
        (lambda c: first(c, file_path="images/\0.png"), "plain relative path"),
        (lambda c: first(c, file_path="..\\x.png"), "plain relative path"),
        (lambda c: first(c, file_path="images/absent.png"), "missing"),
        (lambda c: first(c, file_path=7), "file_path"),
        (lambda c: first(c, mask_path="../../mask.png"), "leads out"),
        (lambda c: first(c, depth_file_path="/etc/hostname"), "leads out"),
    ],
)
def test_a_transforms_json_that_lies_is_refused_with_what_is_wrong(data, spoil, words, tmp_path):
    folder, content = data
    save_json(folder / "transforms.json", spoil(content))
    with pytest.raises(ExportError, match=words):
        opened(folder, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"frames": ' + "[" * 100_000, "\xff\xfe"])
def test_what_is_no_json_is_refused(data, text, tmp_path):
    (data[0] / "transforms.json").write_text(text, encoding="latin-1")
    with pytest.raises(ExportError, match=r"JSON|object"):
        opened(data[0], tmp_path)


def test_a_link_out_of_the_folder_is_not_followed(data, tmp_path):
    folder, content = data
    (tmp_path / "secret.png").write_bytes((folder / "images/view_000.png").read_bytes())
    (folder / "images/link.png").symlink_to(tmp_path / "secret.png")
    save_json(folder / "transforms.json", first(content, file_path="images/link.png"))
    with pytest.raises(ExportError, match="leads out"):
        opened(folder, tmp_path)


def test_a_picture_that_claims_to_be_huge_is_refused_by_its_header(data, tmp_path):
    folder, content = data
    sound = (folder / "images/view_000.png").read_bytes()
    (folder / "images/view_000.png").write_bytes(sound[:16] + struct.pack(">II", 16_000, 16_000) + sound[24:])
    save_json(folder / "transforms.json", first(content, w=16_000, h=16_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ExportError, match=r"pixels are read|no picture"):
        opened(folder, tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64_000


@pytest.mark.parametrize("cut", [10, 60, 400])
def test_a_picture_that_is_cut_off_is_refused(data, cut, tmp_path):
    folder, content = data
    picture = folder / "images/view_001.png"
    picture.write_bytes(picture.read_bytes()[:cut])
    save_json(folder / "transforms.json", content)
    with pytest.raises(ExportError, match=r"view_001\.png"):
        opened(folder, tmp_path)


def test_depth_of_another_kind_is_refused_before_it_is_read(data, tmp_path):
    folder, content = data
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2000000, 2000000), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    (folder / "d.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    save_json(folder / "transforms.json", first(content, depth_file_path="d.npy"))
    with pytest.raises(ExportError, match=r"d\.npy"):
        opened(folder, tmp_path)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_a_model_that_is_cut_off_anywhere_is_refused(model, name, tmp_path):
    whole = (model / name).read_bytes()
    for end in [*range(0, len(whole), 7), len(whole) - 1]:
        (model / name).write_bytes(whole[:end])
        with pytest.raises(ExportError):
            opened(model, tmp_path)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
@pytest.mark.parametrize("count", [10**9, 2**63, 2**64 - 1, 5])
def test_a_model_that_claims_more_than_it_holds_is_refused(model, name, count, tmp_path):
    whole = (model / name).read_bytes()
    (model / name).write_bytes(struct.pack("<Q", count) + whole[8:])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ExportError):
        opened(model, tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64_000


def test_points_that_claim_more_than_the_file_holds_are_refused():
    files = {
        "cameras.txt": b"1 PINHOLE 8 8 5 5 4 4\n",
        "images.txt": b"1 1 0 0 0 0 0 0 1 a.png\n\n",
        "points3D.txt": b"1 0 0 0 300 0 0 0\n",
    }
    with pytest.raises(ValueError, match="colours"):
        colmap.decode_model(files)
    binary = {"cameras.bin": struct.pack("<QiiQQ4d", 1, 1, 1, 8, 8, 5, 5, 4, 4), "images.bin": struct.pack("<Q", 0)}
    with pytest.raises(ValueError, match="claims"):
        colmap.decode_model({**binary, "points3D.bin": struct.pack("<Q", 10**9)})


@pytest.mark.parametrize("name", ["../transforms.json", "/etc/passwd", "a\\b.png"])
def test_a_models_picture_may_not_lie_elsewhere(model, name, tmp_path):
    whole = (model / "images.bin").read_bytes()
    (model / "images.bin").write_bytes(whole.replace(b"view_000.png", name.encode()))
    with pytest.raises(ExportError):
        opened(model, tmp_path, images=model / "images")


def test_a_pose_of_a_model_that_is_none_is_refused(model, tmp_path):
    whole = bytearray((model / "images.bin").read_bytes())
    struct.pack_into("<d", whole, 8 + 4, float("nan"))
    (model / "images.bin").write_bytes(bytes(whole))
    with pytest.raises(ExportError, match="pose"):
        opened(model, tmp_path)


@pytest.mark.parametrize("text", ["", "# nothing", "1 2 3", "1 0 0 0 0 0 0 0", "1 nan 0 0 0 0 0 1", "a b c d e f g h"])
def test_a_trajectory_that_is_none_is_refused_by_its_line(text):
    with pytest.raises(ExportError, match=r"wanted time|no cameras"):
        path.tum(text, "path.txt")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"#EXTM3U\nhttp://127.0.0.1:1/x.ts\n",
        b"\0\0\0\x18ftypisom" + b"\0" * 64,
        b"\x1a\x45\xdf\xa3" + b"\xff" * 64,
    ],
)
def test_what_is_no_video_is_refused_and_nothing_it_names_is_opened(data, tmp_path):
    (tmp_path / "film.mp4").write_bytes(data)
    with pytest.raises(ExportError, match=r"film\.mp4"):
        opened(tmp_path / "film.mp4", tmp_path)


@pytest.mark.parametrize("make", ["nothing", "empty", "text", "words"])
def test_the_command_says_what_it_reads(make, tmp_path, capsys):
    source = tmp_path / "source"
    if make == "empty":
        source.mkdir()
    elif make == "text":
        source.write_text("hello")
    elif make == "words":
        source.mkdir()
        (source / "notes.txt").write_text("hello")
    assert main([str(source), str(tmp_path / "x.glb"), "--progress", "none"]) == 1
    told = capsys.readouterr().err
    assert "not a capture" in told and "transforms.json" in told and "COLMAP" in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--known-distance", "0", "1:a,b", "2"], "FRAME:U,V"),
        (["--known-distance", "0", "1", "-2"], "length above 0"),
        (["--known-distance", "0", "1", "2", "--camera-height", "1.6"], "not by both"),
        (["--max-side", "3"], "max_side"),
    ],
)
def test_flags_that_make_no_sense_are_usage_errors(walk, flags, words, tmp_path, capsys):
    assert main([str(walk.folder), str(tmp_path / "x.glb"), *flags]) == 2
    assert words in capsys.readouterr().err


def test_a_damaged_capture_is_named_as_one(walk, tmp_path, capsys):
    (tmp_path / "walk").mkdir()
    (tmp_path / "walk/capture.json").write_text(json.dumps({"format": "?"}))
    assert main([str(tmp_path / "walk"), str(tmp_path / "x.glb")]) == 1
    assert "capture.json" in capsys.readouterr().err
    assert issubclass(CaptureError, Exception)
