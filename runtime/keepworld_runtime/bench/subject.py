"""A family's network and VAE with random weights, and the two ways in which the network makes a chunk."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from keepworld_runtime.bench.sizes import Sizes
from keepworld_runtime.families.latent.denoiser import ChunkInput, Denoiser
from keepworld_runtime.families.worldplay_5b import config as worldplay_5b
from keepworld_runtime.families.worldplay_5b.model import WorldPlay5B
from keepworld_runtime.families.worldplay_5b.parallelize import parallelize as parallelize_5b
from keepworld_runtime.families.worldplay_5b.plain import Plain5B
from keepworld_runtime.families.worldplay_5b.rollout import Rollout5B
from keepworld_runtime.families.worldplay_8b import config as worldplay_8b
from keepworld_runtime.families.worldplay_8b.model import PromptStates, WorldPlay8B
from keepworld_runtime.families.worldplay_8b.parallelize import parallelize as parallelize_8b
from keepworld_runtime.families.worldplay_8b.plain import Plain8B
from keepworld_runtime.families.worldplay_8b.rollout import Rollout8B
from keepworld_runtime.layers.hunyuan_vae import HunyuanVAE, empty_hunyuan_vae
from keepworld_runtime.layers.vae import VideoVAE, load_weights
from keepworld_runtime.layers.wan_vae import WanVAE, empty_wan_vae
from keepworld_runtime.memory.context import Context
from keepworld_runtime.memory.kv_cache import KVCache
from keepworld_runtime.memory.overlap import Field
from keepworld_runtime.memory.retrieval import Retrieval
from keepworld_runtime.memory.views import Views
from keepworld_runtime.parallelism.exchange import Exchange

PromptT = TypeVar("PromptT")
Network = WorldPlay8B | WorldPlay5B

LARGE = re.compile(
    r"double_blocks\.\d+\.img_(attn_(q|k|v|proj|prope_proj)|mlp\.fc[12])"  # 8B
    r"|blocks\.\d+\.(attn1\.to_(q|k|v|out\.0|out_prope\.0)|ffn\.net\.(0\.proj|2))"  # 5B
)
"""Names of the Linears that latents' tokens go through: nearly all of the work that is not attention."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Moment:
    """What a chunk is made from, but for the prompt; see `ChunkInput`."""

    start: int
    noise: Tensor
    views: Views
    context: Context


Way = Callable[[Moment], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """What is measured.

    Attributes:
        sizes: of it.
        model, vae: with random weights.
        vae_module: whose weights the VAE has.
        ours: makes a chunk's latents.
        make_plain: gives what makes them the published way, from the same weights.
        caches: our way's keys and values, once it has made a chunk.
        retrieval: how context is chosen.
    """

    sizes: Sizes
    model: Network
    vae: VideoVAE
    vae_module: nn.Module
    ours: Way
    make_plain: Callable[[], Way]
    caches: Callable[[], tuple[KVCache, ...]]
    retrieval: Retrieval


def random_network(sizes: Sizes, device: torch.device, dtype: torch.dtype) -> Network:
    """The network on its device, every weight random and the same at every call."""
    config = sizes.config
    with torch.device("meta"):
        model = WorldPlay5B(config) if isinstance(config, worldplay_5b.ModelConfig) else WorldPlay8B(config)
    model = model.to(dtype).to_empty(device=device)
    torch.manual_seed(0)
    for parameter in model.parameters():
        _draw(parameter)
    return model.requires_grad_(False).eval()


def parallelize(model: Network, exchange: Exchange) -> None:
    """Spread a network over processes; see its family's `parallelize`."""
    if isinstance(model, WorldPlay5B):
        parallelize_5b(model, exchange)
    else:
        parallelize_8b(model, exchange)


def make_subject(sizes: Sizes, model: Network) -> Subject:
    """Put everything round a network, which is spread over processes already if it shall be."""
    device, dtype = model.device, model.dtype
    module = _empty_vae(sizes)
    torch.manual_seed(0)
    weights = {
        name: _draw(torch.empty(like.shape, dtype=dtype, device=device)) for name, like in module.state_dict().items()
    }
    load_weights(module, weights, device, dtype)
    height, width = sizes.grid
    if isinstance(model, WorldPlay5B):
        assert isinstance(sizes.rollout, worldplay_5b.RolloutConfig)
        rollout_5b = Rollout5B(model, sizes.rollout, height=height, width=width)
        states_5b, plain_5b = _states_5b(sizes, model), Plain5B(model, sizes.rollout)
        return Subject(
            sizes=sizes,
            model=model,
            vae=WanVAE(module),
            vae_module=module,
            ours=_way(rollout_5b, rollout_5b.prepare(states_5b)),
            make_plain=lambda: _way(plain_5b, plain_5b.prepare(states_5b)),
            caches=lambda: (rollout_5b.cache,),
            retrieval=Retrieval(window=sizes.rollout.window, pinned=0, field=Field(dtype=np.float32)),
        )
    assert isinstance(sizes.rollout, worldplay_8b.RolloutConfig)
    rollout_8b = Rollout8B(model, sizes.rollout, height=height, width=width)
    states_8b, plain_8b = _states_8b(sizes, model), Plain8B(model, sizes.rollout)
    return Subject(
        sizes=sizes,
        model=model,
        vae=HunyuanVAE(module),
        vae_module=module,
        ours=_way(rollout_8b, rollout_8b.prepare(states_8b)),
        make_plain=lambda: _way(plain_8b, plain_8b.prepare(states_8b)),
        caches=lambda: rollout_8b.caches,
        retrieval=Retrieval(window=sizes.rollout.window),
    )


def count_decoder_flops(sizes: Sizes) -> int:
    """FLOPs of decoding one latent that is not a world's first, counted by torch on shapes without memory."""
    module = _empty_vae(sizes)
    vae: VideoVAE = WanVAE(module) if isinstance(sizes.config, worldplay_5b.ModelConfig) else HunyuanVAE(module)
    latent = torch.empty((1, channels_of(sizes), 1, *sizes.grid), device="meta")
    _, state = vae.decode(latent, vae.initial_state())
    with FlopCounterMode(display=False) as counter:
        vae.decode(latent, state)
    return counter.get_total_flops()


def channels_of(sizes: Sizes) -> int:
    """Of a latent."""
    config = sizes.config
    return config.in_channels if isinstance(config, worldplay_5b.ModelConfig) else config.latent_channels


def bytes_of(module: nn.Module) -> int:
    """Memory that a module's numbers take."""
    return sum(each.nbytes for each in module.state_dict().values())


def _empty_vae(sizes: Sizes) -> Any:  # diffusers' modules are not typed as torch's
    return (empty_wan_vae if isinstance(sizes.config, worldplay_5b.ModelConfig) else empty_hunyuan_vae)(sizes.vae)


def _draw(parameter: Tensor) -> Tensor:
    """Fill with random numbers that let what goes through keep its size."""
    fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
    return nn.init.normal_(parameter, std=0.5 / math.sqrt(fan_in))


def _way(denoiser: Denoiser[PromptT], prompt: PromptT) -> Way:
    def make(moment: Moment) -> Tensor:
        return denoiser.denoise(
            ChunkInput(
                start=moment.start,
                noise=moment.noise,
                views=moment.views,
                context=moment.context,
                prompts=((prompt, 1.0),),
                image=None,
            )
        )

    return make


def _states_5b(sizes: Sizes, model: WorldPlay5B) -> Tensor:
    return torch.randn(1, sizes.words, model.config.text_dim, device=model.device, dtype=model.dtype)


def _states_8b(sizes: Sizes, model: WorldPlay8B) -> PromptStates:
    config, device, dtype = model.config, model.device, model.dtype
    return PromptStates(
        text=torch.randn(1, sizes.words, config.text_dim, device=device, dtype=dtype),
        text_mask=torch.ones(1, sizes.words, dtype=torch.bool, device=device),
        byt5=torch.zeros(1, 1, config.byt5_dim, device=device, dtype=dtype),
        byt5_mask=torch.zeros(1, 1, dtype=torch.bool, device=device),
        vision=torch.randn(1, sizes.picture, config.vision_dim, device=device, dtype=dtype),
    )
