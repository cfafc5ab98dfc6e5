"""Video VAEs of a few thousand random weights: diffusers' modules, and ours over copies of them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers import AutoencoderKLHunyuanVideo15, AutoencoderKLWan
from keepworld_runtime.layers.hunyuan_vae import HunyuanVAE, load_hunyuan_vae
from keepworld_runtime.layers.wan_vae import WanVAE, load_wan_vae

Name = Literal["hunyuan", "wan"]
NAMES: tuple[Name, ...] = ("hunyuan", "wan")
CHANNELS = 4

CONFIGS: dict[Name, dict[str, Any]] = {
    "hunyuan": {
        "latent_channels": CHANNELS,
        "block_out_channels": (8, 8, 16, 16, 16),
        "layers_per_block": 2,
        "scaling_factor": 0.8,
    },
    "wan": {
        "base_dim": 4,
        "decoder_base_dim": 4,
        "z_dim": CHANNELS,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
        "latents_mean": [0.1, -0.2, 0.3, -0.4],
        "latents_std": [0.5, 0.8, 1.1, 1.4],
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_spatial": 16,
    },
}


def published(name: Name) -> Any:
    """diffusers' module, every weight random and the same at every call."""
    make = {"hunyuan": AutoencoderKLHunyuanVideo15, "wan": AutoencoderKLWan}[name]
    module: Any = make(**CONFIGS[name]).eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(7)
    for key, weight in sorted(module.state_dict().items()):
        noise = torch.randn(weight.shape, generator=draw)
        scale = weight[0].numel() ** -0.5 if key.endswith("weight") else 0.2
        weight.copy_(noise * scale + key.endswith("gamma"))
    return module


def ours(name: Name) -> HunyuanVAE | WanVAE:
    """The streaming VAE over the same weights."""
    load = {"hunyuan": load_hunyuan_vae, "wan": load_wan_vae}[name]
    return load(published(name).state_dict(), CONFIGS[name])


def latents(num_latents: int, height: int = 2, width: int = 3, seed: int = 0) -> torch.Tensor:
    """Random latents [1, C, num_latents, height, width]."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn((1, CHANNELS, num_latents, height, width), generator=draw)
