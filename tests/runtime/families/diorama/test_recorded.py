"""A diorama goes on where a recorded walk through it ended, to the byte; from nothing else."""

import numpy as np
import pytest
from keepworld.camera import quat_from_rotation, rotation_from_quat
from keepworld.motion import NEUTRAL, Control
from keepworld_runtime.families import load_family
from keepworld_runtime.families.family import ChunkRequest, Clip, Event, Place, Recording, WorldSpec

FAMILY = load_family("diorama")
SPEC = WorldSpec(prompt="a village in the hills, morning", seed=5, width=64, height=40, mode="walk")
WANDER = Control(move=(0.3, 0, 1), turn=(0.37, -0.1, 0))
EVENTS = {1: Event(text="a balloon rises", ramp_s=0.7), 2: Event(text="night falls", ramp_s=3.0, duration_s=2.0)}


@pytest.fixture(scope="module")
def model():
    return FAMILY.load(Place(num_threads=1))


def drawn(world, chunk, control=WANDER, *, poses=None, **rest):
    count = FAMILY.capabilities.frames_in(chunk)
    request = ChunkRequest(chunk=chunk, controls=(control,) * count, poses=poses or (None,) * count, **rest)
    return list(world.next_chunk(request))


def by_wire(c2w):
    """A camera as it comes back from a client: its rotation was a quaternion on the way."""
    told = c2w.copy()
    told[:3, :3] = rotation_from_quat(quat_from_rotation(c2w[:3, :3]))
    return told


def recorded(frames, mode="walk", control=WANDER, events=EVENTS):
    return Recording(
        mode=mode,
        controls=(control,) * len(frames),
        c2ws=np.stack([by_wire(frame.c2w) for frame in frames]),
        events=tuple(events.items()),
    )


def same(ones, others):
    names = ("c2w", "image", "depth", "labels", "confidence")
    pairs = zip(ones, others, strict=True)
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for one, other in pairs for name in names)


@pytest.mark.parametrize("mode", ["walk", "fly"])
def test_it_goes_on_where_the_walk_ended_as_the_walk_itself_would_have(model, mode):
    spec = WorldSpec(prompt=SPEC.prompt, seed=SPEC.seed, width=64, height=40, mode=mode)
    walk = model.open(spec)
    frames = [frame for n in range(3) for frame in drawn(walk, n, events=(EVENTS[n],) if n in EVENTS else ())]
    ahead = [drawn(walk, 3), drawn(walk, 4, NEUTRAL, events=(Event(text="fireworks", ramp_s=0.5),))]
    elsewhere = model.open(spec)
    for n in range(2):
        drawn(elsewhere, n, Control(move=(0, 0, -1)), events=(Event(text="it snows", ramp_s=0.1),))
    assert same(drawn(elsewhere, 2, continuation=recorded(frames, mode)), ahead[0])
    restored = model.open(spec)
    restored.restore(elsewhere.state())
    for world in (elsewhere, restored):
        assert same(drawn(world, 3, NEUTRAL, events=(Event(text="fireworks", ramp_s=0.5),)), ahead[1])
    assert np.array_equal(elsewhere.surface().vertices, walk.surface().vertices)


def test_a_path_that_was_followed_is_gone_on_from_too(model):
    walk = model.open(SPEC)
    poses = []
    for n in range(13):
        pose = np.eye(4)
        pose[:3, 3] = (0.1 * n, -2.0, 0.05 * n)
        poses.append(pose)
    frames = drawn(walk, 0, NEUTRAL, poses=tuple(poses))
    ahead = drawn(walk, 1)
    world = model.open(SPEC)
    drawn(world, 0)
    assert same(drawn(world, 1, continuation=recorded(frames, control=NEUTRAL, events={})), ahead)


def test_a_world_that_has_shown_nothing_yet_goes_on_from_a_recording(model):
    walk = model.open(SPEC)
    frames = drawn(walk, 0)
    after, begun = drawn(walk, 1), drawn(model.open(SPEC), 0, continuation=recorded(frames, events={}))
    assert same(begun, after[:13])


def test_a_chunk_that_is_not_taken_to_its_end_leaves_the_world_where_it_was(model):
    walk, world = model.open(SPEC), model.open(SPEC)
    frames = drawn(walk, 0)
    drawn(world, 0, NEUTRAL)
    before = world.state()
    half = world.next_chunk(
        ChunkRequest(chunk=1, controls=(WANDER,) * 16, poses=(None,) * 16, continuation=recorded(frames, events={}))
    )
    next(half)
    half.close()
    assert world.state().head == before.head


def test_frames_are_refused(model):
    world = model.open(SPEC)
    drawn(world, 0)
    with pytest.raises(ValueError, match="not from frames"):
        drawn(world, 1, continuation=Clip(frames=np.zeros((13, 8, 8, 3), np.uint8), c2ws=None))
