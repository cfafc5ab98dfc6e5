"""Norms, and the shift, scale and gate by which time and action act on every token of a latent."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from keepworld_runtime.layers.tokens import TokenLayout


class RMSNorm(nn.Module):
    """x / rms(x), computed in float32, times a learned weight, over the last dimension."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [..., dim]."""
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight


def layer_norm(x: Tensor, eps: float) -> Tensor:
    """Layer norm without learned parameters, computed in float32, over the last dimension."""
    return F.layer_norm(x.float(), x.shape[-1:], eps=eps).to(x.dtype)


def modulate(x: Tensor, shift: Tensor, scale: Tensor, layout: TokenLayout) -> Tensor:
    """x (1 + scale) + shift for tokens x [B, S, C], with shift and scale [B, T, C] a latent.

    The released code computes shift and scale once a token; they are equal for all tokens of a latent.
    """
    return layout.framewise(lambda tokens, shift, scale: tokens * (1 + scale) + shift, x, shift, scale)


def add_gated(x: Tensor, branch: Tensor, gate: Tensor, layout: TokenLayout) -> Tensor:
    """x + gate · branch for tokens x and branch [B, S, C], with gate [B, T, C] a latent."""
    return x + layout.framewise(lambda tokens, gate: tokens * gate, branch, gate)
