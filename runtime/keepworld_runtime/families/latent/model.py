"""A loaded latent family: opens worlds, with the memory, the picture and the clip that each was asked for.

Pictures and clips become the mode of the VAE's posterior. The 8B's published code does the same; the 5B's draws a sample of it,
which is a little less like the picture and another one every time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from keepworld_runtime.families.family import Capabilities, FamilyOptions, WorldSpec
from keepworld_runtime.families.latent.clip import encode_clip
from keepworld_runtime.families.latent.draws import CountedDraws, Draws, PublishedDraws
from keepworld_runtime.families.latent.family import default_intrinsics
from keepworld_runtime.families.latent.pictures import as_frames, fitted
from keepworld_runtime.families.latent.world import Dream, Dreamer, LatentWorld
from keepworld_runtime.layers.vae import VideoVAE, history_latents
from keepworld_runtime.memory import policies
from keepworld_runtime.memory.policies import Plan
from keepworld_runtime.memory.retrieval import Retrieval

PromptT = TypeVar("PromptT")

PUBLISHED_LATENTS = 240  # whole chunks of what the published code can make at most, 241
SPATIAL = 16  # pixels a cell of a latent, a side, in both VAEs


@dataclass(frozen=True, kw_only=True, slots=True)
class Canvas:
    """What a world is dreamt on.

    Attributes:
        height, width: of a latent, in its cells.
        context_tokens: that a context has at most.
        image: [H, W, 3] uint8, the picture it begins with, as it came, or None.
    """

    height: int
    width: int
    context_tokens: int
    image: NDArray[np.uint8] | None


class Machinery(Protocol[PromptT]):
    """What families differ in, once loaded."""

    @property
    def vae(self) -> VideoVAE:
        """Between latents and frames."""
        ...

    @property
    def channels(self) -> int:
        """Of a latent."""
        ...

    @property
    def patch(self) -> int:
        """Cells of a latent that one token stands for, a side."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        ...

    @property
    def retrieval(self) -> Retrieval:
        """How the model was trained to be shown its past."""
        ...

    @property
    def is_noise_after_points(self) -> bool:
        """Whether the published code draws noise from the generator that it has drawn the points from."""
        ...

    def dreamer(self, canvas: Canvas) -> Dreamer[PromptT]:
        """Make what dreams one world."""
        ...


class LatentModel(Generic[PromptT]):
    """A `keepworld_runtime.families.family.Model`.

    Args:
        capabilities: of the family.
        machinery: loaded.
        options: of the family: how worlds remember, and where their noise comes from.
    """

    def __init__(self, capabilities: Capabilities, machinery: Machinery[PromptT], options: FamilyOptions) -> None:
        self._capabilities = capabilities
        self._machinery = machinery
        self._options = options

    def open(self, spec: WorldSpec) -> LatentWorld[PromptT]:
        """Make a world.

        Raises:
            ValueError: the clip is too short, or one of its cameras is not rigid.
        """
        machinery, capabilities = self._machinery, self._capabilities
        size = (spec.width, spec.height)
        chunk_size = capabilities.chunk_frames // capabilities.group_frames
        height, width = spec.height // SPATIAL, spec.width // SPATIAL
        image, clip = spec.image, None
        if spec.clip is not None:
            first, later = capabilities.first_chunk_frames, capabilities.chunk_frames
            clip = encode_clip(spec.clip, machinery.vae, size, first_frames=first, chunk_frames=later)
            capabilities = replace(capabilities, first_chunk_frames=later)
            image = clip.first
        draws = self._draws(spec.seed, (machinery.channels, height, width))
        memory = policies.create(
            self._options.memory,
            Plan(
                retrieval=machinery.retrieval,
                points=draws.points,
                chunk_size=chunk_size,
                recent=history_latents(machinery.vae),
                patch=machinery.patch,
                device=str(machinery.device),
            ),
        )
        tokens = memory.most_tokens(height // machinery.patch, width // machinery.patch)
        canvas = Canvas(height=height, width=width, context_tokens=tokens, image=image)
        dream = Dream(
            dreamer=machinery.dreamer(canvas),
            vae=machinery.vae,
            memory=memory,
            draws=draws,
            K=default_intrinsics(),
            image=None if image is None else machinery.vae.encode(as_frames(fitted(image, *size)[None])),
            clip=clip,
        )
        return LatentWorld(spec, capabilities, dream)

    def _draws(self, seed: int, latent_shape: tuple[int, int, int]) -> Draws:
        radius = self._machinery.retrieval.field.radius
        if not self._options.reference_noise:
            return CountedDraws(seed, radius, latent_shape)
        is_shared = self._machinery.is_noise_after_points
        return PublishedDraws(seed, radius, latent_shape, num_latents=PUBLISHED_LATENTS, is_shared=is_shared)
