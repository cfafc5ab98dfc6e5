"""Both WorldPlay models, reduced, from files in their released layout to frames."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from keepworld.motion import NEUTRAL, Control
from keepworld_runtime.families import load_family
from keepworld_runtime.families.family import ChunkRequest, Clip, Event, FamilyOptions, Place, WorldSpec
from torch.utils.flop_counter import FlopCounterMode

from tests import checkpoints

SIZE = (64, 64)
WALKING = Control(move=(0, 0, 1), turn=(0.3, 0, 0))
PICTURE = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)


@dataclass(frozen=True)
class Checkpoint:
    name: str
    folder: Any
    models: dict

    def model(self, **options):
        key = tuple(sorted(options.items()))
        if key not in self.models:
            family = load_family(self.name, FamilyOptions(checkpoint=self.folder, **options))
            self.models[key] = (family.load(Place(num_threads=1)), family.capabilities)
        return self.models[key]

    def open(self, options: dict | None = None, **spec):
        model, capabilities = self.model(**(options or {}))
        width, height = SIZE
        wanted = {"prompt": 'a sign says "open"', "seed": 5, "width": width, "height": height, "mode": "walk", **spec}
        return Walk(model.open(WorldSpec(**wanted)), capabilities, has_past="clip" in spec)


class Walk:
    """A world and how far it has been walked."""

    def __init__(self, world, capabilities, *, has_past=False):
        self.world, self.capabilities, self.chunks, self.has_past = world, capabilities, 0, has_past

    def next(self, control=WALKING, events=(), continuation=None):
        count = self.capabilities.frames_in(1 if self.has_past else self.chunks)
        request = ChunkRequest(
            chunk=self.chunks,
            controls=(control,) * count,
            poses=(None,) * count,
            events=tuple(events),
            continuation=continuation,
        )
        frames = list(self.world.next_chunk(request))
        assert len(frames) == count
        self.chunks += 1
        return np.stack([frame.image for frame in frames])


WRITE: dict[str, Callable] = {
    "worldplay-8b": checkpoints.write_worldplay_8b,
    "worldplay-5b": checkpoints.write_worldplay_5b,
}


@pytest.fixture(scope="module", params=WRITE)
def checkpoint(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    variants = ("ar_distilled_action_model", "ar_model", "bidirectional_model") if "8b" in request.param else ()
    WRITE[request.param](folder, *variants)
    return Checkpoint(request.param, folder, {})


def test_the_same_spec_gives_the_same_frames_whatever_was_walked_before(checkpoint):
    first = checkpoint.open()
    frames = [first.next() for _ in range(3)]
    other = checkpoint.open(seed=6)
    assert not np.array_equal(other.next(), frames[0])
    again = checkpoint.open()
    turns = []
    for _ in range(3):  # taking turns with another world
        turns.append(again.next())
        other.next()
    assert all(np.array_equal(one, two) for one, two in zip(frames, turns, strict=True))


def test_what_hands_do_changes_what_is_seen(checkpoint):
    walked, stood = checkpoint.open(), checkpoint.open()
    assert np.array_equal(walked.next(NEUTRAL), stood.next(NEUTRAL))
    assert not np.array_equal(walked.next(), stood.next(NEUTRAL))


def test_a_picture_and_its_absence_make_different_worlds(checkpoint):
    with_picture, without = checkpoint.open(image=PICTURE), checkpoint.open()
    assert not np.array_equal(with_picture.next(), without.next())


def test_an_event_changes_what_comes_and_only_from_its_chunk_on(checkpoint):
    told, untold = checkpoint.open(), checkpoint.open()
    event = Event(text="it snows", ramp_s=1.0)
    told.world.prepare(event)
    assert np.array_equal(told.next(), untold.next())
    assert not np.array_equal(told.next(events=[event]), untold.next())


def test_a_restored_world_goes_on_bit_for_bit_with_an_event_half_way_in(checkpoint):
    walk = checkpoint.open(image=PICTURE)
    for number in range(7):
        walk.next(events=[Event(text="it snows", ramp_s=3.0)] if number == 5 else ())
    copy = checkpoint.open(image=PICTURE)
    copy.world.restore(walk.world.state())
    copy.chunks = walk.chunks
    for _ in range(2):
        assert np.array_equal(walk.next(), copy.next())


def test_a_world_goes_on_from_a_clip(checkpoint):
    clip = Clip(frames=np.stack([PICTURE] * 31), c2ws=None)
    walk = checkpoint.open(clip=clip)
    frames = walk.next()
    copy = checkpoint.open(clip=clip)
    copy.world.restore(walk.world.state())
    copy.chunks = 1
    assert np.array_equal(walk.next(), copy.next())
    assert frames.shape == (16, *SIZE[::-1], 3)


def test_a_clip_in_the_middle_of_a_walk_changes_what_comes_and_is_part_of_what_is_restored(checkpoint):
    frames = np.random.default_rng(2).integers(0, 255, (30, 40, 60, 3), np.uint8)
    walk = checkpoint.open(image=PICTURE)
    for _ in range(2):
        walk.next()
    before, aside, again = walk.world.state(), *(checkpoint.open(image=PICTURE) for _ in range(2))
    for copy in (aside, again):
        copy.world.restore(before)
        copy.chunks = 2
    clip = Clip(frames=frames, c2ws=None)
    seen = walk.next(continuation=clip)
    assert not np.array_equal(seen, aside.next())
    assert np.array_equal(seen, again.next(continuation=clip))
    restored = checkpoint.open(image=PICTURE)
    restored.world.restore(walk.world.state())
    restored.chunks = 3
    for _ in range(2):
        assert np.array_equal(walk.next(), restored.next())


@pytest.mark.parametrize("memory", ["hierarchical", "compressed"])
def test_every_policy_of_memory_walks_and_is_restored(checkpoint, memory):
    walk = checkpoint.open({"memory": memory})
    for _ in range(8):
        walk.next()
    copy = checkpoint.open({"memory": memory})
    copy.world.restore(walk.world.state())
    copy.chunks = walk.chunks
    assert np.array_equal(walk.next(), copy.next())


@pytest.mark.parametrize(("variant", "chunk_frames"), [("ar", 16), ("bidirectional", 64)])
def test_every_way_of_walking_the_8b_goes_on_from_its_state(tmp_path_factory, checkpoint, variant, chunk_frames):
    if checkpoint.name != "worldplay-8b":
        pytest.skip("the 5B was released in one variant")
    config = importlib.import_module("keepworld_runtime.families.worldplay_8b.config")
    assert config.VARIANTS[variant].rollout.guidance == 6.0
    walk = checkpoint.open({"variant": variant}, image=PICTURE)
    assert walk.capabilities.chunk_frames == chunk_frames
    walk.next()
    copy = checkpoint.open({"variant": variant}, image=PICTURE)
    copy.world.restore(walk.world.state())
    copy.chunks = 1
    assert np.array_equal(walk.next(), copy.next())


def work_of(walk):
    """Floating-point operations of a chunk, bytes of its state and of what it remembers, and the room that it works in."""
    with FlopCounterMode(display=False) as counter:
        walk.next()
    state = walk.world.state()
    return counter.get_total_flops(), len(state.parts), sum(map(len, state.parts.values()))


def test_a_chunk_costs_no_more_when_the_walk_has_become_longer_than_what_is_kept(checkpoint):
    check_flat(checkpoint.open(), until=66)


@pytest.mark.slow
def test_chunk_500_costs_what_chunk_20_does(checkpoint):
    check_flat(checkpoint.open(), until=500)


def check_flat(walk, *, until):
    """Work is equal from chunk 20 on; what is kept grows until it is full, at chunk 60, and then no more."""
    full = None
    early = None
    while walk.chunks < until:
        if walk.chunks == 20:
            early = work_of(walk)
        elif walk.chunks == 62:
            full = work_of(walk)
        else:
            walk.next()
    late = work_of(walk)
    assert early is not None and full is not None
    assert late[0] == early[0]
    assert late[1:] == full[1:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "huge"}, "unknown variant 'huge'"),
        ({"memory": "none"}, "memory must be one of reconstituted, hierarchical, compressed, got 'none'"),
        ({"kernels": ("magic",)}, "kernels must be of flash-attn"),
    ],
)
def test_an_option_that_is_none_is_refused_before_anything_is_loaded(checkpoint, options, message):
    with pytest.raises(ValueError, match=message):
        load_family(checkpoint.name, FamilyOptions(checkpoint=checkpoint.folder, **options))


def test_blocks_in_eight_bits_cannot_be_brought_in_one_by_one(checkpoint):
    family = load_family(
        checkpoint.name, FamilyOptions(checkpoint=checkpoint.folder, kernels=("fp8",), offload="blocks")
    )
    with pytest.raises(ValueError, match="cannot be used while offload is 'blocks'"):
        family.load(Place(num_threads=1))


def test_without_its_weights_a_family_says_how_to_get_them(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="give their folder with --checkpoint"):
        load_family(checkpoint.name)
    with pytest.raises(ValueError, match=f"keepworld models pull {checkpoint.name}"):
        load_family(checkpoint.name, FamilyOptions(checkpoint=tmp_path))
