"""Softmax attention: the seam, and torch's own."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.nn import functional as F


class Attend(Protocol):
    """Softmax attention of q [B, H, S, d] over k, v [B, H, L, d], scaled by 1/√d, gives [B, H, S, d].

    `bias`, if there is one, broadcasts to [B, H, S, L] and is added to the logits; -inf hides a key.
    """

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend."""
        ...


def sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Torch's scaled_dot_product_attention, by whichever of its kernels is enabled."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
