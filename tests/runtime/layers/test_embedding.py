from __future__ import annotations

import math

import torch
from keepworld_runtime.layers.embedding import sinusoid


def test_zero_is_all_cosines_and_no_sines() -> None:
    assert sinusoid(torch.zeros(2, 3), 8).tolist() == [[[1.0] * 4 + [0.0] * 4] * 3] * 2


def test_frequencies_fall_from_one_to_almost_one_in_ten_thousand() -> None:
    found = sinusoid(torch.tensor([14.0, 1000.0]), 256)
    for row, value in zip(found.tolist(), (14.0, 1000.0), strict=True):
        angles = [value * 10000 ** (-i / 128) for i in range(128)]
        wanted = [*map(math.cos, angles), *map(math.sin, angles)]
        # Angles are float32: 1000 has a last bit of 6e-5.
        torch.testing.assert_close(torch.tensor(row), torch.tensor(wanted), atol=2e-4, rtol=0.0)


def test_whole_numbers_are_numbers_too() -> None:
    assert torch.equal(sinusoid(torch.tensor([0, 9, 80]), 16), sinusoid(torch.tensor([0.0, 9.0, 80.0]), 16))
