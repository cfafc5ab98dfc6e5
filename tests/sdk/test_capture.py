"""A capture comes back as it was written, damaged ones say so, and cut-off ones keep what was whole."""

import json
from dataclasses import replace

import numpy as np
import pytest
from keepworld.capture import Capture
from keepworld.capture_writer import CaptureWriter
from keepworld.errors import CaptureError
from keepworld.files import write_atomically
from keepworld.frames import Label

from tests import scenes


@pytest.fixture
def walk(tmp_path):
    """Thirty-one frames: chunks of 13, 16 and 2."""
    return scenes.write(
        tmp_path / "walk", scenes.letter_world(), scenes.letter_path(31), size=(48, 32), events={1: "rain <b>\n"}
    )


def test_it_comes_back_as_it_was_written(walk):
    camera = walk.frames[20].camera
    image, depth, labels = scenes.render(scenes.letter_world(), camera)
    frame = walk.frames[20]
    np.testing.assert_array_equal(frame.image(), image)
    np.testing.assert_allclose(frame.depth(), depth, rtol=1e-6)
    np.testing.assert_array_equal(frame.labels(), labels)
    np.testing.assert_array_equal(frame.lasting(), labels == 0)
    np.testing.assert_allclose(camera.c2w, scenes.letter_path(31)[20], atol=1e-15)
    assert [f.number for f in walk.frames] == list(range(31))
    assert walk.frames[12].chunk == 0 and walk.frames[13].chunk == 1
    assert walk.events[0][0] == 1 and walk.events[0][1].text == "rain <b>\n"
    assert walk.provenance.family == "closed-form"


def test_depth_and_masks_are_as_nerfstudio_reads_them(walk):
    stored = np.load(walk.folder / "depth/000000.npy")
    _, depth, labels = scenes.render(scenes.letter_world(), walk.frames[0].camera)
    np.testing.assert_allclose(stored, depth * 1000, rtol=1e-6)
    from PIL import Image

    mask = np.asarray(Image.open(walk.folder / "masks/000000.png"))
    np.testing.assert_array_equal(mask == 255, (labels & (Label.SKY | Label.MOVING)) == 0)
    transforms = json.loads((walk.folder / "transforms.json").read_text())
    assert len(transforms["frames"]) == 31
    # The first camera stands at the origin looking along z; in nerfstudio's world (z up, y forward) that is:
    np.testing.assert_allclose(
        transforms["frames"][0]["transform_matrix"],
        [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]],
        atol=1e-12,
    )


def test_a_torn_last_line_loses_only_its_chunk(walk):
    lines = (walk.folder / "chunks.jsonl").read_bytes()
    (walk.folder / "chunks.jsonl").write_bytes(lines[:-40])
    assert len(Capture(walk.folder)) == 29


def test_a_walk_cut_off_before_its_first_chunk_is_empty(walk):
    (walk.folder / "chunks.jsonl").unlink()
    assert len(Capture(walk.folder)) == 0


def test_a_missing_picture_is_named(walk):
    (walk.folder / "frames/000003.png").unlink()
    with pytest.raises(CaptureError, match="000003"):
        Capture(walk.folder).frames[3].image()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", -1),
        ("width", 10**9),
        ("height", "12"),
        ("fps", "fast"),
        ("fps", 0),
        ("prompt", 7),
        ("units", "miles"),
        ("format", "other/1"),
    ],
)
def test_a_hostile_capture_json_is_refused(walk, field, value):
    path = walk.folder / "capture.json"
    about = json.loads(path.read_text()) | {field: value}
    path.write_text(json.dumps(about))
    with pytest.raises(CaptureError):
        Capture(walk.folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"format": "keepworld.capture/1"}', "[" * 100_000])
def test_nonsense_in_capture_json_is_refused(walk, text):
    (walk.folder / "capture.json").write_text(text)
    with pytest.raises(CaptureError):
        Capture(walk.folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: {**line, "frames": None},
        lambda line: {**line, "frames": [{**line["frames"][0], "c2w": [[1, 2], [3, 4]]}]},
        lambda line: {**line, "frames": [{**line["frames"][0], "c2w": np.diag([1, 1, -1, 1]).tolist()}]},
        lambda line: {**line, "frames": [{**line["frames"][0], "number": "../../etc/passwd"}]},
        lambda line: {**line, "controls": [{"fly": 1}]},
        lambda line: {**line, "events": [{"text": "x"}]},
        lambda line: {key: value for key, value in line.items() if key != "chunk"},
    ],
)
def test_a_hostile_chunk_is_refused(walk, damage):
    path = walk.folder / "chunks.jsonl"
    line = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps(damage(line)) + "\n")
    with pytest.raises(CaptureError):
        Capture(walk.folder)


@pytest.mark.parametrize("damage", ["pickle", "shape", "type", "cut", "huge"])
def test_a_hostile_depth_map_is_refused(walk, damage, tmp_path):
    path = walk.folder / "depth/000000.npy"
    if damage == "pickle":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif damage == "shape":
        np.save(path, np.zeros((4, 4), np.float32))
    elif damage == "type":
        np.save(path, np.zeros((32, 48), np.float64))
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    else:  # a header that claims 4 TB
        data = path.read_bytes().replace(b"(32, 48), }     ", b"(1000000,1000000)}")
        path.write_bytes(data)
    with pytest.raises(CaptureError, match="000000"):
        Capture(walk.folder).frames[0].depth()


def test_a_picture_of_another_size_is_refused(walk):
    from keepworld import png

    (walk.folder / "frames/000000.png").write_bytes(png.encode(np.zeros((64, 64, 3), np.uint8)))
    with pytest.raises(CaptureError, match="000000"):
        walk.frames[0].image()


def test_an_existing_folder_is_never_written_into(walk):
    with pytest.raises(CaptureError, match="already exists"):
        CaptureWriter(walk.folder, replace(walk.provenance, seed=2))


def test_a_failed_write_leaves_no_file(tmp_path):
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "x.bin", "not bytes")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
