"""The slow and obvious forms of what has faster ones: what those are tested against."""

from __future__ import annotations

import math

import torch
from torch import Tensor

E4M3_MAX = 448.0
_E4M3_MANTISSA_BITS = 3
_E4M3_LEAST_EXPONENT = -6  # below it steps get no finer


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d + bias) v in float32, as `kernels.attention.Attend`; gives q's dtype."""
    logits = q.float() @ k.float().mT / math.sqrt(q.shape[-1])
    if bias is not None:
        logits = logits + bias.float()
    return (logits.softmax(-1) @ v.float()).to(q.dtype)


def rounded_to_e4m3(x: Tensor) -> Tensor:
    """The nearest number of the 8-bit format e4m3 to each of x, ties to even, float32.

    Source: Micikevicius et al., "FP8 formats for deep learning" (arXiv 2209.05433): 4 bits of exponent, 3 of mantissa, no
    infinities; what is larger than 448 becomes 448.
    """
    x = x.float()
    exponent = torch.frexp(x).exponent - 1  # |x| is in [2^exponent, 2^(exponent + 1))
    step = torch.exp2((exponent.clamp(min=_E4M3_LEAST_EXPONENT) - _E4M3_MANTISSA_BITS).float())
    return ((x / step).round() * step).clamp(-E4M3_MAX, E4M3_MAX)


def linear_e4m3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x weightᵀ + bias of x [..., K] and weight [N, K], in float32, each row of both scaled to e4m3's range and rounded."""
    product = _scaled_and_rounded(x) @ _scaled_and_rounded(weight).mT
    return product if bias is None else product + bias.float()


def _scaled_and_rounded(rows: Tensor) -> Tensor:
    largest = rows.float().abs().amax(-1, keepdim=True)
    scale = torch.where(largest > 0, largest, 1.0) / E4M3_MAX
    return rounded_to_e4m3(rows.float() / scale) * scale
