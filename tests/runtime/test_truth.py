"""The true surface of a capture, as a file."""

import json
import subprocess
import sys

import numpy as np
import pytest
from keepworld_runtime.families.family import Surface
from keepworld_runtime.truth import ply_bytes, surface_of

TETRAHEDRON = Surface(
    vertices=np.array([[0.0, 0, 0], [1, 0, 0], [0, -2, 0], [0, 0, 3]]),
    faces=np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], np.int32),
)
TOLD = {"family": "diorama", "version": "1", "prompt": "desert", "seed": 1, "width": 128, "height": 72, "mode": "walk"}


def test_another_reader_finds_the_same_triangles(tmp_path):
    plyfile = pytest.importorskip("plyfile")
    (tmp_path / "a.ply").write_bytes(ply_bytes(TETRAHEDRON))
    read = plyfile.PlyData.read(str(tmp_path / "a.ply"))
    vertices = np.stack([read["vertex"][axis] for axis in "xyz"], -1)
    assert np.array_equal(vertices, TETRAHEDRON.vertices)
    assert np.array_equal(np.stack(read["face"]["vertex_indices"]), TETRAHEDRON.faces)
    assert read.byte_order == "<" and not read.text


def test_a_capture_gives_its_world(tmp_path):
    (tmp_path / "capture.json").write_text(json.dumps(TOLD))
    out = tmp_path / "truth.ply"
    command = [sys.executable, "-m", "keepworld_runtime.truth", str(tmp_path), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    vertices, faces = (int(done.stdout.split()[i]) for i in (1, 3))
    header, body = out.read_bytes().split(b"end_header\n", 1)
    assert f"element vertex {vertices}\n".encode() in header
    assert len(body) == 12 * vertices + 13 * faces and faces > 1000
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


@pytest.mark.parametrize(
    ("told", "message"),
    [(None, "not a capture folder"), ({}, "not a capture folder"), (TOLD | {"family": "mini0"}, "unknown family"),
     (TOLD | {"version": "0"}, "version"), (TOLD | {"seed": "x"}, "not a capture folder")],
)  # fmt: skip
def test_what_is_wrong_with_a_folder_is_said(tmp_path, told, message):
    if told is not None:
        (tmp_path / "capture.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=message):
        surface_of(tmp_path)
