"""The seam between a network and the processes it is spread over: who holds which tokens, and who which heads.

Between layers each process holds its share of every latent's tokens; inside attention each holds all tokens of its share of
the heads (Ulysses: Jacobs et al., arXiv 2309.14509). Text is held whole by everyone, but for attention.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

Runs = tuple[tuple[int, int], ...]  # as TokenLayout.runs


class Exchange(Protocol):
    """Moves tokens between processes. `runs` is the whole row's (latents, tokens in each)."""

    @property
    def num_ranks(self) -> int:
        """How many processes share the work."""
        ...

    def split(self, x: Tensor, runs: Runs) -> Tensor:
        """This process's share [B, S/P, ...] of x [B, S, ...], which everyone has: so many tokens of every latent."""
        ...

    def join(self, x: Tensor, runs: Runs) -> Tensor:
        """The whole [B, S, ...] from everyone's share [B, S/P, ...]."""
        ...

    def to_heads(self, x: Tensor, runs: Runs) -> Tensor:
        """From one's tokens of all heads [N, B, S/P, H, d] to all tokens of one's heads [N, B, H/P, S, d]; one message for N."""
        ...

    def to_tokens(self, x: Tensor, runs: Runs) -> Tensor:
        """Back from [N, B, H/P, S, d] to [N, B, S/P, H, d]."""
        ...

    def own_heads(self, x: Tensor) -> Tensor:
        """This process's heads [B, H/P, L, d] of x [B, H, L, d], which everyone has."""
        ...

    def all_heads(self, x: Tensor) -> Tensor:
        """All heads [B, H, L, d] from everyone's [B, H/P, L, d]."""
        ...


class Alone:
    """One process has everything."""

    num_ranks = 1

    def split(self, x: Tensor, runs: Runs) -> Tensor:
        """All of it."""
        return x

    def join(self, x: Tensor, runs: Runs) -> Tensor:
        """All of it."""
        return x

    def to_heads(self, x: Tensor, runs: Runs) -> Tensor:
        """Heads before tokens."""
        return x.transpose(2, 3)

    def to_tokens(self, x: Tensor, runs: Runs) -> Tensor:
        """Tokens before heads."""
        return x.transpose(2, 3)

    def own_heads(self, x: Tensor) -> Tensor:
        """All of them."""
        return x

    def all_heads(self, x: Tensor) -> Tensor:
        """All of them."""
        return x
