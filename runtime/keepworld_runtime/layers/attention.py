"""Attention in two branches that share queries, keys and values: by place and time (RoPE), and by camera (PRoPE)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from keepworld_runtime.kernels.attention import Attend
from keepworld_runtime.layers.camera_rope import CameraMaps
from keepworld_runtime.layers.rope import rotate
from keepworld_runtime.layers.tokens import TokenLayout
from keepworld_runtime.memory.kv_cache import KVCache


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Where a row of tokens is, in the picture, in time and in the world; made once a chunk, on the device.

    Attributes:
        layout: the row.
        cos, sin: [S, d / 2] float32, of `layers.rope`.
        cameras: of its latents.
    """

    layout: TokenLayout
    cos: Tensor
    sin: Tensor
    cameras: CameraMaps


def attend_cached(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    queries: Geometry,
    keys: Geometry,
    cache: KVCache,
    layer: int,
    at: int,
    attend: Attend,
) -> tuple[Tensor, Tensor]:
    """Write k and v of one layer into their slots, and attend to them and to everything before them, in both branches.

    Args:
        q, k, v: [B, H, S, d], raw.
        queries: of the S tokens.
        keys: of everything in the cache from the text's end to slot at + S, the S tokens among them.
        cache: holds text and context.
        layer: which of the cache's.
        at: the slot that k and v go to.
        attend: the kernel.

    Returns:
        The outputs of the branch by place and of the branch by camera, [B, H, S, d] each.
    """
    cache.write(layer, k, v, at)
    text, end = cache.num_text, at + k.shape[2]
    raw_k, raw_v = cache.k[layer, :, :, :end], cache.v[layer, :, :, :end]
    placed_k, seen_k, seen_v = (each[:, :, :end] for each in cache.workspace.unbind(0))
    placed_k[:, :, :text] = seen_k[:, :, :text] = raw_k[:, :, :text]  # text has neither place nor camera
    seen_v[:, :, :text] = raw_v[:, :, :text]
    placed_k[:, :, text:] = rotate(raw_k[:, :, text:], keys.cos, keys.sin)
    seen_k[:, :, text:] = keys.cameras.on_key(raw_k[:, :, text:], keys.layout)
    seen_v[:, :, text:] = keys.cameras.on_key(raw_v[:, :, text:], keys.layout)
    bias = None if cache.text_bias is None else F.pad(cache.text_bias, (0, end - text))
    placed = attend(rotate(q, queries.cos, queries.sin), placed_k, raw_v, bias)
    seen = attend(queries.cameras.on_query(q, queries.layout), seen_k, seen_v, bias)
    return placed, queries.cameras.on_output(seen, queries.layout)


def attend_together(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    geometry: Geometry,
    text: tuple[Tensor, Tensor, Tensor] | None,
    bias: Tensor | None,
    attend: Attend,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attend without a cache; text, if there is any, takes part as query too, in the branch by place.

    Args:
        q, k, v: [B, H, S, d] of the picture.
        geometry: of those.
        text: q, k, v [B, H, L, d], which come after the picture's.
        bias: [B, 1, 1, S + L] added to the logits, or None.
        attend: the kernel.

    Returns:
        The picture's outputs of the branch by place and of the branch by camera, and the text's of the first.
    """
    layout, cameras = geometry.layout, geometry.cameras
    placed, text_out = attend_by_place(q, k, v, geometry=geometry, text=text, bias=bias, attend=attend)
    _, text_k, text_v = text or (None, q[:, :, :0], q[:, :, :0])
    seen_k, seen_v = cameras.on_key(k, layout), cameras.on_key(v, layout)
    seen = attend(cameras.on_query(q, layout), _joined(seen_k, text_k), _joined(seen_v, text_v), bias)
    return placed, cameras.on_output(seen, layout), text_out


def attend_by_place(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    geometry: Geometry,
    text: tuple[Tensor, Tensor, Tensor] | None,
    bias: Tensor | None,
    attend: Attend,
) -> tuple[Tensor, Tensor]:
    """The branch by place of `attend_together` alone, which is all that a network without cameras has."""
    num = q.shape[2]
    text_q, text_k, text_v = text or (q[:, :, :0],) * 3
    placed_q, placed_k = (rotate(each, geometry.cos, geometry.sin) for each in (q, k))
    out = attend(_joined(placed_q, text_q), _joined(placed_k, text_k), _joined(v, text_v), bias)
    return out[:, :, :num], out[:, :, num:]


def _joined(picture: Tensor, text: Tensor) -> Tensor:
    return torch.cat([picture, text], dim=2)
