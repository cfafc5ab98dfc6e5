"""Wan 2.2's VAE against the published implementation's outputs."""

from __future__ import annotations

import json

import pytest
import torch
from keepworld_runtime.layers.wan_vae import WanVAE, empty_wan_vae, load_wan_vae

from tests import goldens, vaes


def test_streamed_frames_are_those_of_the_published_walk():
    recorded = goldens.folder("worldplay5b")
    weights, metadata = goldens.load(recorded / "vae_state_dict.safetensors")
    walk, _ = goldens.load(recorded / "rollout_t2v.safetensors")
    vae = load_wan_vae(weights, json.loads(metadata["vae_config"]))
    state, frames = vae.initial_state(), []
    latents = torch.cat([walk["latents.chunk0"], walk["latents.chunk1"][:, :, :1]], dim=2)
    for latent in latents.split(1, dim=2):
        decoded, state = vae.decode(latent, state)
        frames.append(decoded)
    wanted = torch.cat([walk["video.chunk0"], walk["video.chunk1.first4"]], dim=1).float()
    torch.testing.assert_close(torch.cat(frames, dim=2).movedim(1, -1) / 2 + 0.5, wanted, rtol=0, atol=2e-3)


def test_the_vae_of_wan_2_1_is_refused():
    with pytest.raises(ValueError, match=r"is_residual must be true, as in Wan 2\.2's VAE, got None"):
        empty_wan_vae({"z_dim": 16})


def test_weights_that_do_not_fit_are_named():
    weights = dict(vaes.published("wan").state_dict())
    weights["post_quant_conv.bias"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"post_quant_conv.bias is \[3\], wanted \[4\]"):
        load_wan_vae(weights, vaes.CONFIGS["wan"])


@pytest.mark.parametrize(("height", "width", "gigabytes"), [(704, 1280, 3.2), (480, 832, 1.4)])
def test_at_full_size_a_session_keeps_the_memory_that_was_counted_for_the_published_cache(height, width, gigabytes):
    # counted by hand from the released configuration, in bfloat16; the two digits given, and the borders' few percent
    config = {
        **vaes.CONFIGS["wan"],
        "base_dim": 160,
        "decoder_base_dim": 256,
        "z_dim": 48,
        "latents_mean": [0.0] * 48,
        "latents_std": [1.0] * 48,
    }
    vae = WanVAE(empty_wan_vae(config).to(torch.bfloat16))
    latent = torch.empty((1, 48, 1, height // 16, width // 16), device="meta")
    _, state = vae.decode(latent, vae.initial_state())
    frames, state = vae.decode(latent, state)
    assert frames.shape == (1, 3, 4, height, width)
    assert state.num_bytes == pytest.approx(gigabytes * 1e9, rel=0.05)
