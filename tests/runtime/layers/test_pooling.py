from __future__ import annotations

import pytest
import torch
from keepworld_runtime.layers.pooling import Pooling
from keepworld_runtime.layers.rope import grid_positions

ROWS, COLUMNS = 4, 8


@pytest.mark.parametrize("sides", [(1, 1), (2, 2, 2), (4, 2, 2, 1, 4, 1)])
def test_the_mean_of_where_tokens_are_is_where_their_mean_is(sides: tuple[int, ...]) -> None:
    pooling = Pooling(sides, ROWS, COLUMNS)
    whole = grid_positions(range(len(sides)), ROWS, COLUMNS)[None, None]  # their own places as what they say
    assert torch.equal(pooling.average(whole)[0, 0], pooling.positions())


def test_the_layout_counts_what_is_left_of_each_latent() -> None:
    pooling = Pooling((4, 2, 2, 1), ROWS, COLUMNS)
    assert pooling.layout.runs == ((1, 2), (2, 8), (1, 32))
    assert pooling.average(torch.zeros(1, 2, 4 * ROWS * COLUMNS, 6)).shape == (1, 2, pooling.layout.num_tokens, 6)


@pytest.mark.parametrize("side", [3, 0, 8])
def test_a_side_that_does_not_divide_both_sides_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match=f"pooling must divide a latent's 4 × 8 tokens, got {side}"):
        Pooling((1, side), ROWS, COLUMNS)
