"""Joining the group of processes that share a model, and leaving it."""

from __future__ import annotations

import logging

import torch
import torch.distributed as dist

logger = logging.getLogger(__name__)


def join(rank: int, num_ranks: int, rendezvous: str, device: torch.device) -> dist.ProcessGroup:
    """Join the group; waits until all are there. A process joins one group in its life, and leaves it by `leave`.

    Args:
        rank: this process's number, from 0.
        num_ranks: how many there are.
        rendezvous: URL at which they find each other, for `torch.distributed.init_process_group`: ``file://`` and the path of
            a file that does not exist yet, on one machine, or ``tcp://`` with host and port of rank 0.
        device: that this process computes on: over a GPU they talk by NCCL, over a CPU by gloo.

    Raises:
        ValueError: rank is not one of those, there is nowhere to meet, or the device's kind has nothing to talk by.
    """
    if not 0 <= rank < num_ranks:
        raise ValueError(f"rank must be 0 to {num_ranks - 1}, got {rank}")
    if not rendezvous:
        raise ValueError(f"rendezvous must be a URL for {num_ranks} ranks to meet at, got ''")
    backends = {"cuda": "nccl", "cpu": "gloo"}
    if device.type not in backends:
        raise ValueError(f"device must be of {' or '.join(backends)}, got {device.type}")
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        backends[device.type],
        init_method=rendezvous,
        rank=rank,
        world_size=num_ranks,
        device_id=device if on_gpu else None,
    )
    logger.info("rank %d of %d joined over %s", rank, num_ranks, backends[device.type])
    group = dist.group.WORLD
    assert group is not None
    return group


def leave() -> None:
    """Leave the group that this process joined; after that none of what talked over it can be used."""
    dist.destroy_process_group()
