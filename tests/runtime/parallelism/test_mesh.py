"""Processes meet at a URL, compute together and part."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from keepworld_runtime.parallelism.mesh import join, leave


def _meet(rank: int, rendezvous: str, answer: Connection) -> None:
    torch.set_num_threads(1)
    group = join(rank, 2, rendezvous, torch.device("cpu"))
    total = torch.tensor([10.0**rank])
    dist.all_reduce(total, group=group)
    found = (dist.get_backend(group), dist.get_rank(group), total.item())
    leave()
    answer.send((*found, dist.is_initialized()))


def test_ranks_meet_compute_together_and_part(tmp_path: Path) -> None:
    context, rendezvous = multiprocessing.get_context("spawn"), (tmp_path / "meet").as_uri()
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    processes = [
        context.Process(target=_meet, args=(rank, rendezvous, theirs), daemon=True)
        for rank, (_, theirs) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    try:
        assert all(ours.poll(60) for ours, _ in pipes)
        assert [ours.recv() for ours, _ in pipes] == [("gloo", 0, 11.0, False), ("gloo", 1, 11.0, False)]
    finally:
        for process in processes:
            process.kill()
            process.join()


@pytest.mark.parametrize(
    ("rank", "rendezvous", "device", "told"),
    [
        (2, "file:///nowhere", "cpu", "rank must be 0 to 1, got 2"),
        (0, "", "cpu", "rendezvous must be a URL for 2 ranks to meet at, got ''"),
        (0, "file:///nowhere", "meta", "device must be of cuda or cpu, got meta"),
    ],
)
def test_who_cannot_join_is_told_why(rank: int, rendezvous: str, device: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        join(rank, 2, rendezvous, torch.device(device))
