from __future__ import annotations

import torch
from keepworld_runtime.layers.rope import grid_positions, rotary_table, rotate

DIMS, THETA = (4, 6, 6), 256.0


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_places_go_by_time_then_row_then_column() -> None:
    assert grid_positions([5, 7], 2, 2).tolist() == [
        [5, 0, 0], [5, 0, 1], [5, 1, 0], [5, 1, 1], [7, 0, 0], [7, 0, 1], [7, 1, 0], [7, 1, 1],
    ]  # fmt: skip


def test_a_pooled_token_is_in_the_middle_of_its_square() -> None:
    whole = grid_positions([3], 4, 6).view(2, 2, 3, 2, 3).mean((1, 3)).view(-1, 3)
    assert torch.equal(grid_positions([3], 4, 6, pooling=2), whole)


def test_pairs_are_turned_as_complex_numbers_are() -> None:
    x, places = rows(2, 3, 5, 16).float(), torch.tensor([[t, 2 * t, 11 - t] for t in range(5)], dtype=torch.float64)
    angles = []
    for axis, dim in enumerate(DIMS):
        angles += [places[:, axis] * 256 ** (-2 * k / dim) for k in range(dim // 2)]
    turned = torch.view_as_complex(x.double().unflatten(-1, (8, 2))) * torch.exp(1j * torch.stack(angles, dim=-1))
    wanted = torch.view_as_real(turned).flatten(-2).float()
    torch.testing.assert_close(rotate(x, *rotary_table(places, DIMS, THETA)), wanted, atol=1e-6, rtol=1e-6)


def test_a_query_and_a_key_meet_through_how_far_they_are_apart() -> None:
    q, k = rows(16).float(), rows(16, seed=1).float()

    def logit(here: list[float], there: list[float]) -> torch.Tensor:
        cos, sin = rotary_table(torch.tensor([here, there], dtype=torch.float64), DIMS, THETA)
        q_there, k_there = rotate(torch.stack([q, k]), cos, sin)
        return q_there @ k_there

    moved = logit([3.0, 1.0, 4.0], [1.0, 5.0, 9.0])
    torch.testing.assert_close(logit([103.0, 21.0, 34.0], [101.0, 25.0, 39.0]), moved, atol=1e-5, rtol=1e-5)
    assert (logit([3.0, 1.0, 4.0], [1.0, 5.0, 8.0]) - moved).abs() > 1e-3


def test_nothing_is_lost_far_out_in_time() -> None:
    x = rows(1, 1, 2, 16).float()
    cos, sin = rotary_table(torch.tensor([[100_000.0, 0, 0], [100_001.0, 0, 0]], dtype=torch.float64), DIMS, THETA)
    there = rotate(x, cos, sin)
    near = rotate(x, *rotary_table(torch.tensor([[0.0, 0, 0], [1.0, 0, 0]], dtype=torch.float64), DIMS, THETA))
    torch.testing.assert_close(there[..., 0, :] @ there[..., 1, :].mT, near[..., 0, :] @ near[..., 1, :].mT)


def test_bfloat16_comes_back_as_bfloat16() -> None:
    x = rows(1, 1, 24, 16).bfloat16()
    assert rotate(x, *rotary_table(grid_positions([0], 4, 6), DIMS, THETA)).dtype == torch.bfloat16
