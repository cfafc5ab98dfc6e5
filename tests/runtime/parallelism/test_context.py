"""Attention spread over ranks is attention alone, and moving tokens and heads loses nothing."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from keepworld_runtime.kernels.attention import sdpa
from keepworld_runtime.layers.camera_rope import camera_maps
from keepworld_runtime.layers.tokens import TokenLayout
from keepworld_runtime.parallelism.context import ContextExchange
from keepworld_runtime.parallelism.exchange import Alone, Exchange
from torch import Tensor

from tests.ranks import run_on_ranks

RUNS = ((2, 8), (1, 4), (3, 12))  # latents of three sizes, as a pooled context has them
TOKENS, HEADS, CHANNELS = 56, 4, 8


def _rows(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def _attended(exchange: Exchange, qkv: Tensor) -> tuple[Tensor, ...]:
    """A layer's worth of moves on qkv [3, B, S, H, d], which everyone has: what each move gave, and what came out at the end."""
    own = torch.stack([exchange.split(each, RUNS) for each in qkv])
    heads = exchange.to_heads(own, RUNS)
    text = exchange.own_heads(qkv[0].transpose(1, 2)[:, :, :5])
    out = sdpa(heads[0], *(torch.cat([text, each], dim=2) for each in heads[1:]))
    back = exchange.to_tokens(out[None], RUNS)[0]
    return exchange.join(back, RUNS), exchange.all_heads(text), exchange.join(own[1], RUNS), own


def _on_a_rank() -> tuple[Tensor, ...]:
    exchange = ContextExchange()
    qkv = _rows(3, 2, TOKENS, HEADS, CHANNELS)
    attended = _attended(exchange, qkv)
    own = attended[-1]
    assert torch.equal(exchange.to_tokens(exchange.to_heads(own, RUNS), RUNS), own)
    heads = exchange.to_heads(own, RUNS)
    assert torch.equal(heads[0], exchange.own_heads(qkv[0].transpose(1, 2)))
    assert exchange.num_ranks == dist.get_world_size()
    return attended


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_attention_over_ranks_is_attention_alone(num_ranks: int) -> None:
    qkv = _rows(3, 2, TOKENS, HEADS, CHANNELS)
    alone, text, row, _ = _attended(Alone(), qkv)
    for joined, gathered, rejoined, own in run_on_ranks(num_ranks, _on_a_rank):
        torch.testing.assert_close(joined, alone, atol=1e-6, rtol=1e-6)
        assert torch.equal(gathered, text)
        assert torch.equal(rejoined, row)
        assert own.shape == (3, 2, TOKENS // num_ranks, HEADS, CHANNELS)


def _cameras_on_a_rank() -> Tensor:
    exchange, layout = ContextExchange(), TokenLayout(RUNS)
    viewmats = torch.eye(4, dtype=torch.float64).repeat(layout.num_frames, 1, 1)
    viewmats[:, 2, 3] = torch.arange(layout.num_frames)
    maps = camera_maps(viewmats.numpy(), torch.eye(3, dtype=torch.float64).repeat(layout.num_frames, 1, 1).numpy())
    row = _rows(2, TOKENS, HEADS, CHANNELS)
    shared = maps.on_key(exchange.split(row, RUNS).transpose(1, 2), layout.shared(exchange.num_ranks))
    whole = maps.on_key(row.transpose(1, 2), layout).transpose(1, 2)
    return (exchange.join(shared.transpose(1, 2), RUNS) - whole).abs().max()


def test_what_belongs_to_a_latent_reaches_its_tokens_on_every_rank() -> None:
    assert [difference.item() for difference in run_on_ranks(2, _cameras_on_a_rank)] == [0, 0]


def _refusals() -> list[str]:
    exchange, told = ContextExchange(), []
    for call in (
        lambda: exchange.to_heads(_rows(1, 1, 2, 3, 4), ((1, 4),)),
        lambda: exchange.own_heads(_rows(1, 5, 2, 4)),
        lambda: exchange.split(_rows(1, 10, 4), ((2, 5),)),
        lambda: exchange.join(_rows(1, 3, 4), ((1, 4),)),
    ):
        with pytest.raises(ValueError, match=r"\d") as raised:
            call()
        told.append(str(raised.value))
    return told


def test_what_cannot_be_shared_is_refused_with_both_numbers() -> None:
    for told in run_on_ranks(2, _refusals):
        assert told == [
            "3 heads cannot be shared evenly by 2 ranks",
            "5 heads cannot be shared evenly by 2 ranks",
            "a latent's 5 tokens cannot be shared evenly by 2 ranks",
            "the row must have the 4 tokens of its runs, got 6",
        ]
