"""Whole worlds: what a session sees, chunk by chunk."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from keepworld.camera import Camera
from keepworld.motion import NEUTRAL, Control
from keepworld_runtime.families import load_family
from keepworld_runtime.families.family import ChunkRequest, Event, FamilyOptions, Label, Place, WorldSpec, WorldState

FAMILY = load_family("diorama")
CAPABILITIES = FAMILY.capabilities
SPEC = WorldSpec(prompt="a meadow with a cottage and a pond, morning", seed=11, width=128, height=72, mode="walk")
FORWARD, RIGHT = Control(move=(0, 0, 1)), Control(turn=(1, 0, 0))


@pytest.fixture(scope="module")
def model():
    return FAMILY.load(Place(num_threads=2))


@pytest.fixture(scope="module")
def plain(model):
    """The last frames of the first three chunks of standing there, and nothing happens."""
    world = model.open(SPEC)
    return [frames(world, chunk)[-1] for chunk in range(3)]


def request(chunk, control=NEUTRAL, *, events=(), poses=None, controls=None, is_live=False):
    count = CAPABILITIES.frames_in(chunk)
    return ChunkRequest(
        chunk=chunk,
        controls=controls or (control,) * count,
        poses=poses or (None,) * count,
        events=tuple(Event(text=text, ramp_s=ramp_s) for text, ramp_s in events),
        is_live=is_live,
    )


def frames(world, *args, **kwargs):
    return list(world.next_chunk(request(*args, **kwargs)))


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(getattr(x, name), getattr(y, name))
        for x, y in zip(a, b, strict=True)
        for name in ("c2w", "K", "image", "depth", "labels", "confidence")
    )


def camera(frame):
    height, width = frame.depth.shape
    return Camera(c2w=frame.c2w, K=frame.K, width=width, height=height)


def test_importing_the_family_loads_nothing_heavy():
    code = "import sys, keepworld_runtime.families.diorama; print([m for m in ('numba', 'embreex', 'torch') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize(
    "options",
    [{"checkpoint": Path("weights")}, {"device": "cuda"}, {"offload": "blocks"}, {"kernels": ("flash-attn",)}],
)
def test_it_takes_no_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        load_family("diorama", FamilyOptions(**options))


def test_it_draws_in_one_process():
    with pytest.raises(ValueError, match="num_ranks = 2"):
        FAMILY.load(Place(rank=1, num_ranks=2, rendezvous="file:///tmp/x", num_threads=1))


def test_chunks_have_their_lengths_shapes_and_times(model):
    world = model.open(SPEC)
    for chunk, count in ((0, 13), (1, 16)):
        drawn = frames(world, chunk)
        assert [frame.index for frame in drawn] == list(range(count))
        for frame in drawn:
            assert frame.image.shape == (72, 128, 3) and frame.image.dtype == np.uint8
            assert frame.depth.shape == (72, 128) and frame.depth.dtype == np.float32
            assert np.array_equal(frame.labels & Label.SKY > 0, frame.depth == 0)
            assert frame.K[0, 0] == pytest.approx(64 / np.tan(np.radians(37.5)))


def test_worlds_of_one_spec_are_equal_to_the_byte_however_they_are_drawn(model):
    events = [("rain and a deer, light a campfire", 0.3)]

    def walk(model, *, is_live):
        world = model.open(SPEC)
        return [
            *frames(world, 0, FORWARD, is_live=is_live),
            *frames(world, 1, RIGHT, events=events, is_live=is_live),
        ]

    alone = walk(FAMILY.load(Place(num_threads=1)), is_live=False)
    assert same(walk(model, is_live=False), alone)
    assert same(walk(model, is_live=True), alone)


def test_going_on_from_a_saved_state_is_as_if_nothing_had_been(model):
    world = model.open(SPEC)
    frames(world, 0, FORWARD, events=[("a balloon and a fox", 1.0)])
    frames(world, 1, RIGHT, events=[("snow, fireworks", 0.5)])
    state = world.state()
    uninterrupted = frames(world, 2, FORWARD, events=[("the snow stops and a boat", 0.5)])
    other = model.open(SPEC)
    other.restore(state)
    assert other.state().head == state.head
    assert same(frames(other, 2, FORWARD, events=[("the snow stops and a boat", 0.5)]), uninterrupted)
    world.restore(state)  # and back in time in the same world
    assert same(frames(world, 2, FORWARD, events=[("the snow stops and a boat", 0.5)]), uninterrupted)


def test_a_chunk_left_half_drawn_never_happened(model):
    world = model.open(SPEC)
    before = world.state().head
    half = world.next_chunk(request(0, FORWARD, events=[("a balloon", 1.0)]))
    next(half)
    assert world.state().head == before
    assert same(
        frames(world, 0, RIGHT, events=[("a campfire", 0.0)]),
        frames(model.open(SPEC), 0, RIGHT, events=[("a campfire", 0.0)]),
    )


def test_the_state_is_small(model):
    world = model.open(SPEC)
    frames(world, 0, events=[("a balloon", 1.0)])
    assert len(world.state().head) < 1500 and not world.state().parts


@pytest.mark.parametrize(
    "state",
    [b"", b"\xff", b"[]", b"null", b"{}", b'{"chunks":1,"c2w":null,"events":[]}', b'{"chunks":-1,"c2w":null,"events":[]}',
     b'{"chunks":1,"c2w":[1,2,3],"events":[]}', b'{"chunks":0,"c2w":null,"events":[{"text":"rain"}]}'],
)  # fmt: skip
def test_bytes_that_are_no_state_are_refused_and_change_nothing(model, state):
    world = model.open(SPEC)
    before = world.state().head
    with pytest.raises(ValueError, match="not the state"):
        world.restore(WorldState(head=state))
    assert world.state().head == before


def test_standing_still_shows_the_same_picture(model):
    first, *rest = frames(model.open(WorldSpec(prompt="desert, no wind", seed=2, width=128, height=72, mode="walk")), 0)
    assert all(np.array_equal(frame.depth, first.depth) and np.array_equal(frame.c2w, first.c2w) for frame in rest)


def test_coming_back_shows_the_same_picture_except_for_what_moves(model):
    world = model.open(SPEC)
    # A balloon rises; then 16 frames ahead and 16 back, at one speed.
    frames(world, 0)
    start = frames(world, 1, events=[("a balloon and a campfire", 0.2)])[-1]
    frames(world, 2, FORWARD)
    end = frames(world, 3, Control(move=(0, 0, -1)))[-1]
    assert np.abs(start.c2w - end.c2w).max() < 1e-9
    still = ((start.labels | end.labels) & (Label.MOVING | Label.SKY)) == 0
    assert still.mean() > 0.3
    agree = np.isclose(start.depth, end.depth, rtol=1e-4, atol=1e-3)
    assert agree[still].mean() > 0.999
    moved = ((start.labels | end.labels) & Label.MOVING) > 0
    assert moved.any() and not moved.all()


def test_an_event_changes_the_picture_from_its_chunk_on_and_not_before(model):
    with_event, without = model.open(SPEC), model.open(SPEC)
    assert same(frames(with_event, 0), frames(without, 0))
    changed = frames(with_event, 1, events=[("night falls", 0.5)])
    unchanged = frames(without, 1)
    assert np.array_equal(changed[0].image, unchanged[0].image)  # a ramp begins at nothing
    assert changed[-1].image.mean() < 0.6 * unchanged[-1].image.mean()
    assert np.array_equal(changed[-1].depth, unchanged[-1].depth)


@pytest.mark.parametrize(
    "text", ["a balloon", "a campfire", "a boat", "lanterns", "a tree", "a deer", "a fox", "birds", "a walker"]
)
def test_what_an_event_brings_is_seen(model, plain, text):
    seen = frames(model.open(SPEC), 0, events=[(text, 0.4)])[-1]
    nearer = (seen.depth > 0) & ((plain[0].depth == 0) | (seen.depth < plain[0].depth - 0.05))
    assert nearer.sum() >= 8


def test_what_has_come_to_stay_is_not_labelled_as_moving(model, plain):
    world = model.open(SPEC)
    before = world.surface()
    arriving = frames(world, 0, events=[("a tree", 0.4)])
    assert (arriving[6].labels & Label.MOVING).any()
    assert not (arriving[-1].labels & Label.MOVING & ~plain[0].labels).any()
    after = world.surface()
    assert len(after.faces) > len(before.faces) and after.faces.max() < len(after.vertices)


@pytest.mark.parametrize("text", ["it snows", "fireworks", "an explosion"])
def test_drops_and_sparks_are_labelled_and_lower_the_confidence(model, plain, text):
    world = model.open(SPEC)
    seen = [frames(world, chunk, events=[(text, 0.2)] if chunk == 0 else ())[-1] for chunk in range(3)][2]
    painted = (seen.labels & ~plain[2].labels & Label.MOVING) > 0
    assert 5 < painted.sum() < 0.6 * painted.size
    assert np.array_equal(seen.depth, plain[2].depth)
    assert seen.confidence[painted].mean() < 0.9 * plain[2].confidence[painted].mean()


def test_rain_is_labelled_where_it_can_be_seen(model):
    world = model.open(replace(SPEC, width=512, height=288))
    seen = frames(world, 0, events=[("rain", 0.0)])[0]
    painted = (seen.labels & Label.MOVING) > 0
    assert 0.002 < painted.mean() < 0.3
    assert seen.confidence[painted].mean() < seen.confidence[~painted].mean()


def test_the_depth_puts_points_where_the_next_camera_sees_them(model):
    world = model.open(SPEC)
    first = frames(world, 0)[-1]
    last = frames(world, 1, Control(move=(0.5, 0, 1), turn=(0.3, 0, 0)))[-1]
    points = camera(first).unproject(first.depth)[first.depth > 0]
    u, v, depth = camera(last).project(points).T
    inside = (depth > 0.5) & (u > 1) & (v > 1) & (u < 126) & (v < 70)
    seen = last.depth[v[inside].astype(int), u[inside].astype(int)]
    close = np.abs(seen / depth[inside] - 1) < 0.05
    assert close.mean() > 0.75  # the rest is hidden from one of the two, or on an edge


SIGNS = [
    # control, which way what is ahead moves in the picture: (u, v)
    (Control(turn=(0.1, 0, 0)), (-1, 0)),
    (Control(turn=(-0.1, 0, 0)), (1, 0)),
    (Control(turn=(0, 0.1, 0)), (0, 1)),
    (Control(turn=(0, -0.1, 0)), (0, -1)),
    (Control(move=(1, 0, 0)), (-1, 0)),
    (Control(move=(-1, 0, 0)), (1, 0)),
]


@pytest.mark.parametrize(("control", "expected"), SIGNS)
def test_looking_and_stepping_move_the_picture_the_other_way(model, control, expected):
    world = model.open(SPEC)
    before, after = (frames(world, chunk, control)[-1] for chunk in (0, 1))
    centre = camera(before).unproject(before.depth)[30:66, 50:78][before.depth[30:66, 50:78] > 0]
    moved = np.median(camera(after).project(centre) - camera(before).project(centre), axis=0)
    for direction, wanted in zip(moved[:2], expected, strict=True):
        assert np.sign(direction) == wanted if wanted else abs(direction) < 3


def test_forward_brings_things_nearer(model):
    world = model.open(SPEC)
    before, after = (frames(world, chunk, FORWARD)[-1] for chunk in (0, 1))
    ahead = camera(before).unproject(before.depth)[36, 64][None]
    assert camera(after).project(ahead)[0, 2] == pytest.approx(
        camera(before).project(ahead)[0, 2] - 2.0 * 16 / 24, abs=0.01
    )


def test_the_first_frame_shows_the_first_camera_and_its_control_moves_nothing(model):
    still, moving = frames(model.open(SPEC), 0), frames(model.open(SPEC), 0, FORWARD)
    assert np.array_equal(still[0].image, moving[0].image)
    assert moving[1].c2w[2, 3] - moving[0].c2w[2, 3] == pytest.approx(2 / 24)
    assert moving[12].c2w[2, 3] - moving[0].c2w[2, 3] == pytest.approx(12 * 2 / 24)


def test_poses_are_taken_as_they_are(model):
    world = model.open(WorldSpec(prompt=SPEC.prompt, seed=11, width=128, height=72, mode="fly"))
    pose = np.eye(4)
    pose[:3, 3] = 1.25, -9.0, 3.5
    drawn = frames(world, 0, poses=tuple(pose if i % 2 == 0 else None for i in range(13)))
    assert all(np.array_equal(frame.c2w, pose) for frame in drawn)
    crooked = pose.copy()
    crooked[0, 0] = 2.0
    with pytest.raises(ValueError, match="pose"):
        frames(world, 1, poses=(crooked,) * 16)


def test_a_request_that_does_not_fit_is_refused_at_once(model):
    world = model.open(SPEC)
    for wrong, message in [
        (request(1), "next chunk is 0"),
        (request(0, controls=(NEUTRAL,) * 4), "13"),
        (request(0, Control(move=(0, 1, 0))), "does not honour"),
        (request(0, events=[("a spaceship", 1.0)]), "it knows"),
    ]:
        with pytest.raises(ValueError, match=message):
            world.next_chunk(wrong)
    assert len(frames(world, 0)) == 13


def test_the_true_surface_is_where_the_depth_is(model):
    world = model.open(SPEC)
    frame = frames(world, 0)[0]
    surface = world.surface()
    corners = surface.vertices[surface.faces]
    assert np.isfinite(surface.vertices).all() and surface.faces.min() >= 0
    height, width = frame.depth.shape
    rng = np.random.default_rng(0)
    origin = frame.c2w[:3, 3]
    for _ in range(12):
        v, u = rng.integers(0, height), rng.integers(0, width)
        direction = frame.c2w[:3, :3] @ np.linalg.inv(frame.K) @ (u + 0.5, v + 0.5, 1.0)
        depth = _nearest(origin, direction, corners)
        # Single precision in the caster; a ray along an edge may go either way.
        assert depth == pytest.approx(float(frame.depth[v, u]), rel=1e-3, abs=1e-3) or frame.confidence[v, u] < 250


def _nearest(origin, direction, corners):
    """Where a ray meets triangles [F, 3, 3] first, 0 if nowhere (Moeller and Trumbore, 1997)."""
    a, b, c = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(direction, c)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1.0 / (b * p).sum(1)
        s = origin - a
        u = (s * p).sum(1) * inverse
        q = np.cross(s, b)
        v = q @ direction * inverse
        t = (c * q).sum(1) * inverse
    met = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 1e-6)
    return float(t[met].min()) if met.any() else 0.0
