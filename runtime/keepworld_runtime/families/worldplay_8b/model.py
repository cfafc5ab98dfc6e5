"""The network of WorldPlay-8B: HunyuanVideo-1.5's double-stream blocks with a latent's own time and action, and a second,
camera branch of attention.

Sources: HunyuanVideo 1.5 (arXiv 2511.18870), the backbone; HY-World 1.5 / WorldPlay (arXiv 2512.14614), what acts on it; PRoPE
(Li et al., "Cameras as relative positional encoding"), the camera branch. Parameters have the released checkpoint's names
and shapes.

It is run in three passes. "Text" takes the text alone through all blocks and keeps its keys and values. "Vision" takes
latents that attend to a cache of text and context and to each other; text never sees them. "Joint" is the bidirectional
model's: latents and text attend to each other in one sequence.

Departs from the released code in what it computes twice or for nothing: shifts, scales and gates are made once a latent,
not a token; places and cameras once a chunk; past keys and values are kept raw, in slots, for both branches; the passes that
only keep keys and values end with the last block's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from keepworld_runtime.families.worldplay_8b.config import ModelConfig
from keepworld_runtime.kernels.attention import Attend, sdpa
from keepworld_runtime.layers.attention import Geometry, attend_by_place, attend_cached, attend_together
from keepworld_runtime.layers.embedding import sinusoid
from keepworld_runtime.layers.norm import RMSNorm, add_gated, layer_norm, modulate
from keepworld_runtime.layers.pooling import Pooling
from keepworld_runtime.layers.tokens import TokenLayout, even
from keepworld_runtime.memory.kv_cache import KVCache
from keepworld_runtime.parallelism.exchange import Alone, Exchange

_EPS = 1e-6
_TEXT, _BYT5, _VISION = range(3)  # rows of cond_type_embedding


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PromptStates:
    """What the encoders make of texts, and of the picture that a world begins with.

    Attributes:
        text: [B, L, text_dim] of the language model.
        text_mask: [B, L] bool, false for padding, which comes last.
        byt5: [B, G, byt5_dim] of the glyph encoder, for what the text quotes.
        byt5_mask: [B, G] bool.
        vision: [B, N, vision_dim] of the image encoder; None if there is no picture.
    """

    text: Tensor
    text_mask: Tensor
    byt5: Tensor
    byt5_mask: Tensor
    vision: Tensor | None

    def to(self, device: torch.device) -> PromptStates:
        """The same on a device."""
        return PromptStates(
            text=self.text.to(device),
            text_mask=self.text_mask.to(device),
            byt5=self.byt5.to(device),
            byt5_mask=self.byt5_mask.to(device),
            vision=None if self.vision is None else self.vision.to(device),
        )

    def unpadded(self) -> tuple[PromptStates, ...]:
        """One after another, each without padding. Waits for the device.

        Raises:
            ValueError: a text is nothing but padding.
        """
        if not bool(self.text_mask.any(dim=1).all()):
            raise ValueError(
                f"text_mask must be true somewhere for every text, got {self.text_mask.sum(1).tolist()} of them"
            )
        return tuple(
            PromptStates(
                text=self.text[i : i + 1, self.text_mask[i]],
                text_mask=self.text_mask[i : i + 1, self.text_mask[i]],
                byt5=self.byt5[i : i + 1, self.byt5_mask[i]],
                byt5_mask=self.byt5_mask[i : i + 1, self.byt5_mask[i]],
                vision=None if self.vision is None else self.vision[i : i + 1],
            )
            for i in range(len(self.text))
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Row:
    """A row of latents on its way through the blocks: where it is, and what it attends to.

    Attributes:
        queries: of the row's tokens.
        keys: of everything in the cache from the text's end to the row's, the row among it.
        cache: of keys and values; it has the text's.
        at: the slot that the row's keys and values go to.
        pooling: how they are averaged on their way there, or None; then they attend to the text and each other only.
    """

    queries: Geometry
    keys: Geometry
    cache: KVCache
    at: int
    pooling: Pooling | None = None


@dataclass(frozen=True, slots=True, eq=False)
class JointText:
    """Text that takes part in a joint pass.

    Attributes:
        tokens: [B, L, C], of `text_tokens`.
        timesteps: [B].
        bias: [B, 1, 1, L] added to the logits of its keys, or None.
    """

    tokens: Tensor
    timesteps: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TextPass:
    """What all blocks share when text passes through them alone: silu of its time [B, 1, C]."""

    vec: Tensor
    attend: Attend


@dataclass(frozen=True, slots=True, eq=False)
class VisionPass:
    """The same for latents: silu of time and action [1, T, C], the row, and this process's part of it."""

    vec: Tensor
    row: Row
    share: TokenLayout
    exchange: Exchange
    attend: Attend


@dataclass(frozen=True, slots=True, eq=False)
class JointPass:
    """The same for both at once; bias [B, 1, 1, S + L] or None."""

    vec: Tensor
    text_vec: Tensor
    geometry: Geometry
    has_cameras: bool
    bias: Tensor | None
    share: TokenLayout
    exchange: Exchange
    attend: Attend


class WorldPlay8B(nn.Module):
    """The network. It runs alone on one device; what spreads it over several is set from outside.

    Attributes:
        exchange: who holds which tokens and heads.
        attend: the kernel of every attention of the blocks.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.config = config
        self.exchange: Exchange = Alone()
        self.attend: Attend = sdpa
        self.img_in = _LatentsIn(2 * config.latent_channels + 1, dim)
        self.txt_in = _TextIn(config)
        self.byt5_in = _GlyphsIn(config)
        self.vision_in = _PictureIn(config)
        self.cond_type_embedding = nn.Embedding(3, dim)
        self.time_in = _Number(config.sinusoid_dim, dim)
        self.action_in = _Number(config.sinusoid_dim, dim)
        self.double_blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_layer = _Final(dim, config.latent_channels)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.img_in.proj.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.img_in.proj.weight.device

    def text_tokens(self, states: PromptStates, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """All that is said and shown beforehand as tokens: the picture's, the quoted words', the text's, then padding.

        Args:
            states: of B texts.
            timesteps: [B], noise levels of 1000.

        Returns:
            Tokens [B, L, C], and a mask [B, L], true for those that are not padding.
        """
        kinds = self.cond_type_embedding.weight
        text = self.txt_in(states.text.to(self.dtype), states.text_mask, timesteps) + kinds[_TEXT]
        byt5 = self.byt5_in(states.byt5.to(self.dtype)) + kinds[_BYT5]
        parts, masks = [byt5, text], [states.byt5_mask, states.text_mask]
        if states.vision is not None:
            picture = self.vision_in(states.vision.to(self.dtype)) + kinds[_VISION]
            parts, masks = [picture, *parts], [masks[0].new_ones(picture.shape[:2]), *masks]
        tokens, mask = torch.cat(parts, dim=1), torch.cat(masks, dim=1)
        order = mask.logical_not().int().argsort(dim=1, stable=True)
        tokens = (tokens * mask[..., None]).gather(1, order[..., None].expand_as(tokens))
        return tokens, mask.gather(1, order)

    def text_kv(self, states: PromptStates) -> tuple[Tensor, Tensor]:
        """The text pass: every block's keys and values [layers, 1, H, L, d] of one text without padding, at noise level 0.

        Every process computes all heads, without asking the others, and keeps its own.
        """
        timesteps = torch.zeros(1, device=self.device)
        x, _ = self.text_tokens(states, timesteps)
        given = TextPass(F.silu(self.time_in(timesteps))[:, None], self.attend)
        keys, values = [], []
        for layer, block in enumerate(self.double_blocks):
            x, k, v = block(given, x, layer, keys_only=self._is_last(layer))
            keys.append(self.exchange.own_heads(k))
            values.append(self.exchange.own_heads(v))
        return torch.stack(keys), torch.stack(values)

    def write_context(self, latents: Tensor, timesteps: Tensor, actions: Tensor, row: Row) -> None:
        """The vision pass over context: write its keys and values into the cache. Arguments as of `velocity`."""
        self._vision(latents, timesteps, actions, row, keys_only=True)

    def velocity(self, latents: Tensor, timesteps: Tensor, actions: Tensor, row: Row) -> Tensor:
        """The vision pass over a chunk: the velocity, noise − data, [1, C, T, h, w] of latents.

        Args:
            latents: [1, 2C + 1, T, h, w]: the latents, the picture's latent where it belongs, and where that is.
            timesteps: [T], noise levels of 1000.
            actions: [T], classes 0 to 80.
            row: the tokens of the T latents.
        """
        x, vec, share = self._vision(latents, timesteps, actions, row, keys_only=False)
        x = self.exchange.join(self.final_layer(x, vec, share), row.queries.layout.runs)
        return _as_latents(x, latents)

    def bidirectional(
        self, latents: Tensor, timesteps: Tensor, actions: Tensor | None, text: JointText, geometry: Geometry
    ) -> Tensor:
        """The joint pass: the velocity [B, C, T, h, w] of latents and text that attend to each other.

        Args:
            latents: [B, 2C + 1, T, h, w], as of `velocity`.
            timesteps: [B, T].
            actions: [B, T]; None: the base network, which knows neither actions nor cameras.
            text: every process has all of it.
            geometry: of the latents' tokens.
        """
        layout = geometry.layout
        share = layout.shared(self.exchange.num_ranks)
        vec = self.time_in(timesteps) if actions is None else self.time_in(timesteps) + self.action_in(actions)
        given = JointPass(
            vec=F.silu(vec),
            text_vec=F.silu(self.time_in(text.timesteps))[:, None],
            geometry=geometry,
            has_cameras=actions is not None,
            bias=None if text.bias is None else F.pad(text.bias, (layout.num_tokens, 0)),
            share=share,
            exchange=self.exchange,
            attend=self.attend,
        )
        x = self.exchange.split(self.img_in(latents.to(self.dtype)), layout.runs)
        tokens = text.tokens
        for layer, block in enumerate(self.double_blocks):
            x, tokens = block(given, (x, tokens), layer, keys_only=False)
        return _as_latents(self.exchange.join(self.final_layer(x, given.vec, share), layout.runs), latents)

    def _vision(
        self, latents: Tensor, timesteps: Tensor, actions: Tensor, row: Row, *, keys_only: bool
    ) -> tuple[Tensor, Tensor, TokenLayout]:
        """This process's tokens [1, S/P, C] after the blocks, silu of time and action [1, T, C], and the tokens' layout."""
        layout = row.queries.layout
        share = layout.shared(self.exchange.num_ranks)
        vec = F.silu(self.time_in(timesteps[None]) + self.action_in(actions[None]))
        given = VisionPass(vec, row, share, self.exchange, self.attend)
        x = self.exchange.split(self.img_in(latents.to(self.dtype)), layout.runs)
        for layer, block in enumerate(self.double_blocks):
            x = block(given, x, layer, keys_only=keys_only and self._is_last(layer))
        return x, vec, share

    def _is_last(self, layer: int) -> bool:
        return layer == len(self.double_blocks) - 1


def _as_latents(x: Tensor, like: Tensor) -> Tensor:
    """Tokens [B, T·h·w, C] as latents [B, C, T, h, w], where `like` is [B, ..., T, h, w]."""
    return x.transpose(1, 2).unflatten(2, like.shape[2:])


class _Shifts(NamedTuple):
    """How time and action act on a block's two halves, [B, T, C] each."""

    shift_attention: Tensor
    scale_attention: Tensor
    gate_attention: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Stream:
    """One of a block's two streams: what latents, or text, have of their own."""

    mod: _Modulation
    to_q: nn.Linear
    to_k: nn.Linear
    to_v: nn.Linear
    norm_q: RMSNorm
    norm_k: RMSNorm
    proj: nn.Linear
    mlp: _Mlp

    def shifts(self, vec: Tensor) -> _Shifts:
        return _Shifts(*self.mod.linear(vec).chunk(6, dim=-1))

    def kv(self, x: Tensor, shifts: _Shifts, layout: TokenLayout) -> Tensor:
        """Keys and values [2, B, S, H, d] of tokens x [B, S, C]."""
        return self._projected(x, shifts, layout, with_queries=False)

    def qkv(self, x: Tensor, shifts: _Shifts, layout: TokenLayout) -> Tensor:
        """Queries, keys and values [3, B, S, H, d] of tokens x [B, S, C]."""
        return self._projected(x, shifts, layout, with_queries=True)

    def finished(self, x: Tensor, attended: Tensor, shifts: _Shifts, layout: TokenLayout) -> Tensor:
        """Tokens x after attention, whose projected output is `attended`, and MLP, [B, S, C] each."""
        x = add_gated(x, attended, shifts.gate_attention, layout)
        z = modulate(layer_norm(x, _EPS), shifts.shift_mlp, shifts.scale_mlp, layout)
        return add_gated(x, self.mlp(z), shifts.gate_mlp, layout)

    def _projected(self, x: Tensor, shifts: _Shifts, layout: TokenLayout, *, with_queries: bool) -> Tensor:
        z = modulate(layer_norm(x, _EPS), shifts.shift_attention, shifts.scale_attention, layout)
        heads = (-1, self.norm_q.weight.shape[0])
        parts = [self.norm_k(self.to_k(z).unflatten(-1, heads)), self.to_v(z).unflatten(-1, heads)]
        if with_queries:
            parts.insert(0, self.norm_q(self.to_q(z).unflatten(-1, heads)))
        return torch.stack(parts)


class Block(nn.Module):
    """Two streams that meet in attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, hidden = config.hidden_size, config.mlp_ratio * config.hidden_size
        self.img_mod = _Modulation(dim)
        self.img_attn_q = nn.Linear(dim, dim)
        self.img_attn_k = nn.Linear(dim, dim)
        self.img_attn_v = nn.Linear(dim, dim)
        self.img_attn_q_norm = RMSNorm(config.head_dim, _EPS)
        self.img_attn_k_norm = RMSNorm(config.head_dim, _EPS)
        self.img_attn_proj = nn.Linear(dim, dim)
        self.img_attn_prope_proj = nn.Linear(dim, dim)
        self.img_mlp = _Mlp(dim, hidden, nn.GELU("tanh"))
        self.txt_mod = _Modulation(dim)
        self.txt_attn_q = nn.Linear(dim, dim)
        self.txt_attn_k = nn.Linear(dim, dim)
        self.txt_attn_v = nn.Linear(dim, dim)
        self.txt_attn_q_norm = RMSNorm(config.head_dim, _EPS)
        self.txt_attn_k_norm = RMSNorm(config.head_dim, _EPS)
        self.txt_attn_proj = nn.Linear(dim, dim)
        self.txt_mlp = _Mlp(dim, hidden, nn.GELU("tanh"))

    @property
    def img(self) -> _Stream:
        """The latents' stream."""
        return _Stream(
            self.img_mod,
            self.img_attn_q,
            self.img_attn_k,
            self.img_attn_v,
            self.img_attn_q_norm,
            self.img_attn_k_norm,
            self.img_attn_proj,
            self.img_mlp,
        )

    @property
    def txt(self) -> _Stream:
        """The text's stream."""
        return _Stream(
            self.txt_mod,
            self.txt_attn_q,
            self.txt_attn_k,
            self.txt_attn_v,
            self.txt_attn_q_norm,
            self.txt_attn_k_norm,
            self.txt_attn_proj,
            self.txt_mlp,
        )

    def forward(
        self,
        given: TextPass | VisionPass | JointPass,
        x: Tensor | tuple[Tensor, Tensor],
        layer: int,
        *,
        keys_only: bool,
    ) -> Tensor | tuple[Tensor, ...]:
        """Tokens after this block. With `keys_only` they are as they came, once their keys and values are known.

        Every pass comes in here, so that whoever loads, compiles or watches blocks has one place to do so.

        Args:
            given: which pass it is.
            x: [B, S, C]; in a joint pass latents and text.
            layer: which block this is.
            keys_only: whether nothing comes after the keys and values; not in a joint pass.

        Returns:
            x; in a text pass also its keys and values [B, H, L, d].
        """
        match given, x:
            case TextPass(), Tensor():
                return self._text(given, x, keys_only=keys_only)
            case VisionPass(), Tensor():
                return self._vision(given, x, layer, keys_only=keys_only)
            case JointPass(), (Tensor() as latents, Tensor() as text):
                return self._joint(given, latents, text)
        raise TypeError(f"a {type(given).__name__} has no tokens of type {type(x).__name__}")

    def _text(self, given: TextPass, x: Tensor, *, keys_only: bool) -> tuple[Tensor, Tensor, Tensor]:
        stream, layout = self.txt, even(1, x.shape[1])
        shifts = stream.shifts(given.vec)
        if keys_only:
            k, v = stream.kv(x, shifts, layout).transpose(2, 3)
            return x, k, v
        q, k, v = stream.qkv(x, shifts, layout).transpose(2, 3)
        attended = stream.proj(given.attend(q, k, v).transpose(1, 2).flatten(2))
        return stream.finished(x, attended, shifts, layout), k, v

    def _vision(self, given: VisionPass, x: Tensor, layer: int, *, keys_only: bool) -> Tensor:
        stream, row, runs = self.img, given.row, given.row.queries.layout.runs
        shifts = stream.shifts(given.vec)
        if keys_only:
            k, v = given.exchange.to_heads(stream.kv(x, shifts, given.share), runs)
            _write(row, layer, k, v)
            return x
        q, k, v = given.exchange.to_heads(stream.qkv(x, shifts, given.share), runs)
        if row.pooling is None:
            placed, seen = attend_cached(
                q,
                k,
                v,
                queries=row.queries,
                keys=row.keys,
                cache=row.cache,
                layer=layer,
                at=row.at,
                attend=given.attend,
            )
        else:
            _write(row, layer, k, v)
            bias = row.cache.text_bias
            placed, seen, _ = attend_together(
                q,
                k,
                v,
                geometry=row.queries,
                text=(q[:, :, :0], *row.cache.text(layer)),  # it is seen, and sees nothing
                bias=None if bias is None else F.pad(bias, (k.shape[2], 0)),
                attend=given.attend,
            )
        outputs = given.exchange.to_tokens(torch.stack([placed, seen]), runs).flatten(-2)
        attended = self.img_attn_proj(outputs[0]) + self.img_attn_prope_proj(outputs[1])
        return stream.finished(x, attended, shifts, given.share)

    def _joint(self, given: JointPass, x: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        exchange, geometry, runs = given.exchange, given.geometry, given.geometry.layout.runs
        layout = even(1, text.shape[1])
        shifts, text_shifts = self.img.shifts(given.vec), self.txt.shifts(given.text_vec)
        q, k, v = exchange.to_heads(self.img.qkv(x, shifts, given.share), runs)
        text_qkv = self.txt.qkv(text, text_shifts, layout).transpose(2, 3)
        text_q, text_k, text_v = (exchange.own_heads(each) for each in text_qkv)
        if given.has_cameras:
            placed, seen, text_out = attend_together(
                q,
                k,
                v,
                geometry=geometry,
                text=(text_q, text_k, text_v),
                bias=given.bias,
                attend=given.attend,
            )
            outputs = exchange.to_tokens(torch.stack([placed, seen]), runs).flatten(-2)
            attended = self.img_attn_proj(outputs[0]) + self.img_attn_prope_proj(outputs[1])
        else:
            placed, text_out = attend_by_place(
                q,
                k,
                v,
                geometry=geometry,
                text=(text_q, text_k, text_v),
                bias=given.bias,
                attend=given.attend,
            )
            attended = self.img_attn_proj(exchange.to_tokens(placed[None], runs)[0].flatten(-2))
        text_attended = self.txt_attn_proj(exchange.all_heads(text_out).transpose(1, 2).flatten(2))
        return (
            self.img.finished(x, attended, shifts, given.share),
            self.txt.finished(text, text_attended, text_shifts, layout),
        )


def _write(row: Row, layer: int, k: Tensor, v: Tensor) -> None:
    if row.pooling is not None:
        k, v = row.pooling.average(k), row.pooling.average(v)
    row.cache.write(layer, k, v, row.at)


class _Modulation(nn.Module):
    """Six vectors from silu of time and action."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 6 * dim)


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int, act: nn.Module) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = act
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class _Number(nn.Module):
    """A number as a vector: a noise level of 1000, or the class of an action, which is taken for a number too."""

    def __init__(self, sinusoid_dim: int, dim: int) -> None:
        super().__init__()
        self.sinusoid_dim = sinusoid_dim
        self.mlp = nn.Sequential(nn.Linear(sinusoid_dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, values: Tensor) -> Tensor:
        """[..., C] of values [...]."""
        return self.mlp(sinusoid(values, self.sinusoid_dim).to(next(self.mlp.parameters()).dtype))


class _LatentsIn(nn.Module):
    """A token for each cell."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, dim, kernel_size=1)

    def forward(self, latents: Tensor) -> Tensor:
        """[B, T·h·w, C] of [B, channels, T, h, w]."""
        return self.proj(latents).flatten(2).transpose(1, 2)


class _Final(nn.Module):
    """From tokens to the channels of latents."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, channels)
        self.adaLN_modulation = nn.Sequential(nn.Identity(), nn.Linear(dim, 2 * dim))  # silu has been taken

    def forward(self, x: Tensor, vec: Tensor, layout: TokenLayout) -> Tensor:
        """Tokens x [B, S, C] by silu of time and action [B, T, C]."""
        shift, scale = self.adaLN_modulation(vec).chunk(2, dim=-1)
        return self.linear(modulate(layer_norm(x, _EPS), shift, scale, layout))


class _GlyphsIn(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(config.byt5_dim)
        self.fc1 = nn.Linear(config.byt5_dim, config.byt5_hidden)
        self.fc2 = nn.Linear(config.byt5_hidden, config.byt5_hidden)
        self.fc3 = nn.Linear(config.byt5_hidden, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        x = F.gelu(self.fc1(self.layernorm(states)))
        return self.fc3(F.gelu(self.fc2(x)))


class _PictureIn(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.LayerNorm(config.vision_dim),
            nn.Linear(config.vision_dim, config.vision_dim),
            nn.GELU(),
            nn.Linear(config.vision_dim, config.hidden_size),
            nn.LayerNorm(config.hidden_size),
        )

    def forward(self, states: Tensor) -> Tensor:
        return self.proj(states)


class _TextIn(nn.Module):
    """The language model's states, refined by a small transformer of their own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.input_embedder = nn.Linear(config.text_dim, dim)
        self.t_embedder = _Number(config.sinusoid_dim, dim)
        self.c_embedder = _Gist(config.text_dim, dim)
        self.individual_token_refiner = _Refiner(config)

    def forward(self, states: Tensor, mask: Tensor, timesteps: Tensor) -> Tensor:
        """[B, L, C] of states [B, L, text_dim], their mask [B, L], and noise levels [B]."""
        counts = mask[..., None].float()
        mean = (states.float() * counts).sum(1) / counts.sum(1)
        vec = F.silu(self.t_embedder(timesteps) + self.c_embedder(mean.to(states.dtype)))
        seen = mask.clone()
        seen[:, 0] = True  # a text of nothing but padding sees its first token
        bias = states.new_zeros(seen.shape).masked_fill(~seen, float("-inf"))[:, None, None]
        return self.individual_token_refiner(self.input_embedder(states), vec[:, None], bias)


class _Gist(nn.Module):
    def __init__(self, text_dim: int, dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(text_dim, dim)
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class _Refiner(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_RefinerBlock(config) for _ in range(config.refiner_layers))

    def forward(self, x: Tensor, vec: Tensor, bias: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, vec, bias)
        return x


class _RefinerBlock(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.num_heads = config.refiner_heads
        self.norm1 = nn.LayerNorm(dim, _EPS)
        self.self_attn_qkv = nn.Linear(dim, 3 * dim)
        self.self_attn_proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, _EPS)
        self.mlp = _Mlp(dim, config.mlp_ratio * dim, nn.SiLU())
        self.adaLN_modulation = nn.Sequential(nn.Identity(), nn.Linear(dim, 2 * dim))  # silu has been taken

    def forward(self, x: Tensor, vec: Tensor, bias: Tensor) -> Tensor:
        """Tokens x [B, L, C], gated by silu of time and gist [B, 1, C]; bias [B, 1, 1, L]."""
        gate_attention, gate_mlp = self.adaLN_modulation(vec).chunk(2, dim=-1)
        qkv = self.self_attn_qkv(self.norm1(x)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        x = x + self.self_attn_proj(sdpa(q, k, v, bias).transpose(1, 2).flatten(2)) * gate_attention
        return x + self.mlp(self.norm2(x)) * gate_mlp
