"""Tokens and heads moved between the processes of a group: sequence parallelism by Ulysses.

Source: Jacobs et al., "DeepSpeed Ulysses" (arXiv 2309.14509). Between layers a rank holds an equal share of every latent's
tokens; for attention one all-to-all gives it all tokens of an equal share of the heads, and another takes the output back.
Departs from it: queries, keys and values travel in one message, and tokens are dealt out latent by latent, so that a
latent's modulation and cameras fall on every rank alike.

Sizes follow from the arguments alone, so nothing but the tensors themselves is sent, and nothing waits for the host.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from keepworld_runtime.parallelism.exchange import Runs


class ContextExchange:
    """`Exchange` over a process group; every rank makes the same calls in the same order.

    Args:
        group: whose ranks share the work; None: the default group.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        self._rank = dist.get_rank(group)
        self._num_ranks = dist.get_world_size(group)

    @property
    def num_ranks(self) -> int:
        """How many processes share the work."""
        return self._num_ranks

    def split(self, x: Tensor, runs: Runs) -> Tensor:
        """This rank's share [B, S/P, ...] of x [B, S, ...], which everyone has.

        Raises:
            ValueError: a latent's tokens cannot be shared evenly, or x has not as many tokens as `runs` says.
        """
        self._check_tokens(x.shape[1], runs)
        parts = [whole[:, :, self._rank].flatten(1, 2) for whole in self._dealt(x, runs, 1)]
        return _row(parts, dim=1)

    def join(self, x: Tensor, runs: Runs) -> Tensor:
        """The whole [B, S, ...] from everyone's share [B, S/P, ...].

        Raises:
            ValueError: as `split`.
        """
        self._check_tokens(x.shape[1] * self._num_ranks, runs)
        shares = self._gather(x)
        joined = x.new_empty(x.shape[0], x.shape[1] * self._num_ranks, *x.shape[2:])
        self._merge(shares, joined, runs, dim=1)
        return joined

    def to_heads(self, x: Tensor, runs: Runs) -> Tensor:
        """From one's tokens of all heads [N, B, S/P, H, d] to all tokens of one's heads [N, B, H/P, S, d].

        Raises:
            ValueError: as `split`, or the heads cannot be shared evenly.
        """
        num, batch, tokens, heads, channels = x.shape
        self._check_tokens(tokens * self._num_ranks, runs)
        own = self._heads(heads)
        sent = x.unflatten(3, (self._num_ranks, own)).permute(3, 0, 1, 4, 2, 5)  # [P, N, B, H/P, S/P, d]
        everyones = x.new_empty(num, batch, own, tokens * self._num_ranks, channels)
        self._merge(self._swap(sent), everyones, runs, dim=3)
        return everyones

    def to_tokens(self, x: Tensor, runs: Runs) -> Tensor:
        """Back from [N, B, H/P, S, d] to [N, B, S/P, H, d].

        Raises:
            ValueError: as `split`.
        """
        self._check_tokens(x.shape[3], runs)
        shares = [whole.movedim(4, 0).flatten(4, 5) for whole in self._dealt(x, runs, 3)]
        received = self._swap(_row(shares, dim=4))  # [P, N, B, H/P, S/P, d]
        return received.permute(1, 2, 4, 0, 3, 5).flatten(3, 4)

    def own_heads(self, x: Tensor) -> Tensor:
        """This rank's heads [B, H/P, L, d] of x [B, H, L, d], which everyone has.

        Raises:
            ValueError: the heads cannot be shared evenly.
        """
        own = self._heads(x.shape[1])
        return x.narrow(1, self._rank * own, own)

    def all_heads(self, x: Tensor) -> Tensor:
        """All heads [B, H, L, d] from everyone's [B, H/P, L, d]."""
        return self._gather(x).movedim(0, 1).flatten(1, 2)

    def _dealt(self, x: Tensor, runs: Runs, dim: int) -> list[Tensor]:
        """A view of every run of x, whose tokens are along `dim`, with [T, P, n/P] in the place of `dim`."""
        views, token = [], 0
        for frames, tokens in runs:
            run = x.narrow(dim, token, frames * tokens)
            views.append(run.unflatten(dim, (frames, self._num_ranks, tokens // self._num_ranks)))
            token += frames * tokens
        return views

    def _merge(self, shares: Tensor, whole: Tensor, runs: Runs, *, dim: int) -> None:
        """Write everyone's shares [P, ...], their tokens along `dim` of the whole, where they belong in it."""
        token = 0
        for (frames, tokens), place in zip(runs, self._dealt(whole, runs, dim), strict=True):
            own = frames * tokens // self._num_ranks
            run = shares.narrow(dim + 1, token, own).unflatten(dim + 1, (frames, -1))
            place.copy_(run.movedim(0, dim + 1))
            token += own

    def _swap(self, sent: Tensor) -> Tensor:
        """Row r of what every rank r gets: entry [r] of `sent` [P, ...] goes to rank r; gives [P, ...] by sender."""
        sent = sent.contiguous()
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=self._group)
        return received

    def _gather(self, x: Tensor) -> Tensor:
        """Everyone's x, [P, ...]."""
        gathered = x.new_empty(self._num_ranks * x.shape[0], *x.shape[1:])  # gloo takes no other form
        dist.all_gather_single(gathered, x.contiguous(), group=self._group)
        return gathered.unflatten(0, (self._num_ranks, -1))

    def _heads(self, heads: int) -> int:
        if heads % self._num_ranks:
            raise ValueError(f"{heads} heads cannot be shared evenly by {self._num_ranks} ranks")
        return heads // self._num_ranks

    def _check_tokens(self, num_tokens: int, runs: Runs) -> None:
        for _, tokens in runs:
            if tokens % self._num_ranks:
                raise ValueError(f"a latent's {tokens} tokens cannot be shared evenly by {self._num_ranks} ranks")
        told = sum(frames * tokens for frames, tokens in runs)
        if num_tokens != told:
            raise ValueError(f"the row must have the {told} tokens of its runs, got {num_tokens}")


def _row(parts: list[Tensor], dim: int) -> Tensor:
    """One after another along `dim`; a single one is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)
