"""WorldPlay-5B, loaded: its encoder, its network and its VAE put together for one world after another."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from keepworld_runtime.families.latent.denoiser import ChunkInput
from keepworld_runtime.families.latent.model import Canvas
from keepworld_runtime.families.worldplay_5b.checkpoint import Loaded
from keepworld_runtime.families.worldplay_5b.encoders import Encoders
from keepworld_runtime.families.worldplay_5b.model import PreparedPrompt
from keepworld_runtime.families.worldplay_5b.rollout import Rollout5B
from keepworld_runtime.layers.wan_vae import WanVAE
from keepworld_runtime.memory.overlap import Field
from keepworld_runtime.memory.retrieval import Retrieval

_ROLLOUTS_KEPT = 2  # sizes of frames whose room to work in is kept


class Machinery5B:
    """A `Machinery`."""

    is_noise_after_points = True

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.vae: WanVAE = loaded.vae
        self.channels = loaded.config.in_channels
        self.patch = loaded.config.patch_size[1]
        self.device: torch.device = loaded.model.device
        self.retrieval = Retrieval(window=loaded.rollout.window, pinned=0, field=Field(dtype=np.float32))
        self._rollout = lru_cache(maxsize=_ROLLOUTS_KEPT)(self._make_rollout)

    def dreamer(self, canvas: Canvas) -> Dreamer5B:
        """Make what dreams one world; the picture comes to it as a latent, with the chunk."""
        rollout = self._rollout(canvas.height, canvas.width, canvas.context_tokens)
        return Dreamer5B(self._loaded.encoders, rollout)

    def _make_rollout(self, height: int, width: int, context_tokens: int) -> Rollout5B:
        loaded = self._loaded
        return Rollout5B(loaded.model, loaded.rollout, height=height, width=width, context_tokens=context_tokens)


class Dreamer5B:
    """A `Dreamer`.

    Args:
        encoders: of texts.
        rollout: the network and its sampler.
    """

    def __init__(self, encoders: Encoders, rollout: Rollout5B) -> None:
        self._encoders, self._rollout = encoders, rollout

    def prompt(self, text: str) -> PreparedPrompt:
        """Encode a text and make of it every block's keys and values; see `Dreamer`."""
        return self._rollout.prepare(self._encoders.encode_text(text))

    def denoise(self, chunk: ChunkInput[PreparedPrompt]) -> Tensor:
        """Make the latents of a chunk; see `Denoiser`."""
        return self._rollout.denoise(chunk)
