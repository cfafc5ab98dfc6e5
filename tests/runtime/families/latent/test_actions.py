from __future__ import annotations

import numpy as np
import pytest
from keepworld.camera import invert_rigid
from keepworld.motion import Control
from keepworld_runtime.families.latent.actions import MOVES, TURNS, action_named, actions_of, words_of
from keepworld_runtime.families.latent.walk import latent_cameras, walked

from tests import goldens


def test_all_recorded_classes_are_ours() -> None:
    recorded, _ = goldens.load(goldens.folder("worldplay8b") / "poses.safetensors")
    cases = [name.removesuffix(".action") for name in recorded if name.endswith(".action")]
    for case in cases:
        viewmats = recorded[f"{case}.viewmats"].numpy()
        np.testing.assert_array_equal(actions_of(viewmats), recorded[f"{case}.action"].numpy(), err_msg=case)
    assert len(cases) == 19


def test_all_recorded_classes_that_tell_turns_only_are_ours() -> None:
    recorded, _ = goldens.load(goldens.folder("worldplay8b") / "poses.safetensors")
    cases = [name.removesuffix(".action_tps") for name in recorded if name.endswith(".action_tps")]
    for case in cases:
        found = actions_of(recorded[f"{case}.viewmats"].numpy(), turns_only=True)
        np.testing.assert_array_equal(found, recorded[f"{case}.action_tps"].numpy(), err_msg=case)
    assert len(cases) == 5


def test_classes_of_recorded_5b_walks_are_ours() -> None:
    folder = goldens.folder("worldplay5b")
    rollout, loop = (goldens.load(folder / f"{name}.safetensors")[0] for name in ("rollout_t2v", "memory_selection"))
    for viewmats, actions in ((rollout["viewmats"], rollout["action"]), (loop["loop.viewmats"], loop["loop.action"])):
        np.testing.assert_array_equal(actions_of(viewmats.numpy().astype(np.float64)), actions.numpy())


@pytest.mark.parametrize(
    ("move", "turn", "words", "action"),
    [
        ((0, 0, 0), (0, 0, 0), ("stay", "none"), 0),
        ((0, 0, 1), (0, 0, 0), ("forward", "none"), 9),
        ((0, 0, 1), (1, 0, 0), ("forward", "right"), 10),
        ((0, 0, 1), (-1, 0, 0), ("forward", "left"), 11),
        ((0, 0, -1), (0, 1, 0), ("back", "up"), 21),
        ((-1, 0, 0), (0, -1, 0), ("left", "down"), 40),
        ((1, 0, 1), (0, 0, 0), ("forward+right", "none"), 45),
        ((-1, 0, -1), (-1, -1, 0), ("back+left", "left+down"), 80),
    ],
)
def test_what_hands_do_in_four_frames_at_once_is_the_class_of_all_of_it(
    move: tuple[float, float, float], turn: tuple[float, float, float], words: tuple[str, str], action: int
) -> None:
    frames = walked(np.eye(4), [Control(move=move, turn=turn)] * 13, [None] * 13, mode="fly", is_first=True)
    latents = latent_cameras(frames, is_first=True)
    assert actions_of(invert_rigid(latents)).tolist() == [0, action, action, action]
    assert words_of(action) == words


def test_a_key_pressed_late_in_a_latent_counts_for_it() -> None:
    controls = [Control(move=(0, 0, 1))] * 3 + [Control(turn=(1, 0, 0))]
    frames = walked(np.eye(4), controls, [None] * 4, mode="fly", is_first=False)
    viewmats = invert_rigid(np.stack([np.eye(4), frames[-1]]))
    assert words_of(int(actions_of(viewmats)[1])) == ("forward", "right")


def test_words_and_classes_are_the_same_81() -> None:
    named = [action_named(move, turn) for move in MOVES for turn in TURNS]
    assert named == list(range(81))
    assert [action_named(*words_of(action)) for action in range(81)] == named


def test_a_class_or_a_word_that_there_is_not_is_refused() -> None:
    for wrong in (-1, 81):
        with pytest.raises(ValueError, match=f"action must be 0 to 80, got {wrong}"):
            words_of(wrong)
    with pytest.raises(ValueError, match="'up', 'none'"):
        action_named("up", "none")
