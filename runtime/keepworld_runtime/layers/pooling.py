"""Several tokens as one: keys and values averaged over squares of a latent's picture."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from keepworld_runtime.layers.rope import grid_positions
from keepworld_runtime.layers.tokens import TokenLayout


@dataclass(frozen=True, slots=True)
class Pooling:
    """A row of latents, each of whose squares of side × side tokens is averaged into one token in the square's middle.

    Source: RELIC (arXiv 2512.04040), which sees older latents again so.

    Attributes:
        sides: one a latent, in the order of time; 1 leaves a latent as it is.
        rows, columns: a whole latent's tokens.

    Raises:
        ValueError: a side does not divide rows and columns.
    """

    sides: tuple[int, ...]
    rows: int
    columns: int

    def __post_init__(self) -> None:
        for side in sorted(set(self.sides)):
            if side < 1 or self.rows % side or self.columns % side:
                raise ValueError(f"pooling must divide a latent's {self.rows} × {self.columns} tokens, got {side}")

    @property
    def layout(self) -> TokenLayout:
        """The row that is left."""
        tokens = self.rows * self.columns
        return TokenLayout(tuple((count, tokens // side**2) for side, count in self._runs())).merged()

    def positions(self) -> Tensor:
        """Places [S', 3] of what is left, as of `grid_positions`, latent i at time i."""
        places = [grid_positions([time], self.rows, self.columns, pooling=side) for time, side in enumerate(self.sides)]
        return torch.cat(places)

    def average(self, x: Tensor) -> Tensor:
        """The tokens [B, H, S', d] that are left of x [B, H, S, d]."""
        parts, start = [], 0
        for side, count in self._runs():
            tokens = count * self.rows * self.columns
            squares = (count, self.rows // side, side, self.columns // side, side)
            parts.append(x[:, :, start : start + tokens].unflatten(2, squares).mean((4, 6)).flatten(2, 4))
            start += tokens
        return torch.cat(parts, dim=2)

    def _runs(self) -> Iterator[tuple[int, int]]:
        """(side, latents) for every run of latents of one side."""
        return ((side, len(list(run))) for side, run in itertools.groupby(self.sides))
