from __future__ import annotations

import numpy as np
import pytest
import torch
from keepworld_runtime.families.worldplay_8b.config import DISTILLED
from keepworld_runtime.families.worldplay_8b.model import WorldPlay8B
from keepworld_runtime.families.worldplay_8b.parallelize import parallelize
from keepworld_runtime.families.worldplay_8b.rollout import Rollout8B
from keepworld_runtime.parallelism.context import ContextExchange
from keepworld_runtime.parallelism.exchange import Alone
from torch import Tensor

from tests.ranks import run_on_ranks
from tests.runtime.families.worldplay_8b.worlds import JOINT, chunk_of, rollout_of, small_model, states


def chunks(model: WorldPlay8B) -> tuple[list[Tensor], int]:
    """Chunks of both kinds of model, first and later ones, while a prompt gives way; and the bytes of keys and values."""
    made = []
    for config in (DISTILLED, JOINT):
        rollout = rollout_of(model, config)
        old, new = (rollout.prepare(states(seed, texts=rollout.num_texts)) for seed in (1, 2))
        made.append(rollout.denoise(chunk_of((old, 1.0), num_context=0)))
        made.append(rollout.denoise(chunk_of((old, 0.6), (new, 0.4), num_context=8)))
    cached = rollout_of(model)
    prompt = cached.prepare(states())
    made.append(cached.denoise(chunk_of((prompt, 1.0), num_context=8, pooling=np.array([2] * 4 + [1] * 4))))
    return made, cached.caches[0].num_bytes


def chunks_of_a_rank() -> tuple[list[Tensor], int]:
    """The same made by one of several ranks."""
    model = small_model()
    parallelize(model, ContextExchange())
    return chunks(model)


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_ranks_make_together_what_one_makes_alone(num_ranks: int) -> None:
    wanted, bytes_alone = chunks(small_model())
    for found, num_bytes in run_on_ranks(num_ranks, chunks_of_a_rank):
        for chunk, latents in enumerate(found):
            torch.testing.assert_close(latents, wanted[chunk], atol=5e-5, rtol=5e-5)
        assert num_bytes * num_ranks == bytes_alone


class Several(Alone):
    """So many ranks, to be asked only how many there are."""

    def __init__(self, num_ranks: int) -> None:
        self.num_ranks = num_ranks


def test_heads_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(ValueError, match="num_heads must be a multiple of the 3 ranks, got 4"):
        parallelize(small_model(), Several(3))


def test_tokens_that_cannot_be_shared_are_refused() -> None:
    model = small_model()
    parallelize(model, Several(4))
    with pytest.raises(ValueError, match="a latent's 15 tokens cannot be shared evenly by 4 ranks"):
        Rollout8B(model, DISTILLED, height=3, width=5)
