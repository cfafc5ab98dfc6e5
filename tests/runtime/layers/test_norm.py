from __future__ import annotations

import math

import torch
from keepworld_runtime.layers.norm import RMSNorm, add_gated, layer_norm, modulate
from keepworld_runtime.layers.tokens import TokenLayout

LAYOUT = TokenLayout(((2, 3), (1, 4)))
OWNER = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])


def test_rms_norm_leaves_the_direction_and_makes_the_mean_square_one() -> None:
    norm = RMSNorm(2, eps=0.0)
    norm.weight.data = torch.tensor([1.0, 10.0])
    found = norm(torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(found, torch.tensor([[3.0, 40.0]]) / math.sqrt(12.5))


def test_rms_norm_is_computed_in_float32() -> None:
    norm = RMSNorm(64, eps=1e-6).bfloat16()
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    wide = x.double() / x.double().square().mean(-1, keepdim=True).sqrt()
    found = norm(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), wide, atol=0.0, rtol=2**-8)  # rounded once


def test_layer_norm_makes_mean_zero_and_variance_one() -> None:
    found = layer_norm(torch.tensor([[1.0, 3.0, 5.0, 7.0]]), eps=0.0)
    torch.testing.assert_close(found, torch.tensor([[-3.0, -1.0, 1.0, 3.0]]) / math.sqrt(5.0))


def test_modulation_a_latent_is_modulation_a_token() -> None:
    rng = torch.Generator().manual_seed(0)
    x, branch = torch.randn(2, 2, 10, 8, generator=rng)
    shift, scale, gate = torch.randn(3, 2, 3, 8, generator=rng)
    by_token = x * (1 + scale[:, OWNER]) + shift[:, OWNER]
    torch.testing.assert_close(modulate(x, shift, scale, LAYOUT), by_token, atol=0.0, rtol=0.0)
    by_token = x + branch * gate[:, OWNER]
    torch.testing.assert_close(add_gated(x, branch, gate, LAYOUT), by_token, atol=0.0, rtol=0.0)
