"""A VAE's decode split by width: every rank computes a stripe of columns of every map.

A convolution of width three needs one column of each neighbour: one batched exchange with both, of one column each way.
Attention in the middle needs the whole map, which is at its smallest there. The decoder does not know: it asks its
`Columns` (``keepworld_runtime.layers.vae``), and here is the answer of one rank among several.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor


class Splittable(Protocol):
    """A decoder that can be told which columns to compute."""

    def split(self, columns: Stripe) -> None:
        """Compute only these columns from now on."""


class Stripe:
    """The columns of this rank. Widths that do not divide leave the first ranks one column of the latent more."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group = group
        self._rank = dist.get_rank(group)
        self._num_ranks = dist.get_world_size(group)

    def own(self, latent: Tensor) -> Tensor:
        """The columns [B, C, 1, h, w'] of a latent [B, C, 1, h, w], the same on all ranks, that this rank decodes.

        Raises:
            ValueError: the latent has fewer columns than there are ranks.
        """
        return latent.split(self._widths(latent.shape[-1]), dim=-1)[self._rank]

    def exchange(self, frames: Tensor) -> None:
        """Overwrite, in place, the outermost columns of frames [B, C, T, H, W' + 2] that neighbours computed."""
        arrived: list[tuple[int, Tensor]] = []
        messages: list[dist.P2POp] = []
        for neighbour, edge, inner in ((self._rank - 1, 0, 1), (self._rank + 1, -1, -2)):
            if 0 <= neighbour < self._num_ranks:
                ours = frames[..., inner].contiguous()
                theirs = torch.empty_like(ours)
                arrived.append((edge, theirs))
                messages.append(dist.P2POp(dist.isend, ours, group=self._group, group_peer=neighbour))
                messages.append(dist.P2POp(dist.irecv, theirs, group=self._group, group_peer=neighbour))
        if messages:
            for message in dist.batch_isend_irecv(messages):
                message.wait()
        for edge, theirs in arrived:
            frames[..., edge] = theirs

    def gather(self, x: Tensor, num_columns: int) -> Tensor:
        """All columns [B, C, T, H, W] of a map, on every rank, of which this rank computed x [B, C, T, H, W'].

        Args:
            x: this rank's columns.
            num_columns: w, columns of the whole latent; a map's stripes are as wide as the latent's, times W / w.
        """
        widths = self._widths(num_columns)
        scale = x.shape[-1] // widths[self._rank]
        # stripes travel at the widest one's size, so that one collective of equal parts does
        sent = x.new_empty((*x.shape[:-1], widths[0] * scale))
        sent[..., : x.shape[-1]] = x
        received = x.new_empty((self._num_ranks * x.shape[0], *sent.shape[1:]))
        dist.all_gather_into_tensor(received, sent, group=self._group)
        stripes = received.unflatten(0, (self._num_ranks, -1))
        return torch.cat([stripes[rank, ..., : width * scale] for rank, width in enumerate(widths)], dim=-1)

    def _widths(self, num_columns: int) -> list[int]:
        if num_columns < self._num_ranks:
            raise ValueError(f"a latent {num_columns} columns wide cannot be decoded on {self._num_ranks} ranks")
        share, rest = divmod(num_columns, self._num_ranks)
        return [share + (rank < rest) for rank in range(self._num_ranks)]


def split_decoder(decoder: Splittable, group: dist.ProcessGroup) -> None:
    """Decode with all ranks of a group from now on: each gives the same latents and gets the whole frames.

    Encoding stays whole on every rank that is asked to. States that were made before do not fit any more.
    """
    decoder.split(Stripe(group))
