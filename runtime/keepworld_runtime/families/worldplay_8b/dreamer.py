"""WorldPlay-8B, loaded: its encoders, its network and its VAE put together for one world after another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from keepworld_runtime.families.latent.denoiser import ChunkInput
from keepworld_runtime.families.latent.model import Canvas
from keepworld_runtime.families.worldplay_8b.checkpoint import Loaded
from keepworld_runtime.families.worldplay_8b.encoders import Encoders
from keepworld_runtime.families.worldplay_8b.model import PromptStates
from keepworld_runtime.families.worldplay_8b.rollout import PreparedPrompt, Rollout8B
from keepworld_runtime.layers.hunyuan_vae import HunyuanVAE
from keepworld_runtime.memory.retrieval import Retrieval

_ROLLOUTS_KEPT = 2  # sizes of frames whose room to work in is kept
_UNWANTED = ""  # the published negative prompt


class Machinery8B:
    """A `Machinery`."""

    patch = 1
    is_noise_after_points = False

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.vae: HunyuanVAE = loaded.vae
        self.channels = loaded.config.latent_channels
        self.device: torch.device = loaded.model.device
        self.retrieval = Retrieval(window=loaded.rollout.window)
        self._rollout = lru_cache(maxsize=_ROLLOUTS_KEPT)(self._make_rollout)

    def dreamer(self, canvas: Canvas) -> Dreamer8B:
        """Make what dreams one world; it begins by looking at the picture."""
        encoders = self._loaded.encoders
        vision = None if canvas.image is None else encoders.encode_image(canvas.image)
        rollout = self._rollout(canvas.height, canvas.width, canvas.context_tokens)
        return Dreamer8B(encoders, rollout, vision)

    def _make_rollout(self, height: int, width: int, context_tokens: int) -> Rollout8B:
        loaded = self._loaded
        return Rollout8B(loaded.model, loaded.rollout, height=height, width=width, context_tokens=context_tokens)


class Dreamer8B:
    """A `Dreamer`.

    Args:
        encoders: of texts.
        rollout: the network and its sampler.
        vision: the image encoder's states of the picture that the world begins with, or None.
    """

    def __init__(self, encoders: Encoders, rollout: Rollout8B, vision: Tensor | None) -> None:
        self._encoders, self._rollout, self._vision = encoders, rollout, vision

    def prompt(self, text: str) -> PreparedPrompt:
        """Encode a text and run it through the network's text stream; see `Dreamer`."""
        texts = (text,) if self._rollout.num_texts == 1 else (_UNWANTED, text)
        return self._rollout.prepare(_batch([self._encoders.encode_text(each, self._vision) for each in texts]))

    def denoise(self, chunk: ChunkInput[PreparedPrompt]) -> Tensor:
        """Make the latents of a chunk; see `Denoiser`."""
        return self._rollout.denoise(chunk)


def _batch(states: Sequence[PromptStates]) -> PromptStates:
    """States of several texts, padded to equal lengths, as one batch."""
    seen = [each.vision for each in states if each.vision is not None]
    return PromptStates(
        text=torch.cat([each.text for each in states]),
        text_mask=torch.cat([each.text_mask for each in states]),
        byt5=torch.cat([each.byt5 for each in states]),
        byt5_mask=torch.cat([each.byt5_mask for each in states]),
        vision=torch.cat(seen) if seen else None,
    )
