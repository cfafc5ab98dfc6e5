"""Work and memory counted from shapes: against published figures, released sizes, and what torch counts in a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from keepworld_runtime.families.latent.denoiser import ChunkInput
from keepworld_runtime.families.latent.flops import (
    CONTEXT,
    Work,
    chunk_flops,
    decoder_flops,
    kv_bytes,
    latent_tokens,
    num_parameters,
    step_name,
    weight_bytes,
)
from keepworld_runtime.families.worldplay_5b import config as worldplay_5b
from keepworld_runtime.families.worldplay_5b.model import WorldPlay5B
from keepworld_runtime.families.worldplay_5b.rollout import Rollout5B
from keepworld_runtime.families.worldplay_8b import config as worldplay_8b
from keepworld_runtime.families.worldplay_8b.model import PromptStates, WorldPlay8B
from keepworld_runtime.families.worldplay_8b.rollout import Rollout8B
from keepworld_runtime.layers.hunyuan_vae import HunyuanVAE, empty_hunyuan_vae
from keepworld_runtime.layers.vae import VideoVAE
from keepworld_runtime.layers.wan_vae import WanVAE, empty_wan_vae
from keepworld_runtime.memory.context import Context
from keepworld_runtime.memory.views import Views
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

TINY_8B = worldplay_8b.ModelConfig(
    num_layers=3, hidden_size=32, num_heads=2, latent_channels=3, text_dim=12, byt5_dim=8, byt5_hidden=16,
    vision_dim=8, refiner_layers=1, refiner_heads=2, sinusoid_dim=8, rope_dims=(4, 6, 6),
)  # fmt: skip
TINY_5B = worldplay_5b.ModelConfig(
    num_layers=3, num_attention_heads=2, attention_head_dim=12, ffn_dim=40, in_channels=3, out_channels=3,
    text_dim=10, text_tokens=7, freq_dim=8,
)  # fmt: skip
TEXT = 7
ROWS, COLUMNS = 4, 6
BIDIRECTIONAL = worldplay_8b.RolloutConfig(num_steps=2, is_bidirectional=True)
GUIDED = worldplay_8b.RolloutConfig(num_steps=2, guidance=6.0)

Denoiser = Rollout8B | Rollout5B


def _denoiser(rollout: worldplay_8b.RolloutConfig | worldplay_5b.RolloutConfig) -> Denoiser:
    if isinstance(rollout, worldplay_5b.RolloutConfig):
        return Rollout5B(WorldPlay5B(TINY_5B), rollout, height=ROWS, width=COLUMNS)
    return Rollout8B(WorldPlay8B(TINY_8B), rollout, height=ROWS, width=COLUMNS)


def _prompt(denoiser: Denoiser):
    if isinstance(denoiser, Rollout5B):
        return denoiser.prepare(torch.randn(1, TEXT, TINY_5B.text_dim))
    texts = denoiser.num_texts
    return denoiser.prepare(
        PromptStates(
            text=torch.randn(texts, TEXT, TINY_8B.text_dim),
            text_mask=torch.ones(texts, TEXT, dtype=torch.bool),
            byt5=torch.zeros(texts, 2, TINY_8B.byt5_dim),
            byt5_mask=torch.zeros(texts, 2, dtype=torch.bool),
            vision=None,
        )
    )


def _views(count: int) -> Views:
    return Views(
        viewmats=np.tile(np.eye(4), (count, 1, 1)),
        Ks=np.tile(np.eye(3), (count, 1, 1)),
        actions=np.zeros(count, np.int64),
    )


def _counted(denoiser: Denoiser, context: int) -> int:
    """What torch counts in a chunk."""
    prompt = _prompt(denoiser)
    count = denoiser.config.chunk_size
    chunk = ChunkInput(
        start=context,
        noise=torch.randn(1, 3, count, ROWS, COLUMNS),
        views=_views(count),
        context=Context(
            indices=np.arange(context),
            latents=torch.randn(1, 3, context, ROWS, COLUMNS),
            views=_views(context),
            pooling=np.ones(context, np.int64),
        ),
        prompts=((prompt, 1.0),),
        image=None,
    )
    # torch counts no FLOPs for its fused attention on a CPU, but for the products that it is made of
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        denoiser.denoise(chunk)
    return counter.get_total_flops()


@pytest.mark.parametrize("context", [0, 4, 8])
@pytest.mark.parametrize(
    ("config", "rollout"),
    [(TINY_8B, worldplay_8b.DISTILLED), (TINY_8B, GUIDED), (TINY_5B, worldplay_5b.ROLLOUT)],
    ids=["8b", "8b guided", "5b"],
)
def test_a_chunk_is_as_much_work_as_torch_counts(config, rollout, context):
    denoiser = _denoiser(rollout)
    tokens = ROWS * COLUMNS // (4 if config is TINY_5B else 1)
    told = chunk_flops(config, rollout, tokens_per_latent=tokens, context=context, text_tokens=TEXT)
    assert sum(work.total for work in told.values()) == _counted(denoiser, context)
    assert (CONTEXT in told) == (context > 0)


@pytest.mark.parametrize("context", [0, 4])
def test_a_joint_chunk_is_what_torch_counts_less_the_making_of_its_text(context):
    denoiser = _denoiser(BIDIRECTIONAL)
    told = chunk_flops(TINY_8B, BIDIRECTIONAL, tokens_per_latent=ROWS * COLUMNS, context=context, text_tokens=TEXT)
    states, model = _prompt(denoiser).texts[0].states, denoiser.model
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model.text_tokens(states, torch.zeros(1))
    made = BIDIRECTIONAL.num_steps * counter.get_total_flops()
    assert sum(work.total for work in told.values()) == _counted(denoiser, context) - made


@pytest.mark.parametrize(
    ("config", "rollout"),
    [(TINY_8B, worldplay_8b.DISTILLED), (TINY_8B, GUIDED), (TINY_5B, worldplay_5b.ROLLOUT)],
    ids=["8b", "8b guided", "5b"],
)
def test_keys_and_values_take_what_was_told(config, rollout):
    denoiser = _denoiser(rollout)
    _counted(denoiser, 0)
    tokens = ROWS * COLUMNS // (4 if config is TINY_5B else 1)
    told = kv_bytes(config, rollout, tokens_per_latent=tokens, text_tokens=TEXT, bytes_per_value=4)
    if isinstance(denoiser, Rollout5B):
        prompt = _prompt(denoiser)
        assert told == denoiser.cache.num_bytes + prompt.k.nbytes + prompt.v.nbytes
    else:
        assert told == sum(cache.num_bytes for cache in denoiser.caches)


def test_a_joint_sequence_keeps_no_keys():
    assert kv_bytes(TINY_8B, BIDIRECTIONAL, tokens_per_latent=24, text_tokens=7) == 0


# The table of a count made apart from this code, from the released sizes: TFLOPs of linear layers and of attention in a step
# and in the pass over the context, in which it lets the last block run to its end.
PUBLISHED = {
    ("8b", 832, 480): (1560, 36.7, 212, 184, 889),
    ("8b", 1280, 704): (3520, 82.9, 1065, 415, 4447),
    ("5b", 1280, 704): (880, 32.6, 46.3, 130, 149),
}


@pytest.mark.parametrize(("name", "width", "height"), PUBLISHED)
def test_full_sizes_are_as_much_work_as_published(name, width, height):
    tokens, *figures = PUBLISHED[name, width, height]
    config, rollout, context, text = (
        (worldplay_8b.MODEL, worldplay_8b.DISTILLED, 20, 1000)
        if name == "8b"
        else (worldplay_5b.MODEL, worldplay_5b.ROLLOUT, 16, 512)
    )
    assert latent_tokens(config, width, height) == tokens
    told = chunk_flops(config, rollout, tokens_per_latent=tokens, context=context, text_tokens=text)
    whole = config.num_layers / (config.num_layers - 1)  # of the pass over the context, had it run to its end
    step, past = told[step_name(4)], told[CONTEXT]
    found = (step.linear, step.attention, past.linear * whole, past.attention * whole)
    assert np.array(found) / 1e12 == pytest.approx(figures, rel=0.01)


def test_the_released_networks_have_as_many_parameters_as_published():
    assert num_parameters(worldplay_8b.MODEL) == 8_557_933_856
    assert num_parameters(worldplay_5b.MODEL) == 5_293_225_152
    assert weight_bytes(worldplay_8b.MODEL) == 2 * 8_557_933_856


def test_reduced_networks_have_as_many_parameters_as_was_told():
    for config, network in ((TINY_8B, WorldPlay8B), (TINY_5B, WorldPlay5B)):
        with torch.device("meta"):
            model = network(config)
        assert num_parameters(config) == sum(each.numel() for each in model.parameters())


def _released_vae(family: str) -> tuple[VideoVAE, int]:
    if family == "worldplay-8b":
        return HunyuanVAE(empty_hunyuan_vae({})), 32
    released = {
        "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
        "temperal_downsample": [False, True, True], "is_residual": True, "in_channels": 12, "out_channels": 12,
        "patch_size": 2, "scale_factor_spatial": 16, "scale_factor_temporal": 4,
        "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48,
    }  # fmt: skip
    return WanVAE(empty_wan_vae(released)), 48


@pytest.mark.parametrize(("family", "published"), [("worldplay-8b", 159e12), ("worldplay-5b", 118e12)])
def test_decoding_is_as_much_work_as_torch_counts_on_the_released_vaes_and_as_published(family, published):
    vae, channels = _released_vae(family)
    latent = torch.empty((1, channels, 1, 30, 52), device="meta")
    _, state = vae.decode(latent, vae.initial_state())
    with FlopCounterMode(display=False) as counter:
        vae.decode(latent, state)
    assert decoder_flops(family, 832, 480) == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert 4 * decoder_flops(family, 832, 480) == pytest.approx(published, rel=0.01)


def test_work_adds_up():
    assert Work(2, 3) * 2 + Work(1, 1) == Work(5, 7)
    assert Work(5, 7).total == 12


def test_what_fits_no_token_or_no_vae_is_refused():
    with pytest.raises(ValueError, match="multiples of 32, got 840 × 480"):
        latent_tokens(worldplay_5b.MODEL, 840, 480)
    with pytest.raises(ValueError, match=r"one of worldplay-8b, worldplay-5b, got 'mini'"):
        decoder_flops("mini", 832, 480)
