"""A latent world with a real memory and a real (tiny, random) VAE; its dreamer is a closed form that tells what it was given."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from keepworld.motion import NEUTRAL, Control
from keepworld_runtime.families.family import (
    BrokenChunkError,
    ChunkRequest,
    Clip,
    Event,
    Recording,
    WorldSpec,
    WorldState,
)
from keepworld_runtime.families.latent.clip import encode_clip
from keepworld_runtime.families.latent.draws import CountedDraws
from keepworld_runtime.families.latent.family import Outline, default_intrinsics
from keepworld_runtime.families.latent.world import Dream, LatentWorld
from keepworld_runtime.layers.vae import history_latents
from keepworld_runtime.memory import policies
from keepworld_runtime.memory.overlap import ball_points
from keepworld_runtime.memory.policies import Plan
from keepworld_runtime.memory.retrieval import Retrieval

from tests import vaes

WIDTH, HEIGHT = 48, 32
LATENT = (vaes.CHANNELS, HEIGHT // 16, WIDTH // 16)
SPEC = WorldSpec(prompt="a valley", seed=3, width=WIDTH, height=HEIGHT, mode="walk")
CAPABILITIES = Outline(
    name="closed-form", version="1", summary="", chunk_size=4, sizes=((WIDTH, HEIGHT),), size_multiple=16
).capabilities()
FORWARD_TURNING = Control(move=(0, 0, 1), turn=(1, 0, 0))


class ClosedForm:
    """Half the noise, moved by the context's mean and by each prompt's length."""

    def __init__(self):
        self.chunks = []
        self.texts = []
        self.factor = 0.5

    def prompt(self, text):
        self.texts.append(text)
        return text

    def denoise(self, chunk):
        self.chunks.append(chunk)
        moved = chunk.context.latents.mean() if len(chunk.context) else 0.0
        said = sum(len(text) * weight for text, weight in chunk.prompts)
        return chunk.noise * self.factor + 0.1 * moved + 0.001 * said


def make(name="wan", spec=SPEC, clip=None):
    vae = vaes.ours(name)
    generator = np.random.default_rng(0)
    points = ball_points(generator.random((3, 500), dtype=np.float32), 8.0)
    plan = Plan(retrieval=Retrieval(), points=lambda start: points, recent=history_latents(vae))
    capabilities = CAPABILITIES
    past = None
    if clip is not None:
        capabilities = replace(CAPABILITIES, first_chunk_frames=CAPABILITIES.chunk_frames)
        past = encode_clip(clip, vae, (WIDTH, HEIGHT), first_frames=13, chunk_frames=16)
    dreamer = ClosedForm()
    dream = Dream(
        dreamer=dreamer, vae=vae, memory=policies.create(None, plan), draws=CountedDraws(spec.seed, 8.0, LATENT),
        K=default_intrinsics(), image=None, clip=past,
    )  # fmt: skip
    return LatentWorld(spec, capabilities, dream), dreamer


def chunk_of(world, number, control=FORWARD_TURNING, events=(), frames=None):
    count = frames or CAPABILITIES.frames_in(number)
    request = ChunkRequest(chunk=number, controls=(control,) * count, poses=(None,) * count, events=tuple(events))
    return list(world.next_chunk(request))


def images(frames):
    return np.stack([frame.image for frame in frames])


def test_a_chunk_has_thirteen_frames_and_then_sixteen_with_their_cameras():
    world, dreamer = make()
    first, second = chunk_of(world, 0), chunk_of(world, 1)
    assert (len(first), len(second)) == (13, 16)
    assert [frame.index for frame in second] == list(range(16))
    assert first[0].image.shape == (HEIGHT, WIDTH, 3)
    assert (first[0].c2w == np.eye(4)).all()
    for number, chunk in enumerate(dreamer.chunks):
        cameras = [first, second][number][:: 4 if number == 0 else 1]
        wanted = cameras if number == 0 else cameras[3::4]
        assert np.linalg.inv(chunk.views.viewmats) == pytest.approx(np.stack([each.c2w for each in wanted]))


def test_moving_and_turning_at_once_is_one_action_and_standing_still_is_none():
    world, dreamer = make()
    chunk_of(world, 0)
    chunk_of(world, 1, NEUTRAL)
    assert dreamer.chunks[0].views.actions.tolist() == [0, 10, 10, 10]  # forward 1, right 1: 9 · 1 + 1
    assert dreamer.chunks[1].views.actions.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("name", vaes.NAMES)
def test_a_world_that_is_restored_goes_on_bit_for_bit(name):
    straight, _ = make(name)
    for number in range(14):  # more than the decoder looks back
        chunk_of(straight, number, events=[Event(text="it snows", ramp_s=3.0)] if number == 12 else ())
    state = straight.state()
    told = WorldState(head=bytes(state.head), parts={key: bytes(value) for key, value in state.parts.items()})
    restored, _ = make(name)
    restored.restore(told)
    for number in (14, 15):
        ahead, again = chunk_of(straight, number), chunk_of(restored, number)
        assert np.array_equal(images(ahead), images(again))
        assert all(np.array_equal(one.c2w, other.c2w) for one, other in zip(ahead, again, strict=True))
    assert restored.state().head == straight.state().head


def test_parts_of_a_state_never_change():
    world, _ = make()
    chunk_of(world, 0)
    early = dict(world.state().parts)
    chunk_of(world, 1)
    late = world.state().parts
    assert len(late) > len(early)
    assert all(late[name] == content for name, content in early.items())


def test_a_chunk_that_is_not_taken_to_its_end_never_happened():
    world, _ = make()
    chunk_of(world, 0)
    before = world.state()
    request = ChunkRequest(chunk=1, controls=(NEUTRAL,) * 16, poses=(None,) * 16)
    half = world.next_chunk(request)
    taken = [next(half).image for _ in range(7)]
    half.close()
    assert world.state().head == before.head
    assert np.array_equal(images(chunk_of(world, 1, NEUTRAL))[:7], np.stack(taken))


def test_an_event_is_prepared_beforehand_and_comes_in_over_its_ramp():
    world, dreamer = make()
    chunk_of(world, 0)
    event = Event(text="it snows", ramp_s=2.0)
    world.prepare(event)
    assert dreamer.texts == ["a valley", "a valley. it snows"]
    for number in range(1, 6):
        chunk_of(world, number, events=[event] if number == 1 else ())
    assert dreamer.texts == ["a valley", "a valley. it snows"]
    weights = [dict(chunk.prompts).get("a valley. it snows", 0.0) for chunk in dreamer.chunks]
    third = 16 / 24 / 2.0  # of the ramp: a chunk
    assert weights == pytest.approx([0.0, third / 2, third * 1.5, third * 2.5, 1.0, 1.0])


@pytest.mark.parametrize(("factor", "message"), [(float("nan"), "not-a-number"), (float("inf"), "not-a-number")])
def test_what_is_not_a_number_is_an_error_of_its_chunk_and_gives_no_frame(factor, message):
    world, dreamer = make()
    chunk_of(world, 0)
    dreamer.factor = factor
    frames = world.next_chunk(ChunkRequest(chunk=1, controls=(NEUTRAL,) * 16, poses=(None,) * 16))
    with pytest.raises(BrokenChunkError, match=f"chunk 1 came out as {message}"):
        next(frames)


def test_black_frames_are_an_error_of_their_chunk():
    world, _ = make()
    module = world._dream.vae.module
    module.decoder.conv_out.weight.zero_()
    module.decoder.conv_out.bias.fill_(-5.0)
    with pytest.raises(BrokenChunkError, match="frames of chunk 0 came out black"):
        chunk_of(world, 0)


def test_a_world_goes_on_from_a_clip_as_if_it_had_made_it():
    generator = np.random.default_rng(1)
    clip = Clip(frames=generator.integers(0, 255, (30, 40, 60, 3), np.uint8), c2ws=None)
    world, dreamer = make(clip=clip)
    frames = chunk_of(world, 0, frames=16)
    (chunk,) = dreamer.chunks
    assert chunk.start == 8  # 29 of the 30 frames make whole chunks: eight latents
    assert chunk.context.indices.tolist() == list(range(8))
    vae = vaes.ours("wan")
    past = encode_clip(clip, vae, (WIDTH, HEIGHT), first_frames=13, chunk_frames=16)
    state, shown = vae.initial_state(), None
    for latent in torch.cat([past.latents, dreamer.denoise(chunk)], dim=2).split(1, dim=2):
        shown, state = vae.decode(latent, state)
    last = ((shown[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()
    assert np.array_equal(images(frames)[-4:], last)


def test_a_clip_keeps_its_cameras_and_the_walk_goes_on_from_its_last_one():
    c2ws = np.repeat(np.eye(4)[None], 13, axis=0)
    c2ws[:, :3, 3] = (5.0, 0.0, 1.0)
    c2ws[:, 2, 3] += np.arange(13) * 0.02
    clip = Clip(frames=np.random.default_rng(1).integers(0, 255, (13, HEIGHT, WIDTH, 3), np.uint8), c2ws=c2ws)
    world, dreamer = make(clip=clip)
    frames = chunk_of(world, 0, Control(move=(0, 0, 1)), frames=16)
    assert frames[0].c2w[:3, 3] == pytest.approx([5.0, 0.0, 1.26])
    (chunk,) = dreamer.chunks
    assert chunk.context.views.viewmats[0] == pytest.approx(np.eye(4))  # the first camera is the origin
    assert chunk.context.views.actions.tolist() == [0, 9, 9, 9]
    assert chunk.views.actions.tolist() == [9, 9, 9, 9]


def test_a_clip_too_short_for_a_chunk_is_refused():
    clip = Clip(frames=np.zeros((12, 8, 8, 3), np.uint8), c2ws=None)
    with pytest.raises(ValueError, match="clip must have at least 13 frames, got 12"):
        make(clip=clip)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"{}",
        b"[1]",
        b'{"chunks": 1, "c2w": null, "origin": null, "last_viewmat": null, "events": [], "memory": ""}',
    ],
)
def test_the_state_of_something_else_is_refused(head):
    world, _ = make()
    with pytest.raises(ValueError, match="not the state of"):
        world.restore(WorldState(head=head, parts={}))


def clip_of(count, *, c2ws=None, seed=1, is_from_here=False):
    frames = np.random.default_rng(seed).integers(0, 255, (count, HEIGHT, WIDTH, 3), np.uint8)
    return Clip(frames=frames, c2ws=c2ws, is_from_here=is_from_here)


def extended(world, number, clip, control=FORWARD_TURNING, frames=16):
    request = ChunkRequest(
        chunk=number, controls=(control,) * frames, poses=(None,) * frames, continuation=clip
    )  # fmt: skip
    return world.next_chunk(request)


def shown(frames):
    """Frames [1, 3, F, H, W] in [-1, 1] as pictures."""
    return ((frames[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()


@pytest.mark.parametrize(("name", "count"), [("wan", 13), ("hunyuan", 31)])  # 31: 29 of them make whole chunks
def test_going_on_from_a_clip_is_what_comes_of_making_it_all_again_without_any_cache(name, count):
    world, dreamer = make(name)
    walked = [chunk_of(world, number) for number in range(3)]
    clip = clip_of(count)
    frames = list(extended(world, 3, clip))
    later = chunk_of(world, 4)
    vae, kept = vaes.ours(name), count - (count - 13) % 16
    past = encode_clip(clip, vae, (WIDTH, HEIGHT), first_frames=13, chunk_frames=16).latents
    made = [dreamer.denoise(chunk) for chunk in list(dreamer.chunks)]
    walk, ahead = torch.cat(made[:3], dim=2), torch.cat(made[3:5], dim=2)
    third, fourth = dreamer.chunks[3:5]
    # What the dreamer is shown: the walk, then the clip, as if all of it had been dreamt; numbered on.
    latents = torch.cat([walk, past], dim=2)
    assert past.shape[2] == 1 + (kept - 1) // 4
    assert third.start == latents.shape[2] == fourth.start - 4
    assert torch.equal(third.context.latents, latents[:, :, third.context.indices])
    assert set(third.context.indices) >= set(range(third.start - past.shape[2], third.start))
    assert torch.equal(third.noise, CountedDraws(SPEC.seed, 8.0, LATENT).noise(third.start, 4))
    # What is seen: the clip decoded from its own beginning, and the chunks behind it.
    state, pictures = vae.initial_state(), []
    for latent in torch.cat([past, ahead], dim=2).split(1, dim=2):
        picture, state = vae.decode(latent, state)
        pictures.append(shown(picture))
    assert np.array_equal(np.concatenate(pictures)[kept:], images([*frames, *later]))
    # Where it is seen from: a camera that stood where the walk had come to.
    here = walked[-1][-1].c2w
    cameras = np.linalg.inv(third.context.views.viewmats[-past.shape[2] :])
    assert cameras == pytest.approx(np.repeat(here[None], past.shape[2], axis=0))
    assert third.context.views.actions[-past.shape[2] :].tolist() == [0] * past.shape[2]
    untouched, _ = make(name)
    assert np.array_equal(frames[0].c2w, [chunk_of(untouched, number) for number in range(4)][3][0].c2w)


@pytest.mark.parametrize("count", [13, 61])
def test_a_world_restored_behind_a_clip_goes_on_bit_for_bit(count):
    straight, _ = make()
    for number in range(2):
        chunk_of(straight, number)
    list(extended(straight, 2, clip_of(count)))
    restored, _ = make()
    restored.restore(straight.state())
    for number in range(3, 7):
        assert np.array_equal(images(chunk_of(straight, number)), images(chunk_of(restored, number)))
    assert restored.state().head == straight.state().head


def test_a_chunk_behind_a_clip_that_is_not_taken_to_its_end_never_happened():
    world, dreamer = make()
    for number in range(2):
        chunk_of(world, number)
    before, aside = world.state(), make()[0]
    aside.restore(before)
    half = extended(world, 2, clip_of(29))
    taken = [next(half).image for _ in range(7)]
    half.close()
    assert world.state().head == before.head
    assert dict(world.state().parts) == dict(before.parts)
    dreamer.factor = float("nan")
    with pytest.raises(BrokenChunkError):
        next(extended(world, 2, clip_of(29)))
    dreamer.factor = 0.5
    assert world.state().head == before.head
    again = images(extended(world, 2, clip_of(29)))
    assert np.array_equal(again[:7], np.stack(taken))
    assert np.array_equal(images(chunk_of(aside, 2)), images(chunk_of(restored_from(before), 2)))


def restored_from(state):
    world, _ = make()
    world.restore(state)
    return world


def test_the_cameras_of_a_clip_are_in_the_worlds_frame_or_told_from_where_the_camera_is():
    c2ws = np.repeat(np.eye(4)[None], 13, axis=0)
    c2ws[:, :3, 3] = (5.0, 0.0, 1.0)
    c2ws[:, 2, 3] += np.arange(13) * 0.02
    forward = Control(move=(0, 0, 1))
    world, dreamer = make()
    chunk_of(world, 0, forward)
    there = list(extended(world, 1, clip_of(13, c2ws=c2ws), forward))
    assert there[0].c2w[:3, 3] == pytest.approx([5.0, 0.0, 1.26])
    assert dreamer.chunks[1].context.views.actions[-4:].tolist() == [0, 9, 9, 9]  # no way leads there, then forward
    assert dreamer.chunks[1].views.actions.tolist() == [9, 9, 9, 9]
    world, dreamer = make()
    at = chunk_of(world, 0, forward)[-1].c2w[2, 3]
    here = list(extended(world, 1, clip_of(13, c2ws=c2ws, is_from_here=True), forward))
    assert here[0].c2w[:3, 3] == pytest.approx([0.0, 0.0, at + 0.26])


def test_what_no_latent_world_goes_on_from_is_refused_and_changes_nothing():
    world, _ = make()
    with pytest.raises(ValueError, match="opened from a clip"):
        extended(world, 0, clip_of(13), frames=13)
    chunk_of(world, 0)
    before = world.state()
    with pytest.raises(ValueError, match="at least 13 frames, got 12"):
        next(extended(world, 1, clip_of(12)))
    recording = Recording(mode="walk", controls=(NEUTRAL,) * 13, c2ws=np.stack([np.eye(4)] * 13), events=())
    with pytest.raises(ValueError, match="not from a recording"):
        next(extended(world, 1, recording))
    assert world.state().head == before.head
