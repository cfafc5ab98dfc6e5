"""What latents are made from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from keepworld_runtime.sampling.noise import generator


def latent_noise(seed: int, start: int, shape: tuple[int, ...]) -> Tensor:
    """Normal noise [1, C, T, h, w] float32 for T latents from number `start` on: a function of seed and number alone.

    Each latent has numbers of its own, so that how latents are grouped into chunks changes nothing.
    """
    batch, channels, frames, height, width = shape
    drawn = [
        generator(seed, "latent", start + frame).standard_normal((batch, channels, height, width), dtype=np.float32)
        for frame in range(frames)
    ]
    return torch.from_numpy(np.stack(drawn, axis=2))
