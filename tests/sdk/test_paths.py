"""Paths from files and from keyframes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from keepworld import CONVENTIONS, Capture, paths
from keepworld.camera import convert_c2w


def test_an_orbit_keeps_its_distance_looks_at_its_centre_and_stays_level() -> None:
    centre = np.array([1.0, -2.0, 5.0])
    path = paths.check(paths.orbit(centre, radius=3, frames=36, height=1))
    away = path[:, :3, 3] - centre
    np.testing.assert_allclose(np.linalg.norm(away[:, [0, 2]], axis=1), 3)
    np.testing.assert_allclose(away[:, 1], -1)  # above: y points down
    forward = -away / np.linalg.norm(away, axis=1, keepdims=True)
    np.testing.assert_allclose(path[:, :3, 2], forward, atol=1e-12)
    np.testing.assert_allclose(path[:, 1, 0], 0, atol=1e-12)
    assert (path[:, 1, 1] > 0).all()


def test_an_orbit_starts_in_front_and_closes_one_step_after_its_end() -> None:
    path = paths.orbit([0, 0, 0], radius=2, frames=8)
    np.testing.assert_allclose(path[0, :3, 3], [0, 0, -2], atol=1e-12)
    np.testing.assert_allclose(path[4, :3, 3], [0, 0, 2], atol=1e-12)
    steps = np.linalg.norm(np.diff(np.concatenate([path, path[:1]])[:, :3, 3], axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0])


def test_a_path_goes_through_its_keyframes() -> None:
    keys = paths.orbit([0, 0, 0], radius=2, frames=5, height=0.5)
    path = paths.check(paths.through(keys, 41))
    np.testing.assert_allclose(path[::10], keys, atol=1e-12)


def test_between_keyframes_on_a_line_one_goes_straight_and_turns_evenly() -> None:
    keys = np.tile(np.eye(4), (4, 1, 1))
    keys[:, 2, 3] = [0, 1, 2, 3]
    np.testing.assert_allclose(paths.through(keys, 31)[:, 2, 3], np.linspace(0, 3, 31), atol=1e-12)
    turn = np.stack([paths.look_at([0, 0, 0], [0, 0, 1]), paths.look_at([0, 0, 0], [1, 0, 0])])
    path = paths.through(turn, 10)
    np.testing.assert_allclose(np.degrees(np.arctan2(path[:, 0, 2], path[:, 2, 2])), np.arange(10) * 10, atol=1e-9)


@pytest.mark.parametrize("frame", [*CONVENTIONS])
def test_matrices_of_any_convention_are_read_back(tmp_path: Path, frame: str) -> None:
    path = paths.orbit([0, 1, 4], radius=2, frames=6)
    file = tmp_path / "path.json"
    file.write_text(json.dumps(convert_c2w(path, to=frame).tolist()))
    np.testing.assert_allclose(paths.load(file, frame=frame), path, atol=1e-12)


def test_nerfstudios_transforms_are_read_as_nerfstudios(tmp_path: Path) -> None:
    path = paths.orbit([0, 1, 4], radius=2, frames=6)
    frames = [{"transform_matrix": matrix} for matrix in convert_c2w(path, to="nerfstudio").tolist()]
    file = tmp_path / "transforms.json"
    file.write_text(json.dumps({"frames": frames}))
    np.testing.assert_allclose(paths.load(file), path, atol=1e-12)


def test_a_captures_own_path_can_be_walked_again(sphere_capture: Capture) -> None:
    np.testing.assert_allclose(paths.load(sphere_capture.folder), sphere_capture.c2ws)
    theirs = paths.load(sphere_capture.folder / "transforms.json")
    np.testing.assert_allclose(theirs, sphere_capture.c2ws, atol=1e-9)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("{}", "'frames'"),
        ('{"frames": [1]}', "'frames'"),
        ('{"frames": [{}]}', "matrices"),
        ("[[1, 2], [3]]", "matrices"),
        ("[1, 2]", r"\[N, 4, 4\]"),
        (json.dumps(np.zeros((2, 4, 4)).tolist()), r"path\[0\]"),
        (json.dumps([np.eye(4).tolist(), np.diag([-1, 1, 1, 1]).tolist()]), r"path\[1\]"),
        ('"words"', r"matrices"),
    ],
)
def test_a_file_that_holds_no_path_is_refused(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "path.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=words):
        paths.load(file)


def test_looking_straight_down_has_no_up() -> None:
    with pytest.raises(ValueError, match="above"):
        paths.look_at([0, 0, 0], [0, 5, 0])
