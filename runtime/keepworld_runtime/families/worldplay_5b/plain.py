"""WorldPlay-5B computed the way it was published, on the same weights: what the fast form is tested against, and timed.

Source: the published code of HY-World 1.5's Wan variant. In every forward it projects the text's keys and values anew and
makes the tables of all 241 latents that a session could have; in every block it writes shifts, scales and gates out once a
token and derives the cameras' matrices; keys and values of both branches are kept side by side and put before the
chunk's own in every step; the pass over the context computes the last block to its end. Cameras stay where they are,
in the session's frame, in the network's dtype.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from keepworld_runtime.families.latent.denoiser import ChunkInput
from keepworld_runtime.families.worldplay_5b.config import RolloutConfig
from keepworld_runtime.families.worldplay_5b.model import Block, WorldPlay5B
from keepworld_runtime.layers.embedding import sinusoid
from keepworld_runtime.memory.views import Views

_SESSION = 241  # latents that a session has at most

KV = list[tuple[Tensor, Tensor]]
"""A block's keys and values each, [1, H, S, 2d]: rotated beside projected, raw beside projected."""


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """What every block is given.

    Attributes:
        modulation: [1, S, 6, C], a token.
        text: [1, L, C].
        turns: [S, d / 2] unit complex numbers.
        viewmats, Ks: [T, 4, 4] and [T, 3, 3].
    """

    modulation: Tensor
    text: Tensor
    turns: Tensor
    viewmats: Tensor
    Ks: Tensor


class Plain5B:
    """A `Denoiser` for one prompt at a time, on one device.

    Args:
        model: whose weights it uses.
        config: the walk.
    """

    def __init__(self, model: WorldPlay5B, config: RolloutConfig) -> None:
        self.model = model
        self.config = config

    def prepare(self, states: Tensor) -> Tensor:
        """The language model's states [1, L, text_dim] as they are: every forward projects them."""
        return states.to(self.model.device, self.model.dtype)

    @torch.inference_mode()
    def denoise(self, chunk: ChunkInput[Tensor]) -> Tensor:
        """Make the latents [1, C, T, h, w] of a chunk.

        Raises:
            ValueError: there is more than one prompt, or context is pooled: neither was published.
        """
        if len(chunk.prompts) != 1 or (chunk.context.pooling != 1).any():
            raise ValueError("the published way has one prompt and no pooling")
        text = chunk.prompts[0][0]
        device, context = self.model.device, chunk.context
        past: KV = []
        if len(context):
            levels = torch.full((len(context),), self.config.context_timestep, device=device)
            past = self._forward(context.latents, levels, context.views, text, [])[1]
        latents = chunk.noise.to(device, torch.float32)
        image = chunk.image if chunk.start == 0 else None
        if image is not None:
            latents = torch.cat([image.to(latents), latents[:, :, 1:]], dim=2)
        for sigma, next_sigma in itertools.pairwise(self.config.sigmas):
            levels = torch.full((latents.shape[2],), 1000 * sigma, device=device)
            if image is not None:
                levels[0] = self.config.context_timestep
            velocity, _ = self._forward(latents, levels, chunk.views, text, past)
            moved = latents + (next_sigma - sigma) * velocity
            latents = moved if image is None else torch.cat([latents[:, :, :1], moved[:, :, 1:]], dim=2)
        return latents

    def _forward(self, latents: Tensor, timesteps: Tensor, views: Views, states: Tensor, past: KV) -> tuple[Tensor, KV]:
        """The velocity [1, C, T, h, w], and every block's keys and values of these latents, `past` before them."""
        model, dtype, device = self.model, self.model.dtype, self.model.device
        embedder, frames = model.condition_embedder, latents.shape[2]
        patches = model.patch_embedding(latents.to(device, dtype))
        rows, columns = patches.shape[-2:]
        x = patches.flatten(2).transpose(1, 2)
        text = embedder.text_embedder(states)
        actions = torch.from_numpy(views.actions).to(device)
        time = embedder.time_embedder(sinusoid(timesteps, embedder.freq_dim).to(dtype))
        time = time + embedder.action_embedder(sinusoid(actions, embedder.freq_dim).to(dtype))
        modulation = embedder.time_proj(F.silu(time)).unflatten(-1, (6, -1))
        time, modulation = (each.repeat_interleave(rows * columns, dim=0)[None] for each in (time, modulation))
        start = past[0][0].shape[2] // (rows * columns) if past else 0
        angles = self._angles(rows, columns)[start : start + frames].flatten(0, 2)
        turns = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
        viewmats, Ks = (torch.from_numpy(each).to(device, dtype) for each in (views.viewmats, views.Ks))
        given = _Given(modulation, text, turns, viewmats, Ks)
        written: KV = []
        for layer, block in enumerate(model.blocks):
            assert isinstance(block, Block)
            x, keys, values = _block(block, x, given, past[layer] if past else None)
            written.append((keys, values))
        shift, scale = (model.scale_shift_table[:, None] + time[:, :, None]).float().unbind(2)
        x = model.proj_out(_shifted(x, shift, scale, model.config.eps))
        _, patch_rows, patch_columns = model.config.patch_size
        x = x.view(1, frames, rows, columns, patch_rows, patch_columns, -1).permute(0, 6, 1, 2, 4, 3, 5)
        return x.reshape(latents.shape), written

    def _angles(self, rows: int, columns: int) -> Tensor:
        """Angles [241, rows, columns, d / 2] of all that a session could have."""
        device, config = self.model.device, self.model.config
        axes = []
        for axis, (size, dim) in enumerate(zip((_SESSION, rows, columns), config.rope_dims, strict=True)):
            frequencies = 1 / config.rope_theta ** (torch.arange(0, dim, 2, dtype=torch.float64, device=device) / dim)
            angles = torch.outer(torch.arange(size, dtype=torch.float64, device=device), frequencies)
            shape = [1, 1, 1, -1]
            shape[axis] = size
            axes.append(angles.view(shape).expand(_SESSION, rows, columns, -1))
        return torch.cat(axes, dim=-1)


def _block(block: Block, x: Tensor, given: _Given, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens [1, S, C] after a block, and its keys and values."""
    project, unproject = _projections(given.viewmats, given.Ks)
    parts = (block.scale_shift_table[:, None] + given.modulation).float().unbind(2)  # six times [1, S, C]
    heads = block.attn1.num_heads
    z = _shifted(x, parts[0], parts[1], block.eps)
    q = _heads(block.attn1.norm_q(block.attn1.to_q(z)), heads)
    k = _heads(block.attn1.norm_k(block.attn1.to_k(z)), heads)
    v = _heads(block.attn1.to_v(z), heads)
    keys = torch.cat([_turned(k, given.turns), _mapped(unproject, k)], dim=-1)
    values = torch.cat([v, _mapped(unproject, v)], dim=-1)
    if past is not None:
        keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
    (placed_k, seen_k), (placed_v, seen_v) = keys.chunk(2, dim=-1), values.chunk(2, dim=-1)
    placed = F.scaled_dot_product_attention(_turned(q, given.turns), placed_k, placed_v)
    seen = F.scaled_dot_product_attention(_mapped(project.mT, q), seen_k, seen_v)
    out = block.attn1.to_out[0](_joined(placed)) + block.attn1.to_out_prope[0](_joined(_mapped(project, seen)))
    x = (x.float() + out * parts[2]).to(x.dtype)
    q = _heads(block.attn2.norm_q(block.attn2.to_q(block.norm2(x))), heads)
    k = _heads(block.attn2.norm_k(block.attn2.to_k(given.text)), heads)
    v = _heads(block.attn2.to_v(given.text), heads)
    x = x + block.attn2.to_out[0](_joined(F.scaled_dot_product_attention(q, k, v)))
    out = block.ffn(_shifted(x, parts[3], parts[4], block.eps))
    return (x.float() + out * parts[5]).to(x.dtype), keys, values


def _projections(viewmats: Tensor, Ks: Tensor) -> tuple[Tensor, Tensor]:
    """P and its inverse [T, 4, 4] of viewmats [T, 4, 4] and normalised Ks [T, 3, 3]."""
    back = torch.zeros_like(viewmats)
    back[:, :3, :3] = viewmats[:, :3, :3].mT
    back[:, :3, 3:] = -viewmats[:, :3, :3].mT @ viewmats[:, :3, 3:]
    back[:, 3, 3] = 1
    lift = torch.eye(4, dtype=viewmats.dtype, device=viewmats.device).repeat(len(Ks), 1, 1)
    lift[:, 0, 0], lift[:, 1, 1] = Ks[:, 0, 0], Ks[:, 1, 1]
    drop = torch.eye(4, dtype=viewmats.dtype, device=viewmats.device).repeat(len(Ks), 1, 1)
    drop[:, 0, 0], drop[:, 1, 1] = 1 / Ks[:, 0, 0], 1 / Ks[:, 1, 1]
    return lift @ viewmats, back @ drop


def _mapped(maps: Tensor, x: Tensor) -> Tensor:
    """Every four channels of x [1, H, T·n, d] times its latent's map [T, 4, 4]."""
    fours = x.unflatten(2, (len(maps), -1)).unflatten(-1, (-1, 4))
    return torch.einsum("tij,bhtncj->bhtnci", maps, fours).flatten(-2).flatten(2, 3)


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Channel pairs of x [1, H, S, d] as complex numbers, times `turns` [S, d / 2]."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


def _shifted(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    return (F.layer_norm(x.float(), x.shape[-1:], eps=eps) * (1 + scale) + shift).to(x.dtype)


def _heads(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)
