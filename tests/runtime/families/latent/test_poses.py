from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from keepworld import paths
from keepworld.camera import invert_rigid
from keepworld_runtime.families.latent.poses import Motion, moved, normalised, parse, read_json
from keepworld_runtime.families.latent.walk import latent_cameras
from numpy.typing import NDArray

from tests import goldens


def test_all_recorded_motion_strings_give_the_published_views() -> None:
    recorded, strings = goldens.load(goldens.folder("worldplay8b") / "poses.safetensors")
    cases = [name for name in strings if not name.startswith("json.")]
    for case in cases:
        views = parse(strings[case]).views()
        np.testing.assert_allclose(views.viewmats, recorded[f"{case}.viewmats"].numpy(), atol=1e-12, err_msg=case)
        np.testing.assert_allclose(views.Ks, recorded[f"{case}.Ks"].numpy(), atol=1e-12)
        np.testing.assert_array_equal(views.actions, recorded[f"{case}.action"].numpy(), err_msg=case)
    assert len(cases) == 13


def test_the_recorded_5b_walks_come_from_their_motion_strings() -> None:
    folder = goldens.folder("worldplay5b")
    for file, name, string in (("rollout_t2v", "", "pose"), ("memory_selection", "loop.", "loop_pose")):
        recorded, about = goldens.load(folder / f"{file}.safetensors")
        wanted = recorded[f"{name}viewmats"].numpy()
        views = parse(about[string]).views()[: len(wanted)]
        np.testing.assert_allclose(views.viewmats, wanted, atol=1e-6)  # recorded in float32
        np.testing.assert_array_equal(views.actions, recorded[f"{name}action"].numpy())


def test_recorded_motions_give_the_published_cameras() -> None:
    recorded, motions = goldens.load(goldens.folder("worldplay8b") / "poses.safetensors")
    cases = [name for name, text in motions.items() if name.startswith("json.") and text != "null"]
    for case in cases:
        c2ws = moved(np.eye(4), [Motion(**motion) for motion in json.loads(motions[case])])
        np.testing.assert_allclose(c2ws, recorded[f"{case}.c2w"].numpy(), atol=1e-12, err_msg=case)
    assert sorted(cases) == ["json.diag_moves", "json.move_and_turn", "json.third_person", "json.tiny"]


def test_recorded_pose_files_give_the_published_views() -> None:
    recorded, _ = goldens.load(goldens.folder("worldplay8b") / "poses.safetensors")
    cases = [name.removesuffix(".c2w") for name in recorded if name.endswith(".c2w")]
    for case in cases:
        views = read_json(pose_file(recorded[f"{case}.c2w"].numpy(), recorded[f"{case}.K"].numpy())).views()
        np.testing.assert_allclose(views.viewmats, recorded[f"{case}.viewmats"].numpy(), atol=1e-12, err_msg=case)
        np.testing.assert_allclose(views.Ks, recorded[f"{case}.Ks"].numpy(), atol=1e-12)
        np.testing.assert_array_equal(views.actions, recorded[f"{case}.action"].numpy())
    assert len(cases) == 5


def pose_file(c2ws: NDArray[np.float64], K: NDArray[np.float64]) -> bytes:
    entries = {str(n): {"extrinsic": c2w.tolist(), "K": K.tolist()} for n, c2w in enumerate(c2ws)}
    return json.dumps(entries).encode()


def test_going_round_somebody_keeps_the_distance_to_the_point_one_unit_ahead() -> None:
    path = moved(np.eye(4), [Motion(third_yaw=0.3)] * 5)
    np.testing.assert_allclose(path @ [0, 0, 1, 1], np.tile([0.0, 0, 1, 1], (6, 1)), atol=1e-12)


def test_a_count_that_comes_to_no_whole_latent_is_reported() -> None:
    trajectory = parse("w-1, right-0.5,, d-2.9 , up-0")
    assert len(trajectory.c2ws) == 4
    assert trajectory.without_effect == ("right-0.5", "up-0")


def test_an_empty_string_stays_where_it_is() -> None:
    np.testing.assert_array_equal(parse(" , ").c2ws, np.eye(4)[None])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x-3", "'x-3' must be one of w, s, d, a, up, down, right, left"),
        ("w", "a hyphen and a count"),
        ("w--3", "a hyphen and a count"),
        ("w-three", "the count of 'w-three' must be a number"),
        ("w-nan", "must be a number"),
        ("w-inf", "must be a number"),
        ("w-1e9", "less than 25000 latents"),
    ],
)
def test_a_motion_that_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


GOOD = {"extrinsic": np.eye(4).tolist(), "K": [[970.0, 0, 960], [0, 970, 540], [0, 0, 1]]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff", "must be JSON"),
        (b"[" * 100_000, "must be JSON"),
        (b"[]", "object of 1 to 25000 entries"),
        (b"{}", "object of 1 to 25000 entries"),
        (b'{"0": 1}', "must have 'extrinsic' and 'K', got int"),
        (json.dumps({"0": {**GOOD, "extrinsic": None}}).encode(), r"extrinsic of entry '0' must be a finite"),
        (json.dumps({"0": {**GOOD, "extrinsic": [[1, 2], [3]]}}).encode(), "matrix of numbers"),
        (json.dumps({"0": {**GOOD, "extrinsic": (2 * np.eye(4)).tolist()}}).encode(), "must hold a rotation"),
        (json.dumps({"0": {**GOOD, "K": np.eye(4).tolist()}}).encode(), r"K of entry '0' .* got \[4, 4\]"),
        (json.dumps({"0": {**GOOD, "K": np.eye(3).tolist()}}).encode(), "positive focal lengths"),
        (b'{"0": {"extrinsic": [[NaN,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}}', "finite"),
    ],
)
def test_a_pose_file_that_is_none_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_json(data)


def test_a_camera_that_is_not_centred_is_taken_for_centred() -> None:
    K = np.array([[100.0, 0, 40], [0, 90, 30], [0, 0, 1]])
    np.testing.assert_allclose(normalised(K), [[1.25, 0, 0.5], [0, 1.5, 0.5], [0, 0, 1]])


def test_a_path_of_frames_passes_through_every_latent_evenly() -> None:
    trajectory = parse("w-3, right-2, up-1, a-2")
    path = paths.check(trajectory.frames())
    assert len(path) == 4 * 8 + 1
    chosen = latent_cameras(list(path), is_first=True)
    np.testing.assert_allclose(chosen, trajectory.c2ws, atol=1e-12)
    steps = invert_rigid(path[:-1]) @ path[1:]
    for quarter in steps.reshape(-1, 4, 4, 4):  # four equal steps from latent to latent
        np.testing.assert_allclose(quarter, np.tile(quarter[0], (4, 1, 1)), atol=1e-12)


def test_a_path_of_frames_begins_where_the_session_does() -> None:
    start = moved(np.eye(4), [Motion(yaw=1.0, pitch=0.2, forward=3.0)])[1]
    c2ws = moved(start, [Motion(forward=0.08, yaw=0.05)] * 3)
    K = np.array(GOOD["K"])
    path = read_json(pose_file(c2ws, K)).frames()
    np.testing.assert_allclose(path[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(path[::4], invert_rigid(c2ws[0]) @ c2ws, atol=1e-12)


def test_poses_actions_and_policies_are_read_without_torch() -> None:
    modules = "keepworld_runtime.families.latent.poses, keepworld_runtime.memory.policies"
    subprocess.run([sys.executable, "-c", f"import sys, {modules}; assert 'torch' not in sys.modules"], check=True)
