"""Keys and values of what a chunk attends to, in slots that are made once and written in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class KVShape:
    """How large a cache is: layers, batch, heads, slots in a row, channels of a head."""

    layers: int
    batch: int = 1
    heads: int
    capacity: int
    head_dim: int


class KVCache:
    """Raw keys and values of one world, every layer's in one row: text first, then the context, then the chunk itself.

    Raw: normalised, but neither rotated nor projected, so that one copy serves both branches of attention. What the branches
    make of them goes into a workspace that the layers share; nothing is allocated from chunk to chunk.

    Attributes:
        k, v: [layers, B, H, capacity, d].
        workspace: [3, B, H, capacity, d]: rotated keys, projected keys, projected values of the layer at work.
        text_bias: [1, 1, 1, text] added to the logits of the text's keys, or None.
        num_text, num_context: how many slots the text and the context take.
    """

    def __init__(self, shape: KVShape, *, dtype: torch.dtype, device: torch.device | str) -> None:
        row = (shape.batch, shape.heads, shape.capacity, shape.head_dim)
        self.k = torch.zeros((shape.layers, *row), dtype=dtype, device=device)
        self.v = torch.zeros_like(self.k)
        self.workspace = torch.zeros((3, *row), dtype=dtype, device=device)
        self.text_bias: Tensor | None = None
        self.num_text = 0
        self.num_context = 0

    @property
    def capacity(self) -> int:
        """Slots in a row."""
        return self.k.shape[3]

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return sum(each.numel() * each.element_size() for each in (self.k, self.v, self.workspace))

    @property
    def past(self) -> int:
        """Slots before the chunk's own."""
        return self.num_text + self.num_context

    def text(self, layer: int) -> tuple[Tensor, Tensor]:
        """One layer's keys and values [B, H, text, d] of the text."""
        return self.k[layer, :, :, : self.num_text], self.v[layer, :, :, : self.num_text]

    def write_text(self, texts: Sequence[tuple[Tensor, Tensor]], bias: Tensor | None = None) -> None:
        """Set the text's keys and values, each [layers, B, H, L, d], of one text or several side by side.

        The context is void then.

        Raises:
            ValueError: they do not fit.
        """
        num_text = sum(k.shape[3] for k, _ in texts)
        self._check(num_text)
        self.num_text, self.num_context, self.text_bias = num_text, 0, bias
        start = 0
        for k, v in texts:
            end = start + k.shape[3]
            self.k[:, :, :, start:end] = k
            self.v[:, :, :, start:end] = v
            start = end

    def write(self, layer: int, k: Tensor, v: Tensor, at: int) -> None:
        """Set one layer's keys and values [B, H, S, d] from slot `at` on.

        Raises:
            ValueError: they do not fit.
        """
        self._check(at + k.shape[2])
        self.k[layer, :, :, at : at + k.shape[2]] = k
        self.v[layer, :, :, at : at + v.shape[2]] = v

    def _check(self, end: int) -> None:
        if end > self.capacity:
            raise ValueError(f"keys and values need {end} slots, there are {self.capacity}")
