"""Decoding latent by latent, and encoding a clip piece by piece: what must hold of both VAEs, with random weights."""

from __future__ import annotations

from types import MethodType

import pytest
import torch
from keepworld_runtime.layers.vae import DecoderState, VideoVAE, history_latents

from tests import vaes

each_vae = pytest.mark.parametrize("name", vaes.NAMES)


def stream(vae: VideoVAE, latents: torch.Tensor, state: DecoderState) -> tuple[torch.Tensor, DecoderState]:
    """Decode latents [1, C, T, h, w] one by one from a state."""
    frames = []
    for latent in latents.split(1, dim=2):
        decoded, state = vae.decode(latent, state)
        frames.append(decoded)
    return torch.cat(frames, dim=2), state


def equal(a: DecoderState, b: DecoderState) -> bool:
    """Whether two states hold the same bits."""
    return len(a.pasts) == len(b.pasts) and all(map(torch.equal, a.pasts, b.pasts))


def picture(frames: int, seed: int = 3) -> torch.Tensor:
    """A random clip [1, 3, frames, 32, 48] in [-1, 1]."""
    return torch.rand((1, 3, frames, 32, 48), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_wan_streamed_equals_the_published_decode_in_one_go():
    module = vaes.published("wan")
    mean, std = (torch.tensor(vaes.CONFIGS["wan"][key]).view(-1, 1, 1, 1) for key in ("latents_mean", "latents_std"))
    latents = vaes.latents(5)
    frames, _ = stream(vaes.ours("wan"), latents, DecoderState())
    torch.testing.assert_close(frames, module.decode(latents * std + mean).sample, rtol=0, atol=1e-5)


def test_hunyuan_streamed_equals_the_published_whole_decode_whose_attention_sees_one_frame():
    module = vaes.published("hunyuan")
    attention = module.decoder.mid_block.attentions[0]
    whole = type(attention).forward
    attention.forward = MethodType(
        lambda block, x: torch.cat([whole(block, frame) for frame in x.split(1, dim=2)], dim=2), attention
    )
    latents = vaes.latents(5)
    frames, _ = stream(vaes.ours("hunyuan"), latents, DecoderState())
    wanted = module.decode(latents / vaes.CONFIGS["hunyuan"]["scaling_factor"]).sample.clamp(-1, 1)
    torch.testing.assert_close(frames, wanted, rtol=0, atol=1e-5)


@each_vae
def test_the_first_latent_gives_one_frame_and_every_later_one_four(name):
    vae = vaes.ours(name)
    state = vae.initial_state()
    shapes = []
    for latent in vaes.latents(3).split(1, dim=2):
        frames, state = vae.decode(latent, state)
        shapes.append(tuple(frames.shape))
    assert shapes == [(1, 3, 1, 32, 48), (1, 3, 4, 32, 48), (1, 3, 4, 32, 48)]


@each_vae
def test_two_sessions_that_take_turns_each_see_what_they_would_see_alone(name):
    vae = vaes.ours(name)
    walks = [vaes.latents(4, seed=seed) for seed in (1, 2)]
    states = [vae.initial_state(), vae.initial_state()]
    frames: list[list[torch.Tensor]] = [[], []]
    for step in range(4):
        for who in (0, 1):
            decoded, states[who] = vae.decode(walks[who][:, :, step : step + 1], states[who])
            frames[who].append(decoded)
    for who in (0, 1):
        alone, end = stream(vae, walks[who], vae.initial_state())
        assert torch.equal(torch.cat(frames[who], dim=2), alone)
        assert equal(states[who], end)


@each_vae
def test_two_walks_in_one_batch_are_each_decoded_as_alone(name):
    vae = vaes.ours(name)
    walks = [vaes.latents(3, seed=seed) for seed in (1, 2)]
    together, _ = stream(vae, torch.cat(walks), vae.initial_state())
    alone = torch.cat([stream(vae, walk, vae.initial_state())[0] for walk in walks])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@each_vae
def test_a_state_stays_as_it_was_so_that_a_session_can_go_on_from_it_twice(name):
    vae = vaes.ours(name)
    _, state = stream(vae, vaes.latents(2), vae.initial_state())
    before = state.clone()
    once, _ = stream(vae, vaes.latents(2, seed=5), state)
    with pytest.raises(ValueError, match=r"latent must be \[1, 4, 1, 2, 3\]"):
        vae.decode(vaes.latents(1, width=4), state)
    assert equal(state, before)
    again, _ = stream(vae, vaes.latents(2, seed=5), state)
    assert torch.equal(once, again)


@each_vae
def test_a_state_written_down_and_read_back_goes_on_as_if_never_moved(name):
    vae = vaes.ours(name)
    _, state = stream(vae, vaes.latents(2), vae.initial_state())
    bits = [past.numpy().tobytes() for past in state.pasts]
    assert state.num_bytes == sum(map(len, bits))
    pasts = tuple(
        torch.frombuffer(bytearray(raw), dtype=torch.float32).view(past.shape)
        for raw, past in zip(bits, state.pasts, strict=True)
    )
    moved = DecoderState(pasts, state.num_latents).to("cpu").clone()
    future = vaes.latents(2, seed=5)
    assert torch.equal(stream(vae, future, moved)[0], stream(vae, future, state)[0])


@each_vae
def test_a_state_takes_no_more_memory_after_a_long_walk(name):
    vae = vaes.ours(name)
    _, early = stream(vae, vaes.latents(2), vae.initial_state())
    _, late = stream(vae, vaes.latents(12), early)
    assert early.num_bytes == late.num_bytes
    assert len(early.pasts) == len(late.pasts) == len(vae.frame_rates)


@each_vae
def test_the_history_that_is_asked_for_replays_to_the_same_bits_and_a_few_latents_do_not(name):
    vae = vaes.ours(name)
    history = history_latents(vae)
    past, future = vaes.latents(history + 5), vaes.latents(2, seed=9)
    _, uninterrupted = stream(vae, past, vae.initial_state())
    _, replayed = stream(vae, past[:, :, -history:], vae.initial_state())
    assert equal(replayed, uninterrupted)
    assert torch.equal(stream(vae, future, replayed)[0], stream(vae, future, uninterrupted)[0])
    _, short = stream(vae, past[:, :, -4:], vae.initial_state())
    assert not equal(short, uninterrupted)


@each_vae
def test_a_latent_is_felt_for_as_long_as_the_history_and_no_longer(name):
    # not-a-number survives every sum that it enters: it shows what a state depends on, however weakly
    vae = vaes.ours(name)
    history = history_latents(vae)
    latents = vaes.latents(history + 2)
    latents[:, :, 1] = torch.nan
    _, state = stream(vae, latents[:, :, :-1], vae.initial_state())
    assert any(past.isnan().any() for past in state.pasts)
    _, state = vae.decode(latents[:, :, -1:], state)
    assert not any(past.isnan().any() for past in state.pasts)


@each_vae
@pytest.mark.parametrize("shape", [(1, 4, 2, 2, 3), (1, 3, 1, 2, 3), (4, 1, 2, 3)])
def test_a_latent_of_another_shape_is_refused_with_what_was_wanted(name, shape):
    vae = vaes.ours(name)
    with pytest.raises(ValueError, match=r"latent must be \[B, 4, 1, h, w\], got "):
        vae.decode(torch.zeros(shape), vae.initial_state())


def test_wan_encodes_what_the_published_encoder_does():
    module, clip = vaes.published("wan"), picture(9)
    mean, std = (torch.tensor(vaes.CONFIGS["wan"][key]).view(-1, 1, 1, 1) for key in ("latents_mean", "latents_std"))
    wanted = (module.encode(clip).latent_dist.mode() - mean) / std
    torch.testing.assert_close(vaes.ours("wan").encode(clip), wanted, rtol=0, atol=1e-5)


@each_vae
def test_a_sample_of_the_posterior_is_the_published_one_for_the_same_noise(name):
    module, still = vaes.published(name), picture(1)
    gaussian = module.encode(still).latent_dist
    noise = torch.randn(gaussian.mean.shape, generator=torch.Generator().manual_seed(11))
    sample = gaussian.mean + gaussian.std * noise
    if name == "wan":
        mean, std = (torch.tensor(module.config[key]).view(-1, 1, 1, 1) for key in ("latents_mean", "latents_std"))
        wanted = (sample - mean) / std
    else:
        wanted = sample * module.config.scaling_factor
    torch.testing.assert_close(vaes.ours(name).encode(still, noise), wanted, rtol=1e-5, atol=1e-5)


@each_vae
def test_what_comes_later_in_a_clip_does_not_change_the_latents_before_it(name):
    vae, clip = vaes.ours(name), picture(13)
    whole = vae.encode(clip)
    assert whole.shape == (1, vaes.CHANNELS, 4, 2, 3)
    assert torch.equal(vae.encode(clip[:, :, :5]), whole[:, :, :2])


@each_vae
@pytest.mark.parametrize(
    ("clip", "noise", "message"),
    [
        (torch.zeros(1, 3, 4, 32, 48), None, r"frames must be \[B, 3, 1 \+ 4 k, H, W\], got \[1, 3, 4, 32, 48\]"),
        (torch.zeros(1, 3, 0, 32, 48), None, r"frames must be \[B, 3, 1 \+ 4 k, H, W\], got \[1, 3, 0, 32, 48\]"),
        (torch.zeros(1, 3, 1, 32, 40), None, r"multiples of 16 pixels, got \[32, 40\]"),
        (torch.zeros(1, 3, 1, 32, 48), torch.zeros(1, 4, 1, 2, 2), r"noise must be \[1, 4, 1, 2, 3\]"),
    ],
)
def test_a_clip_or_noise_of_another_shape_is_refused_with_what_was_wanted(name, clip, noise, message):
    with pytest.raises(ValueError, match=message):
        vaes.ours(name).encode(clip, noise)
