"""WorldPlay-8B computed the way it was published, on the same weights: what the fast form is tested against, and timed.

Source: the published code of HY-World 1.5's HunyuanVideo variant. In every forward it makes the tables of places on the host, and
in every block it takes them to the device, writes shifts, scales and gates out once a token and derives a camera matrix for
each; keys and values of both branches are kept side by side, rotated and projected, and text, context and chunk are put
together anew in every block of every step; the pass over the context computes the last block to its end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from keepworld_runtime.families.latent.denoiser import ChunkInput
from keepworld_runtime.families.worldplay_8b.config import ModelConfig, RolloutConfig
from keepworld_runtime.families.worldplay_8b.model import Block, PromptStates, WorldPlay8B
from keepworld_runtime.families.worldplay_8b.rollout import PreparedPrompt, PreparedText
from keepworld_runtime.memory.views import Views
from keepworld_runtime.sampling.schedule import shifted_sigmas

_EPS = 1e-6

KV = list[tuple[Tensor, Tensor]]
"""A block's keys and values each, [2, H, S, d]: of the branch by place, and of the branch by camera."""


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """What every block is given.

    Attributes:
        vec: [1, S, C] time and action, a token.
        cos, sin: [S, d] on the host.
        viewmats, Ks: [S, 4, 4] and [S, 3, 3], a token.
    """

    vec: Tensor
    cos: Tensor
    sin: Tensor
    viewmats: Tensor
    Ks: Tensor


class Plain8B:
    """A `Denoiser` for one prompt at a time, on one device.

    Args:
        model: whose weights it uses.
        config: the walk.
    """

    def __init__(self, model: WorldPlay8B, config: RolloutConfig) -> None:
        self.model = model
        self.config = config

    @torch.inference_mode()
    def prepare(self, states: PromptStates) -> PreparedPrompt:
        """Every block's keys and values of one text, or of two under guidance: what is not wanted, then what is."""
        texts = states.to(self.model.device).unpadded()
        return PreparedPrompt(tuple(PreparedText(text, *self.model.text_kv(text)) for text in texts))

    @torch.inference_mode()
    def denoise(self, chunk: ChunkInput[PreparedPrompt]) -> Tensor:
        """Make the latents [1, C, T, h, w] of a chunk.

        Raises:
            ValueError: there is more than one prompt, or context is pooled: neither was published.
        """
        if len(chunk.prompts) != 1 or (chunk.context.pooling != 1).any():
            raise ValueError("the published way has one prompt and no pooling")
        way = self._joint if self.config.is_bidirectional else self._cached
        velocities = [way(chunk, text) for text in chunk.prompts[0][0].texts]
        latents = chunk.noise.to(self.model.device, torch.float32)
        for sigma, next_sigma in itertools.pairwise(shifted_sigmas(self.config.num_steps, self.config.shift)):
            flows = [velocity(latents, 1000 * sigma) for velocity in velocities]
            flow = flows[0] if len(flows) == 1 else flows[0] + self.config.guidance * (flows[1] - flows[0])
            latents = latents + flow * (next_sigma - sigma)
        return latents

    def _cached(self, chunk: ChunkInput[PreparedPrompt], text: PreparedText) -> Callable[[Tensor, float], Tensor]:
        context, past, num_seen = chunk.context, None, len(chunk.context)
        if num_seen:
            levels = self._levels(self.config.context_timestep, num_seen)
            seen = self._beside(context.latents, chunk, context.indices.tolist())
            past = self._vision(seen, levels, context.views, text, None)[1]

        def velocity(latents: Tensor, timestep: float) -> Tensor:
            inputs = self._beside(latents, chunk, range(chunk.start, chunk.start + latents.shape[2]))
            return self._vision(inputs, self._levels(timestep, latents.shape[2]), chunk.views, text, past)[0]

        return velocity

    def _joint(self, chunk: ChunkInput[PreparedPrompt], text: PreparedText) -> Callable[[Tensor, float], Tensor]:
        context, num_seen = chunk.context, len(chunk.context)
        indices = [*context.indices.tolist(), *range(chunk.start, chunk.start + len(chunk.views))]
        views = Views.join([context.views, chunk.views])

        def velocity(latents: Tensor, timestep: float) -> Tensor:
            levels = self._levels(timestep, latents.shape[2])
            if num_seen:
                latents = torch.cat([context.latents.to(latents), latents], dim=2)
                levels = torch.cat([self._levels(self.config.context_timestep, num_seen), levels])
            inputs = self._beside(latents, chunk, indices)
            return self._bidirectional(inputs, levels, views, text)[:, :, num_seen:]

        return velocity

    def _levels(self, timestep: float, count: int) -> Tensor:
        return torch.full((count,), timestep, device=self.model.device)

    def _beside(self, latents: Tensor, chunk: ChunkInput[PreparedPrompt], indices: range | list[int]) -> Tensor:
        """Latents with the picture's channels, [1, 2C + 1, N, h, w]."""
        latents = latents.to(self.model.device)
        picture = torch.zeros_like(latents)
        mask = torch.zeros_like(latents[:, :1])
        for place, index in enumerate(indices):
            if index == 0 and chunk.image is not None:
                picture[:, :, place], mask[:, :, place] = chunk.image[:, :, 0].to(latents), 1
        return torch.cat([latents, picture, mask], dim=1)

    def _vision(
        self, inputs: Tensor, timesteps: Tensor, views: Views, text: PreparedText, past: KV | None
    ) -> tuple[Tensor, KV]:
        """The velocity of latents, and every block's keys and values of theirs, `past` before them."""
        rows, columns = inputs.shape[-2:]
        x = self.model.img_in(inputs.to(self.model.dtype))
        start = past[0][0].shape[2] // (rows * columns) if past else 0
        given = self._given(inputs, timesteps, views, start)
        written: KV = []
        for layer, block in enumerate(self.model.double_blocks):
            assert isinstance(block, Block)
            shifts = block.img_mod.linear(F.silu(given.vec)).chunk(6, dim=-1)
            q, k, v = _both(block, x, shifts, given)
            if past is not None:
                k, v = torch.cat([past[layer][0], k], dim=2), torch.cat([past[layer][1], v], dim=2)
            written.append((k, v))
            text_k, text_v = (each[layer].expand(2, -1, -1, -1) for each in (text.k, text.v))
            placed, seen = F.scaled_dot_product_attention(
                q, torch.cat([text_k, k], dim=2), torch.cat([text_v, v], dim=2)
            )
            x = _finished(block, x, placed, seen, shifts, given)
        return self._final(x, given, inputs), written

    def _bidirectional(self, inputs: Tensor, timesteps: Tensor, views: Views, text: PreparedText) -> Tensor:
        """The velocity of latents that text sees too; the last timestep is the text's."""
        model = self.model
        x = model.img_in(inputs.to(model.dtype))
        said, _ = model.text_tokens(text.states, timesteps[-1:])
        given = self._given(inputs, timesteps, views, 0)
        said_vec = model.time_in(timesteps[-1:])[:, None]
        for block in model.double_blocks:
            assert isinstance(block, Block)
            shifts = block.img_mod.linear(F.silu(given.vec)).chunk(6, dim=-1)
            said_shifts = block.txt_mod.linear(F.silu(said_vec)).chunk(6, dim=-1)
            q, k, v = _both(block, x, shifts, given)
            z = _shifted(said, said_shifts[0], said_shifts[1])
            said_q, said_k = block.txt_attn_q(z), block.txt_attn_k(z)
            said_q = block.txt_attn_q_norm(_heads(said_q, block)).expand(2, -1, -1, -1)
            said_k = block.txt_attn_k_norm(_heads(said_k, block)).expand(2, -1, -1, -1)
            said_v = _heads(block.txt_attn_v(z), block).expand(2, -1, -1, -1)
            q, k, v = (torch.cat(pair, dim=2) for pair in ((q, said_q), (k, said_k), (v, said_v)))
            out = F.scaled_dot_product_attention(q, k, v)
            (placed, seen), heard = out[:, :, : x.shape[1]], out[:1, :, x.shape[1] :]
            x = _finished(block, x, placed, seen, shifts, given)
            said = said + block.txt_attn_proj(heard.transpose(1, 2).flatten(2)) * said_shifts[2]
            said = said + block.txt_mlp(_shifted(said, said_shifts[3], said_shifts[4])) * said_shifts[5]
        return self._final(x, given, inputs)

    def _given(self, inputs: Tensor, timesteps: Tensor, views: Views, start: int) -> _Given:
        model, (frames, rows, columns) = self.model, inputs.shape[2:]
        vec = model.time_in(timesteps) + model.action_in(torch.from_numpy(views.actions).to(model.device))
        cos, sin = _table(model.config, start, frames, rows, columns)
        tokens = rows * columns
        viewmats = torch.from_numpy(views.viewmats).to(model.device, model.dtype).repeat_interleave(tokens, dim=0)
        Ks = torch.from_numpy(views.Ks).to(model.device, model.dtype).repeat_interleave(tokens, dim=0)
        return _Given(vec.repeat_interleave(tokens, dim=0)[None], cos, sin, viewmats, Ks)

    def _final(self, x: Tensor, given: _Given, inputs: Tensor) -> Tensor:
        shift, scale = self.model.final_layer.adaLN_modulation(F.silu(given.vec)).chunk(2, dim=-1)
        x = self.model.final_layer.linear(_shifted(x, shift, scale))
        return x.transpose(1, 2).unflatten(2, inputs.shape[2:]).float()


def _both(block: Block, x: Tensor, shifts: tuple[Tensor, ...], given: _Given) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [2, H, S, d] of tokens x [1, S, C]: by place, and by camera."""
    z = _shifted(x, shifts[0], shifts[1])
    q = block.img_attn_q_norm(_heads(block.img_attn_q(z), block))
    k = block.img_attn_k_norm(_heads(block.img_attn_k(z), block))
    v = _heads(block.img_attn_v(z), block)
    cos, sin = given.cos.to(x.device), given.sin.to(x.device)
    project, unproject = _projections(given.viewmats, given.Ks)
    return (
        torch.cat([_turned(q, cos, sin), _mapped(project.mT, q)]),
        torch.cat([_turned(k, cos, sin), _mapped(unproject, k)]),
        torch.cat([v, _mapped(unproject, v)]),
    )


def _finished(
    block: Block, x: Tensor, placed: Tensor, seen: Tensor, shifts: tuple[Tensor, ...], given: _Given
) -> Tensor:
    """Tokens x [1, S, C] after both outputs of attention [H, S, d], and the MLP."""
    project, _ = _projections(given.viewmats, given.Ks)
    by_place = block.img_attn_proj(placed.transpose(0, 1).flatten(1))
    by_camera = block.img_attn_prope_proj(_mapped(project, seen[None])[0].transpose(0, 1).flatten(1))
    x = x + (by_place + by_camera) * shifts[2]
    return x + block.img_mlp(_shifted(x, shifts[3], shifts[4])) * shifts[5]


def _table(config: ModelConfig, start: int, frames: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine [S, d] on the host, each for both channels of a pair."""
    grid = torch.meshgrid(torch.arange(start, start + frames), torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [
        torch.outer(place.flatten().double(), 1 / config.rope_theta ** (torch.arange(0, dim, 2).double() / dim))
        for place, dim in zip(grid, config.rope_dims, strict=True)
    ]
    table = torch.cat(angles, dim=-1).repeat_interleave(2, dim=-1)
    return table.cos().float(), table.sin().float()


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    real, imaginary = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    crossed = torch.stack([-imaginary, real], dim=-1).flatten(-2)
    return (x.float() * cos + crossed * sin).to(x.dtype)


def _projections(viewmats: Tensor, Ks: Tensor) -> tuple[Tensor, Tensor]:
    """P and its inverse [S, 4, 4] of viewmats [S, 4, 4] and normalised Ks [S, 3, 3], of every token."""
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
    """Every four channels of x [1, H, S, d] times their token's map [S, 4, 4]."""
    return torch.einsum("sij,bhscj->bhsci", maps, x.unflatten(-1, (-1, 4))).flatten(-2)


def _shifted(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x.float(), x.shape[-1:], eps=_EPS).to(x.dtype) * (1 + scale) + shift


def _heads(x: Tensor, block: Block) -> Tensor:
    """[1, H, S, d] of x [1, S, C]."""
    return x.unflatten(-1, (-1, block.img_attn_q_norm.weight.shape[0])).transpose(1, 2)
