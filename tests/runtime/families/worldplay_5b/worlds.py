"""Small WorldPlay-5B networks, the recorded one and one of our own, and chunks for them to make."""

from __future__ import annotations

import json
import math

import numpy as np
import torch
from keepworld_runtime.families.latent.denoiser import ChunkInput
from keepworld_runtime.families.worldplay_5b.config import ROLLOUT, ModelConfig
from keepworld_runtime.families.worldplay_5b.model import WorldPlay5B
from keepworld_runtime.families.worldplay_5b.rollout import Rollout5B
from keepworld_runtime.memory.context import Context
from keepworld_runtime.memory.views import Views
from torch import Tensor

from tests import goldens

HEIGHT, WIDTH = 8, 12  # of a latent: 4 × 6 = 24 tokens
TOKENS = 24
CONFIG = ModelConfig(
    num_layers=2,
    num_attention_heads=4,
    attention_head_dim=16,
    ffn_dim=96,
    in_channels=4,
    out_channels=4,
    text_dim=20,
    freq_dim=32,
)


def small_model(config: ModelConfig = CONFIG, dtype: torch.dtype = torch.float32) -> WorldPlay5B:
    """A network with random weights, large enough for everything in it to show in what comes out."""
    torch.manual_seed(5)
    model = WorldPlay5B(config)
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
        scale = 1.5 / math.sqrt(fan_in) if parameter.ndim > 1 else 0.3
        torch.nn.init.normal_(parameter, std=scale)
    return model.requires_grad_(False).to(dtype)


def recorded_model() -> WorldPlay5B:
    """The network of the recordings, its weights loaded name for name."""
    weights, about = goldens.load(goldens.folder("worldplay5b") / "transformer_state_dict.safetensors")
    model = WorldPlay5B(config_of(about))
    model.load_state_dict(weights, strict=True)
    return model.requires_grad_(False)


def config_of(about: dict[str, str]) -> ModelConfig:
    """The configuration in a recording's metadata; what we have no word for is fixed in the network."""
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(about["config"]).items()
        if name in ModelConfig.__dataclass_fields__
    }
    return ModelConfig(**fields)


def walk(count: int, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Views:
    """The views of a walk that turns and goes forward, from `origin` on."""
    c2ws = np.tile(np.eye(4), (count, 1, 1))
    for index in range(count):
        angle = 0.05 * index
        c2ws[index, :3, :3] = [
            [math.cos(angle), 0, math.sin(angle)],
            [0, 1, 0],
            [-math.sin(angle), 0, math.cos(angle)],
        ]
        c2ws[index, :3, 3] = np.add(origin, [0.02 * index, 0.0, 0.08 * index])
    Ks = np.tile(np.array([[0.51, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]]), (count, 1, 1))
    return Views(viewmats=np.linalg.inv(c2ws), Ks=Ks, actions=np.arange(count) % 81)


def context_of(latents: Tensor, views: Views, indices: np.ndarray, pooling: np.ndarray | None = None) -> Context:
    """These of a world's latents [1, C, T, h, w], to be seen again."""
    sides = np.ones(len(indices), np.int64) if pooling is None else pooling
    return Context(indices=indices, latents=latents[:, :, indices], views=views[indices], pooling=sides)


def chunk_of(
    prompts: tuple[tuple[object, float], ...],
    *,
    num_context: int,
    views: Views | None = None,
    pooling: np.ndarray | None = None,
    image: Tensor | None = None,
    channels: int = CONFIG.in_channels,
) -> ChunkInput:
    """Four latents after `num_context` that are all seen again."""
    rng = torch.Generator().manual_seed(11)
    views = walk(num_context + 4) if views is None else views
    past = torch.randn(1, channels, num_context, HEIGHT, WIDTH, generator=rng)
    noise = torch.randn(1, channels, 4, HEIGHT, WIDTH, generator=rng)
    return ChunkInput(
        start=num_context,
        noise=noise,
        views=views[num_context:],
        context=context_of(past, views, np.arange(num_context), pooling),
        prompts=prompts,
        image=image,
    )


def states(seed: int = 3, text_dim: int = CONFIG.text_dim, length: int = 7) -> Tensor:
    """What a language model might say of a text, [1, length, text_dim]."""
    return torch.randn(1, length, text_dim, generator=torch.Generator().manual_seed(seed))


def small_rollout(model: WorldPlay5B | None = None) -> Rollout5B:
    return Rollout5B(small_model() if model is None else model, ROLLOUT, height=HEIGHT, width=WIDTH)
