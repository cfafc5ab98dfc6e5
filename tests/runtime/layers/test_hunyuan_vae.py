"""HunyuanVideo-1.5's VAE against the published implementation's outputs, and its weights' two sets of names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from keepworld_runtime.layers.hunyuan_vae import HunyuanVAE, diffusers_name, empty_hunyuan_vae, load_hunyuan_vae

from tests import goldens, vaes


@pytest.fixture(scope="module")
def recorded() -> Path:
    return goldens.folder("worldplay8b")


@pytest.fixture(scope="module")
def vae(recorded) -> HunyuanVAE:
    weights, metadata = goldens.load(recorded / "vae_tiny.safetensors")
    return load_hunyuan_vae(weights, json.loads(metadata["config"]))


@pytest.fixture(scope="module")
def io(recorded) -> dict[str, torch.Tensor]:
    return goldens.load(recorded / "vae_io.safetensors")[0]


def test_streamed_frames_are_those_of_the_published_cached_decode(vae, io):
    state, frames = vae.initial_state(), []
    for latent in (io["in.z"] * vae.module.config.scaling_factor).split(1, dim=2):
        decoded, state = vae.decode(latent, state)
        frames.append(decoded)
    torch.testing.assert_close(torch.cat(frames, dim=2), io["decode_cached"].clamp(-1, 1), rtol=0, atol=1e-5)


def test_a_picture_and_a_clip_are_encoded_as_the_published_cached_encoder_does(vae, io):
    scale = vae.module.config.scaling_factor
    for given, wanted in (("in.image", "encode_image.mode"), ("in.video", "encode_video_cached.mode")):
        torch.testing.assert_close(vae.encode(io[given]), io[wanted] * scale, rtol=0, atol=1e-5)


def test_released_names_put_every_weight_where_the_whole_clip_passes_need_it(vae, io):
    module = vae.module
    encoded = module.encode(io["in.video"]).latent_dist.mode()
    torch.testing.assert_close(encoded, io["encode_video_full.mode"], rtol=0, atol=1e-5)
    torch.testing.assert_close(module.encode(io["in.image"]).latent_dist.parameters, io["encode_image.parameters"])
    torch.testing.assert_close(module.decode(io["in.z"]).sample, io["decode_full"], rtol=0, atol=1e-5)


def test_at_full_size_the_released_names_are_the_modules_one_for_one_with_their_shapes(recorded):
    released = json.loads((recorded / "full_vae_keys.json").read_text())
    wanted = {key: list(tensor.shape) for key, tensor in empty_hunyuan_vae({}).state_dict().items()}
    assert len(released) == len({diffusers_name(key) for key in released})
    assert {diffusers_name(key): shape for key, shape in released.items()} == wanted


def test_names_of_diffusers_stay_as_they_are():
    names = list(empty_hunyuan_vae({}).state_dict())
    assert [diffusers_name(name) for name in names] == names


def test_a_shortcut_of_the_release_has_its_own_name():
    name = "decoder.up.2.block.0.nin_shortcut.weight"
    assert diffusers_name(name) == "decoder.up_blocks.2.resnets.0.conv_shortcut.weight"


def test_weights_that_do_not_fit_are_named():
    weights = dict(vaes.published("hunyuan").state_dict())
    weights["decoder.conv_in.conv.bias"] = torch.zeros(3)
    weights["decoder.extra"] = weights.pop("encoder.conv_in.conv.bias")
    with pytest.raises(ValueError, match=r"^3 of the VAE's 218 weights do not fit: ") as error:
        load_hunyuan_vae(weights, vaes.CONFIGS["hunyuan"])
    for part in ("missing encoder.conv_in.conv.bias [8]", "unknown decoder.extra [8]", "is [3], wanted [16]"):
        assert part in str(error.value)


@pytest.mark.parametrize(("key", "value"), [("shift_factor", 0.1), ("ffactor_temporal", 8)])
def test_a_configuration_that_the_walk_does_not_know_is_refused(key, value):
    with pytest.raises(ValueError, match=f"got {value}"):
        empty_hunyuan_vae({key: value})


def test_half_precision_stays_near_single():
    single = vaes.ours("hunyuan")
    half = load_hunyuan_vae(vaes.published("hunyuan").state_dict(), vaes.CONFIGS["hunyuan"], dtype=torch.bfloat16)
    latent = vaes.latents(1)
    frames, state = half.decode(latent, half.initial_state())
    assert frames.dtype == state.pasts[0].dtype == torch.bfloat16
    wanted, _ = single.decode(latent, single.initial_state())
    # bfloat16 keeps 8 bits; some forty roundings in a row, of values about 1, stay well under a tenth
    assert (frames.float() - wanted).abs().mean() < 0.05
