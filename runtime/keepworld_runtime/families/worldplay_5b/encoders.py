"""What WorldPlay-5B makes of a text before it dreams: the states of UMT5.

Sources: Wan (arXiv 2503.20314) and diffusers' WanPipeline, whose cleaning of texts is followed; the encoder is
transformers'. Pictures need no encoder here: they are latents.

Departs from the published code in what it leaves out: padding, which the encoder's mask keeps from mattering. The states that
stand for it are zeros, as published, and the network does look at them.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import ftfy
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import UMT5EncoderModel

from keepworld_runtime.families.latent.offload import Lodger
from keepworld_runtime.families.latent.pretrained import config_of


def cleaned(text: str) -> str:
    """A text with broken Unicode mended, HTML's entities (even if escaped twice) resolved and whitespace in single spaces."""
    plain = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", plain).strip()


class Encoders:
    """UMT5's encoder, the only one.

    Args:
        lodger: `empty_language_model` with its weights.
        tokenizer: of transformers.
        num_tokens: that every text has: longer ones are cut off, shorter ones are filled up with zeros.
    """

    def __init__(self, lodger: Lodger[nn.Module], tokenizer: Any, num_tokens: int) -> None:
        self._lodger, self._tokenizer, self._num_tokens = lodger, tokenizer, num_tokens

    @torch.inference_mode()
    def encode_text(self, text: str) -> Tensor:
        """The states [1, L, C] of a text, float32."""
        tokens = self._tokenizer(cleaned(text), truncation=True, max_length=self._num_tokens).input_ids
        with self._lodger.there() as module:
            states: Tensor = module(input_ids=torch.tensor([tokens], device=self._lodger.device)).last_hidden_state
        return F.pad(states.float(), (0, 0, 0, self._num_tokens - states.shape[1]))


def empty_language_model(folder: Path) -> UMT5EncoderModel:
    """UMT5's encoder by its config.json, on the meta device.

    Raises:
        ValueError: it is of another kind of model.
    """
    config = config_of(folder, "umt5")
    with torch.device("meta"):
        return UMT5EncoderModel(config)
