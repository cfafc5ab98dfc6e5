"""Numbers as vectors: noise levels and actions."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoid(values: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Cosines, then sines, of values [...] at falling frequencies, [..., dim], float32.

    Source: Ho et al., "Denoising diffusion probabilistic models", with the frequencies max_period^(-2i/dim).
    """
    half = dim // 2
    exponents = -math.log(max_period) / half * torch.arange(half, device=values.device, dtype=torch.float32)
    # Times 1000, a last bit shows: exponents are rounded as the networks were trained with, and machines differ in exp.
    frequencies = exponents.double().exp().float()
    angles = values.float()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
