"""By hand: ``python -m tests.faults.soak --minutes 60``. Sessions walk in real time for an hour, on a journal on disk.

Every frame is compared with what it must show. What the server, its worker and the client hold is sampled as they go; the
slope of each is a line fitted to what was sampled after the warm-up. What a chunk costs is counted: calls to write, bytes
written, and, since those are what a reader waits for, milliseconds of processor; early chunks against late ones.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from keepworld import AsyncClient
from keepworld.errors import CapacityError

from tests import families
from tests.faults.harness import server_process
from tests.runtime.serving.client import spec

EARLY, LATE = 150, 5000  # chunks
WINDOW = 100  # to either side: SQLite moves its log into its file every hundred or so
_WARM_SHARE = 1 / 6
_COUNTED = ("writes", "written", "cpu_ms")


@dataclass(frozen=True, slots=True)
class Sample:
    """What was held and had been spent when so many chunks of every session had come."""

    chunks: int
    seconds: float
    rss: tuple[int, int, int]
    writes: int
    written: int
    cpu_ms: float


@dataclass
class Soak:
    """What was found.

    Attributes:
        samples: one for each chunk of the session that is furthest behind.
        latency_ms: of each chunk of all sessions, from its beginning to its last encoded frame.
        frames: that came, each as it must be.
    """

    samples: list[Sample] = field(default_factory=list)
    latency_ms: list[list[float]] = field(default_factory=list)
    frames: int = 0

    def slopes(self) -> dict[str, float]:
        """Percent an hour that resident memory grows by, of each process, after the warm-up."""
        counted = self.samples[int(len(self.samples) * _WARM_SHARE) :]
        hours = np.array([sample.seconds for sample in counted]) / 3600
        found = {}
        for place, name in enumerate(("server", "worker", "client")):
            rss = np.array([sample.rss[place] for sample in counted], float)
            found[name] = float(np.polyfit(hours, rss, 1)[0] / rss.mean() * 100)
        return found

    def per_chunk(self, chunk: int) -> dict[str, float]:
        """What a chunk of all sessions costs, counted around this one."""
        first, last = (self.samples[at] for at in (chunk - WINDOW, min(chunk + WINDOW, len(self.samples) - 1)))
        return {
            name: (getattr(last, name) - getattr(first, name)) / (last.chunks - first.chunks) for name in _COUNTED
        } | {"latency_ms": float(np.median(np.array(self.latency_ms)[:, chunk - WINDOW : chunk + WINDOW]))}


async def soak(port: int, process: psutil.Process, *, sessions: int, chunks: int, pace: str = "realtime") -> Soak:
    """Walk `chunks` chunks in each of so many sessions."""
    found, started_s = Soak(latency_ms=[[] for _ in range(sessions)]), time.monotonic()
    (worker,) = (child for child in process.children() if child.memory_info().rss > 30 << 20)
    done = [0] * sessions

    def sample() -> None:
        used = [each.cpu_times() for each in (process, worker)]
        io = process.io_counters()
        found.samples.append(
            Sample(
                chunks=min(done),
                seconds=time.monotonic() - started_s,
                rss=tuple(each.memory_info().rss for each in (process, worker, psutil.Process())),
                writes=io.write_count,
                written=io.write_chars,
                cpu_ms=1e3 * sum(each.user + each.system for each in used),
            )
        )

    async def walk(client: AsyncClient, number: int) -> None:
        async with client.sessions.open("", model="gradient", seed=number, record=False) as session:
            async for chunk in session.stream(pace=pace):
                for each in chunk.frames:
                    due = families.picture(spec(seed=number), found_next[number], 0.0, 0)
                    np.testing.assert_array_equal(each.image, due)
                    found_next[number] += 1
                found.frames += len(chunk.frames)
                found.latency_ms[number].append(chunk.latency.chunk_ms)
                done[number] += 1
                if min(done) > len(found.samples):
                    sample()
                if done[number] == chunks:
                    return

    async def patient(client: AsyncClient, number: int) -> None:
        while done[number] == 0:  # a machine that is busy at the start promises nothing
            with contextlib.suppress(CapacityError):
                await walk(client, number)
            await asyncio.sleep(1)

    found_next = [0] * sessions
    async with AsyncClient(f"127.0.0.1:{port}") as client, asyncio.TaskGroup() as tasks:
        for number in range(sessions):
            tasks.create_task(patient(client, number))
    return found


def size_of(folder: Path) -> int:
    """Bytes of all files in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def run(minutes: float, sessions: int) -> int:
    """Soak a server of its own, and print what came of it."""
    told = families.GradientFamily.capabilities
    chunks = int(minutes * 60 * told.fps / told.chunk_frames)
    with tempfile.TemporaryDirectory() as folder:
        async with server_process("--journal", str(Path(folder) / "journal")) as (port, process):
            found = await soak(port, process, sessions=sessions, chunks=chunks)
            size = size_of(Path(folder))
    last = found.samples[-1]
    print(
        f"{sessions} sessions, {chunks} chunks each in {last.seconds / 60:.1f} min; {found.frames} frames, all as due"
    )
    print(f"journal {size / chunks / sessions:.0f} bytes a chunk; {os.cpu_count()} cores")
    for (name, slope), rss in zip(found.slopes().items(), last.rss, strict=True):
        print(f"{name:8}RSS {rss / 2**20:.1f} MiB, {slope:+.2f} %/h")
    for chunk in (EARLY, min(LATE, chunks - WINDOW - 1)):
        costs = ", ".join(f"{name} {value:.1f}" for name, value in found.per_chunk(chunk).items())
        print(f"around chunk {chunk}, for one of every session: {costs}")
    return 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--sessions", type=int, default=4)
    options = parser.parse_args()
    return asyncio.run(run(options.minutes, options.sessions))


if __name__ == "__main__":
    sys.exit(main())
