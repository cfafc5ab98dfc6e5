from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from keepworld_runtime.memory import compressed, hierarchical, overlap, policies
from keepworld_runtime.memory.context import ContextMemory, MemoryState
from keepworld_runtime.memory.hierarchical import POOL_CLIPS, Hierarchical, surprise
from keepworld_runtime.memory.policies import POLICIES, Plan
from keepworld_runtime.memory.pose_distance import pose_distances
from keepworld_runtime.memory.retrieval import Retrieval
from numpy.typing import NDArray

from tests.runtime.memory.walks import latents_of, random_viewmats, strewn, turned, views_of, wander

PLAN = Plan(retrieval=Retrieval(), points=strewn(500), capacity=48)
NAMES = tuple(POLICIES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What is computed here is too small to be shared out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def walk(memory: ContextMemory, viewmats: NDArray[np.float64], chunk: int = 4) -> None:
    """Go on through a walk [T, 4, 4]: what is remembered depends on the place in it alone."""
    for at in range(0, len(viewmats), chunk):
        own = viewmats[at : at + chunk]
        memory.remember(latents_of(memory.num_latents, len(own)), views_of(own))


@pytest.mark.parametrize("name", NAMES)
def test_a_context_is_of_the_past_in_order_and_within_its_bound(name: str, rng: np.random.Generator) -> None:
    for chunk in (4, 16):
        memory = policies.create(name, replace(PLAN, chunk_size=chunk))
        path = wander(rng, 192)
        for at in range(0, 192, chunk):
            context = memory.select(views_of(path[at : at + chunk]))
            assert (np.diff(context.indices) > 0).all()
            assert not len(context) or context.indices[-1] == at - 1
            assert context.latents.shape[2] == len(context.views) == len(context.pooling) == len(context)
            np.testing.assert_array_equal(context.views.viewmats, path[context.indices])
            assert context.num_tokens(4, 8) <= memory.most_tokens(4, 8)
            walk(memory, path[at : at + chunk], chunk)


@pytest.mark.parametrize(("name", "full"), [("reconstituted", 12), ("compressed", 20), ("hierarchical", 24)])
def test_from_chunk_20_to_chunk_500_neither_size_nor_work_grows(
    name: str, full: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, counts = 0, overlap.shared_counts

    def counted(
        queries: NDArray[np.float64], pasts: NDArray[np.float64], points: NDArray[np.float32], field: overlap.Field
    ) -> tuple[NDArray[np.int64], int]:
        nonlocal pairs
        pairs += len(queries) * len(pasts)
        return counts(queries, pasts, points, field)

    monkeypatch.setattr(overlap, "shared_counts", counted)
    memory = policies.create(name, replace(PLAN, points=strewn(50)))
    path = np.concatenate([random_viewmats(rng, 100), wander(rng, 1900)])  # what is new fills every memory at once
    costs = []
    for at in range(0, 2000, 4):
        before = pairs
        memory.select(views_of(path[at : at + 4]))
        selecting = pairs - before
        walk(memory, path[at : at + 4])
        costs.append((sum(map(len, memory.state().parts.values())), selecting))
    assert set(costs[full:]) == {costs[full]}
    assert (costs[-1][1] > 0) == (name != "compressed")  # which shows everything, and compares nothing


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_memory_goes_on_as_the_one_that_was_not_interrupted(name: str, rng: np.random.Generator) -> None:
    path = wander(rng, 160)
    going, stored = policies.create(name, PLAN), policies.create(name, PLAN)
    walk(going, path[:96])
    stored.restore(going.state())
    for at in range(96, 160, 4):
        for_next = views_of(path[at : at + 4])
        one, other = going.select(for_next), stored.select(for_next)
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.pooling, other.pooling)
        np.testing.assert_array_equal(one.views.viewmats, other.views.viewmats)
        assert torch.equal(one.latents, other.latents)
        assert torch.equal(going.last(9), stored.last(9))
        for memory in (going, stored):
            walk(memory, path[at : at + 4])
    assert going.state().head == stored.state().head
    assert going.state().parts == stored.state().parts


def _without_head(state: MemoryState) -> MemoryState:
    return replace(state, head=b"")


def _with(key: str, value: object) -> Callable[[MemoryState], MemoryState]:
    return lambda state: replace(state, head=json.dumps({**json.loads(state.head), key: value}).encode())


def _with_part(change: Callable[[bytes], bytes]) -> Callable[[MemoryState], MemoryState]:
    return lambda state: replace(state, parts={**state.parts, "latents/000004": change(state.parts["latents/000004"])})


HOSTILE = {
    "nothing": _without_head,
    "no JSON": lambda state: replace(state, head=b"\xff{"),
    "a list": lambda state: replace(state, head=b"[1]"),
    "deep": lambda state: replace(state, head=b"[" * 100_000),
    "another policy": _with("policy", "other"),
    "too many": _with("num_latents", 28),
    "negative": _with("clips", [-4, 0]),
    "a fraction": _with("num_latents", 24.0),
    "true": _with("clips", [True]),
    "clips no list": _with("clips", 4),
    "twice the same": _with("clips", [0, 4, 4, 8, 12, 16, 20]),
    "out of order": _with("clips", [4, 0, 8, 12, 16, 20]),
    "without the first": _with("clips", [4, 8, 12, 16, 20]),
    "with a gap in the newest": _with("clips", [0, 4, 8, 12, 20]),
    "an absent part": _with("clips", [0, 4, 8, 12, 16, 20, 24]),
    "something more": _with("more", 1),
    "an empty part": _with_part(lambda part: b""),
    "a cut part": _with_part(lambda part: part[:-1]),
    "a boast": _with_part(lambda part: (2**62).to_bytes(8, "little") + part[8:]),
    "a wrong kind": _with_part(lambda part: part.replace(b"I64", b"F64", 1)),
    "not a number": _with_part(lambda part: part[:-8] + b"\xff" * 8),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", HOSTILE)
def test_a_state_that_is_none_is_refused_and_changes_nothing(name: str, how: str, rng: np.random.Generator) -> None:
    memory = policies.create(name, PLAN)
    walk(memory, wander(rng, 24))
    state, newest = memory.state(), memory.last(24)
    with pytest.raises(ValueError):
        memory.restore(HOSTILE[how](state))
    assert memory.num_latents == 24
    assert torch.equal(memory.last(24), newest)
    assert memory.state().head == state.head


def test_the_policy_of_released_models_is_the_default_and_the_others_say_that_they_are_research() -> None:
    assert policies.check(None) == "reconstituted"
    assert [name for name in NAMES if not POLICIES[name].is_research] == ["reconstituted"]
    with pytest.raises(ValueError, match="memory must be one of reconstituted, hierarchical, compressed, got 'x'"):
        policies.check("x")


# RELIC


def test_80_latents_compressed_by_the_published_schedule_take_a_quarter_of_their_tokens(
    rng: np.random.Generator,
) -> None:
    memory = policies.create("compressed", PLAN)
    walk(memory, wander(rng, 80))
    context = memory.select(views_of(wander(rng, 4)))
    assert len(context) == 80
    # 8 whole; 72 older ones are four rounds of 1 + 5/4 + 12/16 = 3
    assert context.num_tokens(4, 8) == (8 + 4 * 3) * 32
    assert set(context.pooling[-8:]) == {1}
    assert context.pooling[:18].tolist() == list(compressed.SCHEDULE)
    assert context.num_tokens(4, 8) * 4 == 80 * 32


@pytest.mark.parametrize(
    ("grid", "sides"), [((32, 48), {1, 2, 4}), ((30, 52), {1, 2}), ((22, 40), {1, 2}), ((9, 15), {1, 3})]
)
def test_pooling_divides_the_grid(grid: tuple[int, int], sides: set[int]) -> None:
    assert {compressed.pooling_of(index, *grid) for index in range(36)} == sides


# WorldScape


def scape(points: int = 300) -> Hierarchical:
    memory = policies.create("hierarchical", replace(PLAN, points=strewn(points)))
    assert isinstance(memory, Hierarchical)
    return memory


def test_1000_random_poses_never_overfill_the_pool_or_push_out_the_anchors(rng: np.random.Generator) -> None:
    memory, poses = scape(), random_viewmats(rng, 1000)
    for pose in poses:
        walk(memory, np.tile(pose, (4, 1, 1)))
        assert len(memory.pool) <= POOL_CLIPS
        assert [clip.start for clip in memory.anchors] == [0]
        assert torch.equal(memory.anchors[0].latents, latents_of(0, 4))
    assert len(memory.pool) == POOL_CLIPS
    pool = np.stack([clip.views.viewmats[0] for clip in memory.pool])
    assert sum(_nearest(pool) >= _nearest(poses[rng.choice(1000, POOL_CLIPS, replace=False)]) for _ in range(100)) >= 95


def _nearest(viewmats: NDArray[np.float64]) -> float:
    """How near the closest two of views [N, 4, 4] are."""
    distances = pose_distances(viewmats, viewmats, 4.0)
    return float(distances[~np.eye(len(viewmats), dtype=bool)].min())


@pytest.mark.parametrize(
    ("seed", "degrees", "is_taken"), [(1, 0, False), (1, 90, True), (2, 0, True)], ids=["twice", "turned", "changed"]
)
def test_a_clip_is_taken_up_if_it_shows_another_part_of_the_world_or_something_new(
    seed: int, degrees: float, is_taken: bool
) -> None:
    memory, side = scape(), (16, 16)
    memory.remember(latents_of(1, 4, side=side), views_of(np.tile(turned(0), (4, 1, 1))))
    memory.remember(latents_of(seed, 4, side=side), views_of(np.tile(turned(degrees), (4, 1, 1))))
    for far in range(3):  # the window goes on, and both leave the newest
        elsewhere = np.tile(turned(0, (50 + 20 * far, 0, 0)), (4, 1, 1))
        memory.remember(latents_of(99 + far, 4, side=side), views_of(elsewhere))
    assert [clip.start for clip in memory.pool] == ([4] if is_taken else [])


def test_surprise_is_what_another_does_not_tell() -> None:
    latents, noise = latents_of(0, 4, 4, (16, 16)), latents_of(1, 4, 4, (16, 16))
    assert surprise(latents, [latents]) < 1e-5
    assert surprise(latents, [3 * latents.roll(1, dims=1) + 2]) < 1e-5  # channels mixed anyhow are told too
    assert surprise(latents, [noise]) > 0.95
    assert surprise(latents + noise, [latents]) == pytest.approx(0.5, abs=0.05)  # half of the variance is new
    assert surprise(torch.ones_like(latents), [noise]) == 0


def test_a_view_serves_best_that_is_the_same() -> None:
    views = np.stack([turned(0), turned(10), turned(0, (1, 0, 0)), turned(90), turned(180)])
    found = hierarchical.view_scores(views[:1], views, strewn(5000)(0), PLAN.retrieval.field, 4.0)[0]
    assert found[0] == pytest.approx(1)
    assert found[3:] == pytest.approx(0, abs=1e-12)
    assert ((found[1:3] > 0.5) & (found[1:3] < 1)).all()
