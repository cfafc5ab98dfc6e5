"""From noise to latents."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor


def denoise(velocity: Callable[[Tensor, float], Tensor], latents: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Carry latents [B, C, T, h, w] from sigmas[0] to sigmas[-1] by Euler steps along ``velocity(latents, sigma)``.

    The velocity is noise − data. A released few-step model walks the same way in four steps: it draws no new noise.
    """
    for sigma, next_sigma in itertools.pairwise(sigmas):
        latents = latents + (next_sigma - sigma) * velocity(latents, sigma)
    return latents
