"""The network of WorldPlay-5B: Wan's blocks with a latent's own time and action, and a second, camera branch of attention.

Sources: Wan (arXiv 2503.20314), the backbone; HY-World 1.5 / WorldPlay (arXiv 2512.14614), what acts on it; PRoPE (Li et al.,
"Cameras as relative positional encoding"), the camera branch. Parameters have the released checkpoint's names and shapes.

Departs from the released code in what it computes twice or for nothing: shifts, scales and gates are made once a latent,
not a token; the text's keys and values once a prompt, places and cameras once a chunk; past keys and values are kept raw, in
slots, for both branches; the pass over the context ends with the last block's keys and values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from keepworld_runtime.families.worldplay_5b.config import ModelConfig
from keepworld_runtime.kernels.attention import Attend, sdpa
from keepworld_runtime.layers.attention import Geometry, attend_cached, attend_together
from keepworld_runtime.layers.embedding import sinusoid
from keepworld_runtime.layers.norm import RMSNorm, add_gated, layer_norm, modulate
from keepworld_runtime.layers.pooling import Pooling
from keepworld_runtime.layers.tokens import TokenLayout
from keepworld_runtime.memory.kv_cache import KVCache
from keepworld_runtime.parallelism.exchange import Alone, Exchange


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPrompt:
    """What the blocks' cross-attention sees of a text.

    Attributes:
        k, v: [layers, 1, H, L, d].
        bias: [1, 1, 1, L] added to the logits of its keys, or None.
    """

    k: Tensor
    v: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Row:
    """A row of latents on its way through the blocks: where it is, and what it attends to.

    Attributes:
        text: the prompt.
        queries: of the row's tokens.
        keys: of everything in the cache up to the row's end, the row among it.
        cache: of keys and values.
        at: the slot that the row's keys and values go to.
        pooling: how they are averaged on their way there, or None; then they attend to each other only.
    """

    text: PreparedPrompt
    queries: Geometry
    keys: Geometry
    cache: KVCache
    at: int
    pooling: Pooling | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Pass:
    """What all blocks share in one pass: the row, this process's part of it, and the kernels."""

    row: Row
    share: TokenLayout
    exchange: Exchange
    attend: Attend


class WorldPlay5B(nn.Module):
    """The network. It runs alone on one device; what spreads it over several is set from outside.

    Attributes:
        exchange: who holds which tokens and heads.
        attend: the kernel of every attention.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.config = config
        self.exchange: Exchange = Alone()
        self.attend: Attend = sdpa
        self.patch_embedding = nn.Conv3d(config.in_channels, dim, config.patch_size, stride=config.patch_size)
        self.condition_embedder = _Conditions(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.proj_out = nn.Linear(dim, config.out_channels * config.patch_size[1] * config.patch_size[2])

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.patch_embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.patch_embedding.weight.device

    def text_kv(self, states: Tensor) -> PreparedPrompt:
        """Every block's keys and values of a text, from the language model's states [1, L, text_dim].

        All L positions take part, those of padding too: the model was trained without a mask.
        """
        text = self.condition_embedder.text_embedder(states.to(self.device, self.dtype))
        pairs = [block.attn2.keys_values(text) for block in self.blocks if isinstance(block, Block)]
        return PreparedPrompt(torch.stack([k for k, _ in pairs]), torch.stack([v for _, v in pairs]))

    def write_context(self, latents: Tensor, timesteps: Tensor, actions: Tensor, row: Row) -> None:
        """Write the keys and values of latents that are seen again into the cache; arguments as of `velocity`."""
        self._blocks(latents, timesteps, actions, row, keys_only=True)

    def velocity(self, latents: Tensor, timesteps: Tensor, actions: Tensor, row: Row) -> Tensor:
        """The velocity, noise − data, of latents that attend to themselves and to all before them in the cache.

        Args:
            latents: [1, C, T, h, w].
            timesteps: [T], noise levels of 1000.
            actions: [T], classes 0 to 80.
            row: the tokens of the T latents.
        """
        x, time, share = self._blocks(latents, timesteps, actions, row, keys_only=False)
        shift, scale = (self.scale_shift_table[:, None] + time[:, :, None]).unbind(2)
        x = self.proj_out(modulate(layer_norm(x, self.config.eps), shift, scale, share))
        x = self.exchange.join(x, row.queries.layout.runs)
        return self._unpatchified(x, latents.shape)

    def _blocks(
        self, latents: Tensor, timesteps: Tensor, actions: Tensor, row: Row, *, keys_only: bool
    ) -> tuple[Tensor, Tensor, TokenLayout]:
        """This process's tokens [1, S/P, C] after the blocks, time and action [1, T, C], and the layout of the tokens."""
        layout = row.queries.layout
        share = layout.shared(self.exchange.num_ranks)
        x = self.patch_embedding(latents.to(self.dtype)).flatten(2).transpose(1, 2)
        x = self.exchange.split(x, layout.runs)
        time, modulation = self.condition_embedder(timesteps, actions)
        shared = _Pass(row, share, self.exchange, self.attend)
        last = len(self.blocks) - 1
        for layer, block in enumerate(self.blocks):
            x = block(x, modulation, shared, layer, keys_only=keys_only and layer == last)
        return x, time, share

    def _unpatchified(self, x: Tensor, shape: torch.Size) -> Tensor:
        """Latents [1, C, T, h, w] of `shape`, but for C, from tokens [1, S, 2·2·C], channels last."""
        _, _, frames, height, width = shape
        _, rows, columns = self.config.patch_size
        grid = x.view(1, frames, height // rows, width // columns, rows, columns, self.config.out_channels)
        return grid.permute(0, 6, 1, 2, 4, 3, 5).reshape(1, self.config.out_channels, frames, height, width)


class _Conditions(nn.Module):
    """What time and action do to a latent, and the text's way in."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.freq_dim = config.freq_dim
        self.time_embedder = _Perceptron(config.freq_dim, dim, nn.SiLU())
        self.action_embedder = _Perceptron(config.freq_dim, dim, nn.SiLU())
        self.time_proj = nn.Linear(dim, 6 * dim)
        self.text_embedder = _Perceptron(config.text_dim, dim, nn.GELU("tanh"))

    def forward(self, timesteps: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Time and action [1, T, C], and the shifts, scales and gates [1, T, 6, C] that they give, of [T] and [T]."""
        dtype = self.time_proj.weight.dtype
        moment, action = (sinusoid(each, self.freq_dim).to(dtype)[None] for each in (timesteps, actions))
        time = self.time_embedder(moment) + self.action_embedder(action)
        return time, self.time_proj(F.silu(time)).unflatten(-1, (6, -1))


class _Perceptron(nn.Module):
    def __init__(self, in_dim: int, dim: int, act: nn.Module) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, dim)
        self.act = act
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(self.act(self.linear_1(x)))


class Block(nn.Module):
    """Attention to the row and its past, attention to the text, feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.eps = config.eps
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)
        self.attn1 = _SelfAttention(config)
        self.attn2 = _CrossAttention(config)
        self.norm2 = nn.LayerNorm(dim, config.eps)
        self.ffn = _FeedForward(dim, config.ffn_dim)

    def forward(self, x: Tensor, modulation: Tensor, shared: _Pass, layer: int, *, keys_only: bool) -> Tensor:
        """Tokens [1, S/P, C] after this block; with `keys_only` as they came, once their keys and values are written."""
        parts = (self.scale_shift_table[:, None] + modulation).unbind(2)
        shift_attention, scale_attention, gate_attention, shift_ffn, scale_ffn, gate_ffn = parts
        z = modulate(layer_norm(x, self.eps), shift_attention, scale_attention, shared.share)
        if keys_only:
            self.attn1.write(z, shared, layer)
            return x
        x = add_gated(x, self.attn1(z, shared, layer), gate_attention, shared.share)
        x = x + self.attn2(self.norm2(x), shared, layer)
        z = modulate(layer_norm(x, self.eps), shift_ffn, scale_ffn, shared.share)
        return add_gated(x, self.ffn(z), gate_ffn, shared.share)


class _Attention(nn.Module):
    """Projections into heads, with q and k normalised over all of them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.norm_q = RMSNorm(dim, config.eps)
        self.norm_k = RMSNorm(dim, config.eps)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def queries(self, x: Tensor) -> Tensor:
        """[B, S, H, d] of x [B, S, C]."""
        return self.norm_q(self.to_q(x)).unflatten(-1, (self.num_heads, -1))

    def keys(self, x: Tensor) -> Tensor:
        """[B, S, H, d] of x [B, S, C]."""
        return self.norm_k(self.to_k(x)).unflatten(-1, (self.num_heads, -1))

    def values(self, x: Tensor) -> Tensor:
        """[B, S, H, d] of x [B, S, C]."""
        return self.to_v(x).unflatten(-1, (self.num_heads, -1))


class _SelfAttention(_Attention):
    """By place and by camera, each with an output projection of its own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.to_out_prope = nn.ModuleList([nn.Linear(config.hidden_size, config.hidden_size)])

    def forward(self, x: Tensor, shared: _Pass, layer: int) -> Tensor:
        """[1, S/P, C] of x [1, S/P, C], with its keys and values written into the cache."""
        row, runs = shared.row, shared.row.queries.layout.runs
        stacked = torch.stack([self.queries(x), self.keys(x), self.values(x)])
        q, k, v = shared.exchange.to_heads(stacked, runs)
        if row.pooling is None:
            outputs = attend_cached(
                q,
                k,
                v,
                queries=row.queries,
                keys=row.keys,
                cache=row.cache,
                layer=layer,
                at=row.at,
                attend=shared.attend,
            )
        else:
            row.cache.write(layer, row.pooling.average(k), row.pooling.average(v), row.at)
            outputs = attend_together(q, k, v, geometry=row.queries, text=None, bias=None, attend=shared.attend)[:2]
        placed, seen = shared.exchange.to_tokens(torch.stack(outputs), runs).flatten(-2)
        return self.to_out[0](placed) + self.to_out_prope[0](seen)

    def write(self, x: Tensor, shared: _Pass, layer: int) -> None:
        """Write the keys and values of x [1, S/P, C] into the cache, and no more."""
        row = shared.row
        stacked = torch.stack([self.keys(x), self.values(x)])
        k, v = shared.exchange.to_heads(stacked, row.queries.layout.runs)
        if row.pooling is not None:
            k, v = row.pooling.average(k), row.pooling.average(v)
        row.cache.write(layer, k, v, row.at)


class _CrossAttention(_Attention):
    """To the text, which has neither place nor camera, and which every process has whole."""

    def keys_values(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """[1, H, L, d] each of a text [1, L, C]."""
        return self.keys(text).transpose(1, 2), self.values(text).transpose(1, 2)

    def forward(self, x: Tensor, shared: _Pass, layer: int) -> Tensor:
        """[1, S/P, C] of x [1, S/P, C]."""
        text = shared.row.text
        out = shared.attend(self.queries(x).transpose(1, 2), text.k[layer], text.v[layer], text.bias)
        return self.to_out[0](out.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([_GELU(dim, ffn_dim), nn.Identity(), nn.Linear(ffn_dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net:
            x = layer(x)
        return x


class _GELU(nn.Module):
    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, ffn_dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate="tanh")
