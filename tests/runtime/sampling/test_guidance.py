from __future__ import annotations

import torch
from keepworld_runtime.sampling.guidance import guided

WANTED, UNWANTED = torch.randn(2, 3, 4, 2, 5, 5, generator=torch.Generator().manual_seed(0))


def test_a_scale_of_one_is_what_is_wanted_and_of_zero_what_is_not() -> None:
    torch.testing.assert_close(guided(WANTED, UNWANTED, 1.0), WANTED)
    assert torch.equal(guided(WANTED, UNWANTED, 0.0), UNWANTED)


def test_more_goes_further_in_the_same_direction() -> None:
    torch.testing.assert_close(guided(WANTED, UNWANTED, 6.0) - WANTED, 5 * (WANTED - UNWANTED), atol=1e-5, rtol=1e-5)


def test_rescaled_in_full_every_sample_spreads_as_what_is_wanted() -> None:
    found = guided(WANTED, UNWANTED, 6.0, rescale=1.0)
    torch.testing.assert_close(found.std((1, 2, 3, 4)), WANTED.std((1, 2, 3, 4)))
    plain = guided(WANTED, UNWANTED, 6.0)
    half = guided(WANTED, UNWANTED, 6.0, rescale=0.5)
    torch.testing.assert_close(half, (found + plain) / 2, atol=1e-5, rtol=1e-5)
