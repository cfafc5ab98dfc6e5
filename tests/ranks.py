"""A function run on several ranks at once, each a process of its own with gloo between them."""

from __future__ import annotations

import datetime
import multiprocessing
import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def run_on_ranks(num_ranks: int, function: Callable[..., Any], *args: Any, timeout_s: float = 120.0) -> list[Any]:
    """Call ``function(*args)`` in `num_ranks` processes, the default group made, and give the results in rank order.

    The function asks ``torch.distributed`` for its rank. It must stand at the top of a module, and it, its arguments
    and its results must pickle.

    Raises:
        RuntimeError: a rank raised (its traceback is the message) or ended without a result.
        TimeoutError: they were not all done in time. Either way no process is left behind.
    """
    context = multiprocessing.get_context("spawn")
    call = pickle.dumps((function, args))
    with tempfile.TemporaryDirectory(prefix="ranks") as meeting:
        ends: dict[Connection, int] = {}
        processes = []
        for rank in range(num_ranks):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=_one_rank, args=(rank, num_ranks, Path(meeting) / "meet", call, theirs, timeout_s), daemon=True
            )
            process.start()
            theirs.close()
            ends[ours] = rank
            processes.append(process)
        try:
            return _collect(ends, time.monotonic() + timeout_s)
        finally:
            for process in processes:
                process.kill()
                process.join()


def _collect(ends: dict[Connection, int], deadline: float) -> list[Any]:
    """Every rank's result in order; the first failure ends the wait, because the others are waiting for that rank."""
    results: dict[int, Any] = {}
    while len(results) < len(ends):
        ready = wait([end for end, rank in ends.items() if rank not in results], max(0.0, deadline - time.monotonic()))
        if not ready:
            late = sorted(set(ends.values()) - set(results))
            raise TimeoutError(f"ranks {late} of {len(ends)} were not done in time")
        for end in ready:
            assert isinstance(end, Connection)
            rank = ends[end]
            try:
                failure, result = pickle.loads(end.recv_bytes())
            except EOFError as error:
                raise RuntimeError(f"rank {rank} of {len(ends)} ended without a result") from error
            if failure:
                raise RuntimeError(f"rank {rank} of {len(ends)}:\n{failure}")
            results[rank] = result
    return [results[rank] for rank in sorted(results)]


def _one_rank(rank: int, num_ranks: int, meeting: Path, call: bytes, answer: Connection, timeout_s: float) -> None:
    """What one process does: join the group, call the function, send what came of it."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            init_method=meeting.as_uri(),
            rank=rank,
            world_size=num_ranks,
            timeout=datetime.timedelta(seconds=timeout_s),
        )
        function, args = pickle.loads(call)
        reply = pickle.dumps(("", function(*args)))
        dist.barrier()
    except BaseException:
        reply = pickle.dumps((traceback.format_exc(), None))
    answer.send_bytes(reply)
    answer.close()
    if dist.is_initialized():
        dist.destroy_process_group()
