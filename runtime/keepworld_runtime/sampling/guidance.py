"""Classifier-free guidance."""

from __future__ import annotations

from torch import Tensor


def guided(positive: Tensor, negative: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """negative + scale · (positive − negative), of velocities [B, ...].

    Source: Ho and Salimans, arXiv 2207.12598. With `rescale` in (0, 1] the result's standard deviation is drawn towards that
    of `positive`, a sample at a time (Lin et al., arXiv 2305.08891, section 3.4).
    """
    result = negative + scale * (positive - negative)
    if not rescale:
        return result
    dims = tuple(range(1, result.ndim))
    matched = result * (positive.std(dims, keepdim=True) / result.std(dims, keepdim=True))
    return rescale * matched + (1 - rescale) * result
