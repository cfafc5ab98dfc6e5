"""Snapshots are bounded in number and in bytes; the oldest go."""

from dataclasses import replace

import numpy as np
import pytest
from keepworld_runtime.engine.errors import SnapshotNotFoundError, SnapshotTooLargeError
from keepworld_runtime.engine.snapshot import Snapshot, SnapshotStore
from keepworld_runtime.families import Chosen
from keepworld_runtime.families.family import Clip, WorldSpec, WorldState

SPEC = WorldSpec(prompt="", seed=0, width=64, height=48, mode="fly")


def snapshot(num_bytes: int = 0, spec: WorldSpec = SPEC) -> Snapshot:
    family = Chosen(module="tests.families").make()
    return Snapshot(family=family, spec=spec, state=WorldState(head=b"", parts={"a": bytes(num_bytes)}), chunks=1)


def test_the_newest_are_kept():
    store, taken = SnapshotStore(2), [snapshot() for _ in range(3)]
    for each in taken:
        store.add(each)
    with pytest.raises(SnapshotNotFoundError, match="newest 2"):
        store.get(taken[0].id)
    assert [store.get(each.id) for each in taken[1:]] == taken[1:]


def test_what_they_hold_together_is_bounded():
    store, taken = SnapshotStore(10, max_bytes=100), [snapshot(40), snapshot(40), snapshot(30)]
    for each in taken:
        store.add(each)
    with pytest.raises(SnapshotNotFoundError):
        store.get(taken[0].id)
    assert store.get(taken[1].id) and store.get(taken[2].id)


def test_one_that_is_too_large_is_refused_and_pushes_nothing_out():
    store, small = SnapshotStore(10, max_bytes=100), snapshot(40)
    store.add(small)
    with pytest.raises(SnapshotTooLargeError, match="101"):
        store.add(snapshot(101))
    assert store.get(small.id) is small


def test_the_frames_it_began_with_count():
    clip = Clip(frames=np.zeros((2, 4, 5, 3), np.uint8), c2ws=None)
    image = np.zeros((4, 5, 3), np.uint8)
    assert snapshot(7, replace(SPEC, clip=clip)).num_bytes == 7 + 120
    assert snapshot(7, replace(SPEC, image=image)).num_bytes == 7 + 60
