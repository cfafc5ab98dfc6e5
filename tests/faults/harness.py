"""A server process to be mistreated, and what it holds on to."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import psutil
from keepworld.v1 import frame_pb2

from tests import families
from tests.runtime.serving.client import LOADING_WITHIN_S, eventually, pixels, spec

SETTLED_WITHIN = 2  # files that come and go by themselves
POOL = min(32, (os.cpu_count() or 1) + 4)  # threads that asyncio makes when they are first needed, and keeps


@asynccontextmanager
async def server_process(*options: str) -> AsyncIterator[tuple[int, psutil.Process]]:
    """A server of the gradient family, ready; gives its port and process."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "keepworld_runtime", "--port", "0", "--family", "gradient=tests.families",
        "--log-level", "ERROR", "--exit-with-stdin", *options,
        stdin=pipe, stdout=pipe,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        async with asyncio.timeout(LOADING_WITHIN_S):
            listening, ready = [json.loads(await process.stdout.readline()) for _ in range(2)]
        assert ready["ready"]
        yield int(listening["listening"].rpartition(":")[2]), psutil.Process(process.pid)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds: open files, threads, children, resident bytes."""

    files: int
    threads: int
    children: int
    rss: int

    @classmethod
    def by(cls, process: psutil.Process) -> Held:
        """Count now."""
        gc.collect()
        files, threads = process.num_fds(), process.num_threads()
        return cls(files, threads, len(process.children(recursive=True)), process.memory_info().rss)

    def is_back_at(self, before: Held) -> bool:
        """Whether no more is held than before, memory aside."""
        return (
            self.files <= before.files + SETTLED_WITHIN
            and self.threads <= before.threads + POOL
            and self.children == before.children
        )


async def until_back_at(process: psutil.Process, before: Held) -> Held:
    """Wait until nothing more is held than before; gives what is."""
    with contextlib.suppress(TimeoutError):
        await eventually(lambda: Held.by(process).is_back_at(before))
    held = Held.by(process)
    assert held.is_back_at(before), f"{held} is held, before it was {before}"
    return held


def check_walk(frames: list, num_frames: int, *, step: float = 0.0, seed: int = 7) -> None:
    """Every frame is there once, in order, whole, and to the byte what an uninterrupted walk shows."""
    assert len(frames) == num_frames
    for seq, frame in enumerate(frames):
        check_frame(frame, seq, step=step, seed=seed)


def check_frame(frame: frame_pb2.Frame, seq: int, *, step: float = 0.0, seed: int = 7) -> None:
    """It is the one that was due, whole, and shows what an uninterrupted walk shows there."""
    assert frame.seq == seq
    np.testing.assert_array_equal(pixels(frame), families.picture(spec(seed=seed), seq, step * seq, 0))
