"""How the tokens of several latents stand in one row, and how what belongs to a latent reaches all of its tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """Latent after latent, each row by row.

    Attributes:
        runs: (latents, tokens in each of them), one pair for every run of latents of one size.
    """

    runs: tuple[tuple[int, int], ...]

    @property
    def num_frames(self) -> int:
        """Latents in all."""
        return sum(frames for frames, _ in self.runs)

    @property
    def num_tokens(self) -> int:
        """Tokens in all."""
        return sum(frames * tokens for frames, tokens in self.runs)

    def __add__(self, other: TokenLayout) -> TokenLayout:
        return TokenLayout((*self.runs, *other.runs)).merged()

    def merged(self) -> TokenLayout:
        """The same with neighbouring runs of one size joined, and without empty ones."""
        runs: list[tuple[int, int]] = []
        for frames, tokens in self.runs:
            if runs and runs[-1][1] == tokens:
                runs[-1] = (runs[-1][0] + frames, tokens)
            elif frames:
                runs.append((frames, tokens))
        return TokenLayout(tuple(runs))

    def shared(self, num_ranks: int) -> TokenLayout:
        """What each of `num_ranks` has when every latent's tokens are dealt out evenly.

        Raises:
            ValueError: they cannot be.
        """
        for _, tokens in self.runs:
            if tokens % num_ranks:
                raise ValueError(f"a latent's {tokens} tokens cannot be shared evenly by {num_ranks} ranks")
        return TokenLayout(tuple((frames, tokens // num_ranks) for frames, tokens in self.runs))

    def framewise(self, act: Callable[..., Tensor], x: Tensor, *values: Tensor, dim: int = 1) -> Tensor:
        """Apply ``act(x, *values)`` with each latent's values beside its tokens.

        Args:
            act: gets x with `dim` split into [T, n], and each value with a 1 inserted behind its T, so that they broadcast.
            x: tokens along `dim`.
            values: latents along `dim`.
            dim: counted from the front.
        """
        parts, token, frame = [], 0, 0
        for frames, tokens in self.runs:
            run = x.narrow(dim, token, frames * tokens).unflatten(dim, (frames, tokens))
            beside = (value.narrow(dim, frame, frames).unsqueeze(dim + 1) for value in values)
            parts.append(act(run, *beside).flatten(dim, dim + 1))
            token, frame = token + frames * tokens, frame + frames
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def even(num_frames: int, tokens: int) -> TokenLayout:
    """So many latents of so many tokens each."""
    return TokenLayout(((num_frames, tokens),))
