"""The seam between a walk through a latent world and the network that dreams it, a chunk at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from keepworld_runtime.memory.context import Context
from keepworld_runtime.memory.views import Views

PromptT = TypeVar("PromptT")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChunkInput(Generic[PromptT]):
    """What a chunk is made from.

    Attributes:
        start: how many latents the world has had before.
        noise: [1, C, T, h, w] float32: where denoising begins.
        views: the T cameras of the chunk.
        context: what is seen again; empty for a world's first chunk.
        prompts: prepared prompts with their weights, which add up to 1: one, or two while one gives way to another.
        image: [1, C, 1, h, w], the latent of the picture that the world began with, or None.
    """

    start: int
    noise: Tensor
    views: Views
    context: Context
    prompts: tuple[tuple[PromptT, float], ...]
    image: Tensor | None


class Denoiser(Protocol[PromptT]):
    """A network with its sampler, for one world. `PromptT` is what it makes of a text beforehand."""

    def denoise(self, chunk: ChunkInput[PromptT]) -> Tensor:
        """Make the latents [1, C, T, h, w] of a chunk; equal inputs give equal latents, whatever was made before."""
        ...


def heard(prompts: Sequence[tuple[PromptT, float]]) -> list[tuple[PromptT, float]]:
    """Those of the prompts that have any weight.

    Raises:
        ValueError: a weight is negative, or they do not add up to 1.
    """
    weights = [weight for _, weight in prompts]
    if min(weights, default=0.0) < 0 or abs(sum(weights) - 1) > 1e-6:
        raise ValueError(f"weights of prompts must be at least 0 and add up to 1, got {weights}")
    return [(prompt, weight) for prompt, weight in prompts if weight > 0]
