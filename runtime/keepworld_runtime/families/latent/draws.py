"""Where a world's randomness comes from: noise that becomes latents, and points that views are compared with."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keepworld_runtime.families.latent.points import NUM_POINTS, points_of
from keepworld_runtime.memory.overlap import Points, ball_points
from keepworld_runtime.sampling.latent_noise import latent_noise


class Draws(Protocol):
    """The randomness of one world."""

    @property
    def points(self) -> Points:
        """Gives the points for what begins at a latent's number."""
        ...

    def noise(self, start: int, count: int) -> Tensor:
        """Normal noise [1, C, count, h, w] float32 for latents from number `start` on."""
        ...


class CountedDraws:
    """Functions of the seed and a latent's number, whatever was drawn before: what makes a restored world the same.

    Args:
        seed: the world's.
        radius: of the ball that points are in.
        latent_shape: (C, h, w).
    """

    def __init__(self, seed: int, radius: float, latent_shape: tuple[int, int, int]) -> None:
        self.points: Points = points_of(seed, radius)
        self._seed, self._shape = seed, latent_shape

    def noise(self, start: int, count: int) -> Tensor:
        """Noise of latents from number `start` on; see `Draws`."""
        channels, height, width = self._shape
        return latent_noise(self._seed, start, (1, channels, count, height, width))


class PublishedDraws:
    """As the published code draws, on a CPU: one set of points for the whole walk, then the noise of all latents it may have.

    The 5B draws both from one generator, in this order; in the 8B's code noise has the seed's generator to itself. That code
    leaves the generator of the points unseeded; here it has the seed too.

    Args:
        seed: the world's.
        radius: of the ball that points are in.
        latent_shape: (C, h, w).
        num_latents: that the walk may have.
        is_shared: whether points and noise come from one generator.
    """

    def __init__(
        self, seed: int, radius: float, latent_shape: tuple[int, int, int], *, num_latents: int, is_shared: bool
    ) -> None:
        self._seed, self._radius, self._shape = seed, radius, latent_shape
        self._num_latents, self._is_shared = num_latents, is_shared

    @property
    def points(self) -> Points:
        """The same points for every latent; see `Draws`."""
        points, _ = self._drawn
        return lambda at: points

    def noise(self, start: int, count: int) -> Tensor:
        """Noise of latents from number `start` on; see `Draws`.

        Raises:
            ValueError: the walk may not have so many.
        """
        if start + count > self._num_latents:
            raise ValueError(
                f"a walk with the published noise has at most {self._num_latents} latents, got {start + count}"
            )
        _, noise = self._drawn
        return noise[:, :, start : start + count]

    @cached_property
    def _drawn(self) -> tuple[NDArray[np.float32], Tensor]:
        channels, height, width = self._shape
        generator = torch.Generator().manual_seed(self._seed)
        uniforms = torch.stack([torch.rand(NUM_POINTS, generator=generator) for _ in range(3)])
        if not self._is_shared:
            generator.manual_seed(self._seed)
        noise = torch.randn((1, channels, self._num_latents, height, width), generator=generator)
        return ball_points(uniforms.numpy(), self._radius), noise
