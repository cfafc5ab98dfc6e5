from __future__ import annotations

import pytest
import torch
from keepworld_runtime.layers.tokens import TokenLayout, even
from torch import Tensor

LAYOUT = TokenLayout(((2, 3), (1, 4), (2, 1)))  # five latents, twelve tokens
OWNER = [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 4]


def test_latents_and_tokens_are_counted() -> None:
    assert (LAYOUT.num_frames, LAYOUT.num_tokens) == (5, 12)


@pytest.mark.parametrize("dim", [1, 2])
def test_what_belongs_to_a_latent_reaches_all_of_its_tokens_and_no_others(dim: int) -> None:
    shape = [2, 1, 1, 7]
    x, value = (torch.randn([*shape[:dim], num, *shape[dim:]]) for num in (12, 5))

    def act(x: Tensor, value: Tensor) -> Tensor:
        return x * value - value

    wanted = act(x, value.index_select(dim, torch.tensor(OWNER)))
    assert torch.equal(LAYOUT.framewise(act, x, value, dim=dim), wanted)


def test_neighbours_of_one_size_are_one_run_and_empty_runs_are_none() -> None:
    assert even(2, 24) + even(4, 24) == even(6, 24)
    assert even(0, 24) + even(4, 24) == even(4, 24)
    assert even(2, 6) + even(4, 24) == TokenLayout(((2, 6), (4, 24)))


def test_every_latent_is_dealt_out_evenly() -> None:
    assert TokenLayout(((2, 6), (4, 24))).shared(3) == TokenLayout(((2, 2), (4, 8)))


def test_a_latent_that_cannot_be_dealt_out_evenly_is_refused() -> None:
    with pytest.raises(ValueError, match="a latent's 6 tokens cannot be shared evenly by 4 ranks"):
        TokenLayout(((4, 24), (2, 6))).shared(4)
