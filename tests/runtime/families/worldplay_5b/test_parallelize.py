from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from keepworld_runtime.families.worldplay_5b.config import ROLLOUT
from keepworld_runtime.families.worldplay_5b.parallelize import parallelize
from keepworld_runtime.families.worldplay_5b.rollout import Rollout5B
from keepworld_runtime.parallelism.context import ContextExchange
from keepworld_runtime.parallelism.exchange import Alone
from torch import Tensor

from tests.ranks import run_on_ranks
from tests.runtime.families.worldplay_5b.worlds import (
    CONFIG,
    HEIGHT,
    WIDTH,
    chunk_of,
    small_model,
    small_rollout,
    states,
)


def chunks(rollout: Rollout5B) -> list[Tensor]:
    """A first chunk from a picture, one with context while a prompt gives way to another, one with pooled context."""
    one, other = rollout.prepare(states(1)), rollout.prepare(states(2, length=9))
    picture = torch.full((1, CONFIG.in_channels, 1, HEIGHT, WIDTH), 0.4)
    return [
        rollout.denoise(chunk_of(((one, 1.0),), num_context=0, image=picture)),
        rollout.denoise(chunk_of(((one, 0.6), (other, 0.4)), num_context=16)),
        rollout.denoise(chunk_of(((other, 1.0),), num_context=8, pooling=np.array([2] * 4 + [1] * 4))),
    ]


def chunks_of_a_rank() -> tuple[list[Tensor], int]:
    """The same made by one of several ranks, and the bytes of its keys and values."""
    model = small_model()
    parallelize(model, ContextExchange())
    rollout = Rollout5B(model, ROLLOUT, height=HEIGHT, width=WIDTH)
    return chunks(rollout), rollout.cache.num_bytes


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_ranks_make_together_what_one_makes_alone(num_ranks: int) -> None:
    alone = small_rollout()
    wanted = chunks(alone)
    for found, num_bytes in run_on_ranks(num_ranks, chunks_of_a_rank):
        for chunk, latents in enumerate(found):
            torch.testing.assert_close(latents, wanted[chunk], atol=2e-5, rtol=2e-5)
        assert num_bytes * num_ranks == alone.cache.num_bytes


class Several(Alone):
    """So many ranks, to be asked only how many there are."""

    def __init__(self, num_ranks: int) -> None:
        self.num_ranks = num_ranks


def test_heads_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(ValueError, match="num_attention_heads must be a multiple of the 3 ranks, got 4"):
        parallelize(small_model(), Several(3))


def test_tokens_that_cannot_be_shared_are_refused() -> None:
    model = small_model(replace(CONFIG, num_layers=1))
    parallelize(model, Several(4))
    with pytest.raises(ValueError, match="a latent's 9 tokens cannot be shared evenly by 4 ranks"):
        Rollout5B(model, ROLLOUT, height=6, width=6)
