"""What frames say of each other: worlds whose depth is known agree, a frame that lies is found, and only that one."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from keepworld.agreement import Agreement
from keepworld.camera import Camera, intrinsics
from keepworld.capture import Capture
from keepworld.errors import CaptureError, ExportError, MissingExtraError

LIAR = 11


@pytest.fixture
def walk(letter_capture: Capture, tmp_path: Path) -> Path:
    return Path(shutil.copytree(letter_capture.folder, tmp_path / "walk"))


def falsify(folder: Path, number: int, factor: float) -> None:
    file = folder / f"depth/{number:06d}.npy"
    np.save(file, np.load(file) * np.float32(factor))


def test_frames_of_a_world_that_is_what_it_is_agree(letter_capture: Capture) -> None:
    assert np.nanmin(letter_capture.scores) > 0.95
    assert letter_capture.consistency > 0.98


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_the_frame_that_contradicts_the_others_is_left_out_and_no_other(walk: Path, factor: float) -> None:
    falsify(walk, LIAR, factor)
    capture = Capture(walk)
    count = len(capture)
    assert int(np.nanargmin(capture.scores)) == LIAR
    assert capture.leave_out_below(0.9) == 1
    again = Capture(walk)
    assert [frame.number for frame in again.frames] == [number for number in range(count) if number != LIAR]
    assert [f.number for f in capture.frames] == [f.number for f in again.frames]
    assert len(again.controls) in (0, len(again.frames))
    assert len(again.c2ws) == len(json.loads((walk / "transforms.json").read_text())["frames"]) == count - 1
    assert again.leave_out_below(0.9) == 0
    assert (walk / f"frames/{LIAR:06d}.png").exists(), "nothing is deleted"


class Wall:
    """A wall at z = 5, seen from some place."""

    def __init__(self, x: float) -> None:
        c2w = np.eye(4)
        c2w[0, 3] = x
        self.camera = Camera(c2w=c2w, K=intrinsics(64, 48, 1.0), width=64, height=48)

    def depth(self) -> np.ndarray:
        return np.full((48, 64), 5, np.float32)

    def lasting(self) -> np.ndarray:
        return np.ones((48, 64), bool)


def test_what_is_seen_from_one_place_alone_is_not_covered() -> None:
    assert Agreement([Wall(0) for _ in range(4)]).coverage == 0
    assert Agreement([Wall(0), Wall(0.1)]).coverage == 0  # 1.1 degrees apart
    # A metre to the side is 11 degrees for what is straight ahead; the outer fifths are seen by one of the two alone.
    assert 0.5 < Agreement([Wall(0), Wall(1)]).coverage < 0.85


@pytest.fixture
def judge(walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for who judges by pictures, and no depth in the walk."""
    for file in (walk / "depth").iterdir():
        file.unlink()
    package = tmp_path / "stand-in" / "keepworld_exporters"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), *sys.path]))
    return package / "judge.py"


def test_without_depth_nothing_is_said_until_the_pictures_are_judged(walk: Path, judge: Path) -> None:
    judge.write_text('print(\'{"0": 0.95, "1": 0.2, "2": null}\')')
    capture = Capture(walk)
    assert np.isnan(capture.consistency) and np.isnan(capture.coverage)
    frames = len(capture)
    assert capture.leave_out_below(0.9) == 1 and len(capture) == frames - 1
    assert [frame.number for frame in capture.frames[:3]] == [0, 2, 3] and capture.consistency == 0.95
    assert [frame.number for frame in Capture(walk).frames[:3]] == [0, 2, 3]


@pytest.mark.parametrize(
    ("program", "kind", "words"),
    [
        ("print('{\"0\": null}')", CaptureError, "nothing in common"),
        ("import no_such_module_here", MissingExtraError, r"keepworld\[export\]"),
        ("import sys; sys.exit('keepworld-export: no such disk')", ExportError, "no such disk"),
        ("", ExportError, "without saying"),
    ],
)
def test_what_cannot_be_judged_says_so(
    walk: Path, judge: Path, program: str, kind: type[Exception], words: str
) -> None:
    judge.write_text(program)
    with pytest.raises(kind, match=words):
        Capture(walk).leave_out_below(0.5)


def test_a_gate_that_nothing_passes_and_one_that_is_none_are_refused(walk: Path) -> None:
    for number in range(len(Capture(walk))):
        falsify(walk, number, 1.0 + 0.1 * (number % 5))
    with pytest.raises(CaptureError, match="no frame"):
        Capture(walk).leave_out_below(1.0)
    assert not (walk / "left_out.json").exists()
    with pytest.raises(ValueError, match="least"):
        Capture(walk).leave_out_below(2)


@pytest.mark.parametrize("text", ["{", '{"a": 1}', '["x"]'])
def test_a_list_of_what_is_left_out_that_is_none_is_refused(walk: Path, text: str) -> None:
    (walk / "left_out.json").write_text(text)
    with pytest.raises(CaptureError, match="left_out"):
        Capture(walk)
