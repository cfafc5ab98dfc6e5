"""The seam between a walk and what it remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from keepworld_runtime.memory.views import Views


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Context:
    """Past latents that are shown to the model again, in the order of time.

    Attributes:
        indices: [M] int64, ascending: how many latents the world had before each.
        latents: [1, C, M, h, w].
        views: their M cameras.
        pooling: [M] int64, 1 or the side of the square of tokens that is averaged into one, in keys and values; it divides
            both sides of a latent's grid of tokens.
    """

    indices: NDArray[np.int64]
    latents: Tensor
    views: Views
    pooling: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def num_tokens(self, rows: int, columns: int) -> int:
        """How many tokens it has, when a latent has rows × columns of them."""
        return int((rows * columns // self.pooling**2).sum())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MemoryState:
    """A memory, to be kept: `head` changes with every chunk, the bytes of a part never change under its name."""

    head: bytes
    parts: Mapping[str, bytes]


class ContextMemory(Protocol):
    """What is kept of one world's past. Its size and the cost of `select` are bounded, however long the walk."""

    @property
    def num_latents(self) -> int:
        """How many latents the world has had, kept or not."""
        ...

    def most_tokens(self, rows: int, columns: int) -> int:
        """How many tokens a context has at most, when a latent has rows × columns of them."""
        ...

    def select(self, views: Views) -> Context:
        """Choose what the next latents, whose cameras are `views`, need to see again; all of it is older than they are.

        Before anything has been remembered the context is empty, and its latents are [1, 0, 0, 0, 0].
        """
        ...

    def remember(self, latents: Tensor, views: Views) -> None:
        """Take in the next latents [1, C, T, h, w] with their T cameras.

        They are kept and chosen in clips of four, counted from the first of them.

        Raises:
            ValueError: they do not fit together, or are not like those before.
        """
        ...

    def last(self, count: int) -> Tensor:
        """The newest latents [1, C, count or fewer, h, w]: what a decoder is brought up to date with.

        Raises:
            ValueError: there are none yet, or none is asked for.
        """
        ...

    def state(self) -> MemoryState:
        """All that `restore` needs."""
        ...

    def restore(self, state: MemoryState) -> None:
        """Become the memory that `state` came from.

        Raises:
            ValueError: it is not the state of such a memory.
        """
        ...
