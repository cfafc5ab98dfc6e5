"""Small WorldPlay-8B networks, the recorded one and one of our own, and chunks for them to make."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import torch
from keepworld_runtime.families.latent.denoiser import ChunkInput
from keepworld_runtime.families.worldplay_8b.config import DISTILLED, ModelConfig, RolloutConfig
from keepworld_runtime.families.worldplay_8b.model import PromptStates, WorldPlay8B
from keepworld_runtime.families.worldplay_8b.rollout import PreparedPrompt, Rollout8B
from keepworld_runtime.layers.attention import Geometry
from keepworld_runtime.layers.camera_rope import camera_maps
from keepworld_runtime.layers.rope import grid_positions, rotary_table
from keepworld_runtime.layers.tokens import even
from keepworld_runtime.memory.context import Context
from keepworld_runtime.memory.views import Views
from torch import Tensor

from tests import goldens

HEIGHT, WIDTH = 4, 6  # of a latent
TOKENS = HEIGHT * WIDTH
CONFIG = ModelConfig(
    num_layers=2,
    hidden_size=64,
    num_heads=4,
    latent_channels=4,
    text_dim=48,
    text_tokens=12,
    byt5_dim=24,
    byt5_tokens=6,
    byt5_hidden=32,
    vision_dim=40,
    vision_tokens=5,
    refiner_heads=4,
    rope_dims=(4, 6, 6),
)
GUIDED = replace(DISTILLED, num_steps=3, guidance=6.0)
JOINT = replace(GUIDED, chunk_size=16, is_bidirectional=True, memory_size=32)

Loaded = tuple[dict[str, Tensor], dict[str, str]]


def small_model(dtype: torch.dtype = torch.float32) -> WorldPlay8B:
    """A network with random weights, large enough for everything in it to show in what comes out."""
    torch.manual_seed(5)
    model = WorldPlay8B(CONFIG)
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
        torch.nn.init.normal_(parameter, std=1 / math.sqrt(fan_in) if parameter.ndim > 1 else 0.3)
    return model.requires_grad_(False).to(dtype)


def recorded(name: str) -> Loaded:
    """The tensors and the metadata of a recording."""
    return goldens.load(goldens.folder("worldplay8b") / f"{name}.safetensors")


def recorded_model() -> WorldPlay8B:
    """The network of the recordings, its weights loaded name for name."""
    weights, about = recorded("model_tiny")
    told = json.loads(about["config"])
    config = replace(
        CONFIG,
        num_layers=told["mm_double_blocks_depth"],
        hidden_size=told["hidden_size"],
        num_heads=told["heads_num"],
        refiner_heads=told["heads_num"],
        latent_channels=told["in_channels"],
        text_dim=told["text_states_dim"],
        vision_dim=told["vision_states_dim"],
        byt5_dim=json.loads(about["byt5"])["in_dim"],
        byt5_hidden=json.loads(about["byt5"])["hidden_dim"],
        rope_dims=tuple(told["rope_dim_list"]),
        rope_theta=told["rope_theta"],
    )
    model = WorldPlay8B(config)
    model.load_state_dict(weights, strict=True)
    return model.requires_grad_(False)


def recorded_states(tensors: dict[str, Tensor]) -> PromptStates:
    """What the encoders had made of the texts; a picture whose states are all zero is none."""
    vision = tensors.get("in.vision_states")
    return PromptStates(
        text=tensors["in.text_states"],
        text_mask=tensors["in.text_mask"].bool(),
        byt5=tensors["in.byt5_states"],
        byt5_mask=tensors["in.byt5_mask"].bool(),
        vision=vision.expand(len(tensors["in.text_states"]), -1, -1) if vision is not None and vision.any() else None,
    )


def places(times: range, viewmats: Tensor, Ks: Tensor) -> Geometry:
    """Where whole latents are, at these times, seen by viewmats [..., T, 4, 4] and Ks [..., T, 3, 3]."""
    tables = rotary_table(grid_positions(times, HEIGHT, WIDTH), CONFIG.rope_dims, CONFIG.rope_theta)
    return Geometry(even(len(times), TOKENS), *tables, camera_maps(viewmats.double().numpy(), Ks.double().numpy()))


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


def states(seed: int = 3, texts: int = 1, length: int = 7, has_picture: bool = True) -> PromptStates:
    """What encoders might make of texts: each a token shorter than the one before, one word quoted, then padding."""
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.arange(length, length - texts, -1)
    return PromptStates(
        text=torch.randn(texts, 12, CONFIG.text_dim, generator=rng),
        text_mask=torch.arange(12) < lengths[:, None],
        byt5=torch.randn(texts, 6, CONFIG.byt5_dim, generator=rng),
        byt5_mask=(torch.arange(6) < 2).repeat(texts, 1),
        vision=torch.randn(texts, 5, CONFIG.vision_dim, generator=rng) if has_picture else None,
    )


def chunk_of(
    *prompts: tuple[PreparedPrompt, float],
    num_context: int,
    num_chunk: int = 4,
    views: Views | None = None,
    pooling: np.ndarray | None = None,
    image: Tensor | None = None,
) -> ChunkInput[PreparedPrompt]:
    """Latents after `num_context` that are all seen again."""
    rng = torch.Generator().manual_seed(11)
    views = walk(num_context + num_chunk) if views is None else views
    past = torch.randn(1, CONFIG.latent_channels, num_context, HEIGHT, WIDTH, generator=rng)
    return ChunkInput(
        start=num_context,
        noise=torch.randn(1, CONFIG.latent_channels, num_chunk, HEIGHT, WIDTH, generator=rng),
        views=views[num_context:],
        context=Context(
            indices=np.arange(num_context),
            latents=past,
            views=views[:num_context],
            pooling=np.ones(num_context, np.int64) if pooling is None else pooling,
        ),
        prompts=prompts,
        image=image,
    )


def rollout_of(model: WorldPlay8B, config: RolloutConfig = DISTILLED) -> Rollout8B:
    return Rollout8B(model, config, height=HEIGHT, width=WIDTH)
