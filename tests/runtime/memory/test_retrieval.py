from __future__ import annotations

import numpy as np
import pytest
from keepworld_runtime.memory.overlap import Field
from keepworld_runtime.memory.retrieval import History, Retrieval, select
from numpy.typing import NDArray
from safetensors import safe_open

from tests import goldens
from tests.runtime.memory.walks import turned, views_of

EIGHT = Retrieval()
FIVE = Retrieval(pinned=0, field=Field(dtype=np.float32))


def history(viewmats: NDArray[np.float64]) -> History:
    """All of a walk [T, 4, 4], T a multiple of 4, in clips of four."""
    starts = np.arange(0, len(viewmats), 4)
    probes = np.stack([viewmats[starts], viewmats[starts + 2]], axis=1)
    return History(starts=starts, ends=starts + 4, probes=probes)


def choose(
    rule: Retrieval, viewmats: NDArray[np.float64], at: int, num: int, points: NDArray[np.float32]
) -> NDArray[np.int64]:
    """What latents `at` to `at + num` of a walk [T, 4, 4] see again."""
    return select(rule, history(viewmats[:at]), views_of(viewmats[at : at + num]), lambda _: points)


def test_all_63_choices_of_the_published_8b_code_are_ours() -> None:
    folder = goldens.folder("worldplay8b")
    recorded, _ = goldens.load(folder / "memory_selection.safetensors")
    points = goldens.load(folder / "points.safetensors")[0]["points50k_seed0"].numpy()
    cases = [name for name in recorded if ".sel" in name]
    for name in cases:
        walk, at = name.split(".sel")
        found = choose(EIGHT, recorded[f"{walk}.w2c"].numpy(), int(at), 4, points)
        np.testing.assert_array_equal(found, recorded[name].numpy(), err_msg=name)
    assert len(cases) == 63


def test_all_choices_of_the_published_5b_code_on_a_loop_are_ours() -> None:
    recorded, _ = goldens.load(goldens.folder("worldplay5b") / "memory_selection.safetensors")
    points, viewmats = recorded["points_local"].numpy(), recorded["loop.viewmats"].numpy().astype(np.float64)
    cases = [name for name in recorded if name.startswith("loop.selected.")]
    for name in cases:
        found = choose(FIVE, viewmats, int(name.rsplit(".", 1)[1]), 4, points)
        np.testing.assert_array_equal(found, recorded[name].numpy(), err_msg=name)
    assert len(cases) == 19


def test_all_choices_in_the_recorded_5b_rollout_are_ours() -> None:
    folder = goldens.folder("worldplay5b")
    recorded, _ = goldens.load(folder / "rollout_t2v.safetensors")
    points = goldens.load(folder / "memory_selection.safetensors")[0]["points_local"].numpy()
    viewmats = recorded["viewmats"].numpy().astype(np.float64)
    for chunk in range(1, 8):
        found = choose(FIVE, viewmats, 4 * chunk, 4, points)
        np.testing.assert_array_equal(found, recorded[f"selected.chunk{chunk}"].numpy(), err_msg=f"chunk {chunk}")


def test_what_a_recorded_8b_rollout_saw_again_is_what_we_choose() -> None:
    folder = goldens.folder("worldplay8b")
    points = goldens.load(folder / "points.safetensors")[0]
    rollouts = sorted(folder.glob("rollout_*.safetensors"))
    assert rollouts
    for path in rollouts:
        with safe_open(path, framework="np") as file:
            about = dict(file.metadata())
            viewmats, size = file.get_tensor("in.viewmats")[0], int(about["chunk"])
            seen = {name: file.get_tensor(name) for name in file.keys() if name.startswith("memory.chunk")}  # noqa: SIM118
        for name, wanted in seen.items():
            at = int(name.removeprefix("memory.chunk")) * size
            found = choose(EIGHT, viewmats, at, size, points[about["points"]].numpy())
            np.testing.assert_array_equal(found, wanted, err_msg=f"{path.name} {name}")


def test_a_chunk_of_four_clips_sees_what_each_of_them_would_choose_without_the_chunk_itself() -> None:
    folder = goldens.folder("worldplay8b")
    recorded, _ = goldens.load(folder / "memory_selection.safetensors")
    points = goldens.load(folder / "points.safetensors")[0]["points50k_seed0"].numpy()
    viewmats = recorded["spin_back.w2c"].numpy()
    alone = [choose(EIGHT, viewmats, at, 4, points) for at in (64, 68, 72, 76)]
    wanted = sorted({int(index) for found in alone for index in found if index < 64})
    found = choose(EIGHT, viewmats, 64, 16, points)
    assert found.tolist() == wanted
    assert len(wanted) <= EIGHT.most(16) == 32
    assert set(recorded["spin_back.sel064"].tolist()) <= set(wanted)


def test_nothing_is_seen_again_before_anything_was() -> None:
    empty = History(starts=np.empty(0, np.int64), ends=np.empty(0, np.int64), probes=np.empty((0, 2, 4, 4)))
    assert (
        len(select(EIGHT, empty, views_of(np.tile(np.eye(4), (4, 1, 1))), lambda _: np.zeros((1, 3), np.float32))) == 0
    )


def test_of_equal_clips_the_oldest_is_seen_again() -> None:
    still = np.tile(np.eye(4), (44, 1, 1))
    points = np.array([[0, 0, 1]], np.float32)
    assert choose(EIGHT, still, 40, 4, points).tolist() == [*range(8), *range(28, 40)]
    assert choose(FIVE, still, 40, 4, points).tolist() == [*range(4), *range(28, 40)]


def test_the_clip_that_looked_the_same_way_is_seen_again() -> None:
    viewmats = np.stack([turned(9.0 * step) for step in range(44)])  # once round in 40 latents
    points = np.random.default_rng(0).uniform(-4, 4, (5000, 3)).astype(np.float32)
    found = set(choose(FIVE, viewmats, 40, 4, points).tolist()) - set(range(28, 40))
    assert found == {0, 1, 2, 3}


@pytest.mark.parametrize("wrong", [{"window": 0}, {"pinned": -1}, {"clip": 0}])
def test_a_rule_without_sense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="window and clip must be at least 1"):
        Retrieval(**wrong)
