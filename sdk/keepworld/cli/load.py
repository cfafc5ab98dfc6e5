"""``keepworld bench load``: how many sessions a server holds.

A server process of its own serves prepared frames, so that drawing costs nothing and the server is what is measured. Sessions
in realtime read JPEG frames of one size; their number is doubled until it is too many, and the limit is found between.
A number is held when 99 of 100 frames are in the reader's hands within one frame's time and 50 ms of being drawn, none later
than that on the walk's own clock, and none is lost, doubled or out of order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import grpc.aio
import numpy as np

from keepworld.cli import OK, command_parser, print_json, size
from keepworld.cli.forward import check_installed
from keepworld.cli.processes import Usage, usage
from keepworld.cli.stacks import Share, hottest
from keepworld.cli.walker import TooLateError, Walked, walk
from keepworld.errors import UnavailableError
from keepworld.v1.world_service_pb2_grpc import WorldServiceStub

EXAMPLES = """\
  keepworld bench load
  keepworld bench load --seconds 30 --json
  keepworld bench load --model diorama --size 256x144      with what drawing costs
"""
FPS = 24.0
ALLOWED_MS = 1000 / FPS + 50
NULL = "null=keepworld_runtime.bench.null"
MOST = 256
COLUMNS = ("sessions", "p50 ms", "p99 ms", "late p99", "fps", "server", "encode", "worker", "client", "RSS MB", "held")
_WARM_S = 2.0
_PROFILE_S = 5.0
_CHUNK_FRAMES = 16  # which come at once, so that a span of time may have so many fewer


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One number of sessions.

    Attributes:
        p50_ms, p99_ms: from a frame's drawing to its arrival at the reader.
        late_p99_ms: behind the walk's own clock, which starts with the first chunk.
        fps: mean frames a second and session.
        server_cores, encode_cores, worker_cores, client_cores: processor time a second of the server process, of which
            encoding, of the worker that stands for the generator, and of all the readers together.
        server_rss: bytes.
        is_held: whether the figures are within bounds.
        why: what was not, "" if all was.
    """

    sessions: int
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    late_p99_ms: float = 0.0
    fps: float = 0.0
    server_cores: float = 0.0
    encode_cores: float = 0.0
    worker_cores: float = 0.0
    client_cores: float = 0.0
    server_rss: int = 0
    is_held: bool = False
    why: str = ""


def main(arguments: list[str]) -> int:
    """Find the number, print the table."""
    parser = command_parser("bench load", __doc__ or "", examples=EXAMPLES)
    parser.add_argument("--size", type=size, default=(832, 480), metavar="WxH", help="of frames (default: 832x480)")
    parser.add_argument(
        "--seconds", type=seconds, default=10.0, help="to measure each number of sessions (default: %(default)g)"
    )
    parser.add_argument("--model", default="null", help="the world family (default: prepared frames)")
    parser.add_argument("--most", type=count, default=MOST, help="sessions to try at most (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    check_installed("keepworld_runtime", extra="runtime")
    with served(options.model) as (address, pid):
        load = Load(address=address, pid=pid, model=options.model, size=options.size, seconds=options.seconds)
        say: Callable[[str], None] = (lambda line: None) if options.json else (lambda line: print(line, flush=True))
        say(machine_line(options))
        say("  ".join(COLUMNS))
        rows = asyncio.run(search(load, options.most, lambda row: say(format_row(row))))
        held = max((row for row in rows if row.is_held), key=lambda row: row.sessions, default=None)
        hot = asyncio.run(load.profile(held.sessions)) if held else []
    if options.json:
        print_json(
            {
                "machine": machine_line(options),
                "sessions": held.sessions if held else 0,
                "rows": [asdict(row) for row in rows],
                "profile": [asdict(share) for share in hot],
            }
        )
        return OK
    say(summary(held))
    for share in hot:
        say(f"  {share.part:6.1%}  {share.name}")
    return OK


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What is measured: a server, and what is read of it."""

    address: str
    pid: int
    model: str
    size: tuple[int, int]
    seconds: float

    async def measure(self, sessions: int) -> Row:
        """Walk so many sessions at once."""
        try:
            walked, before, after, client_s = await self._walk(sessions)
        except TooLateError as error:
            return Row(sessions=sessions, why=str(error))
        used = after.since(before)
        delivery_ms, late_ms = (np.concatenate([getattr(each, name) for each in walked]) * 1e3 for name in _SERIES)
        p50_ms, p99_ms = np.percentile(delivery_ms, (50, 99))
        late_p99_ms = float(np.percentile(late_ms, 99))
        fps = len(delivery_ms) / sessions / self.seconds
        is_late = max(p99_ms, late_p99_ms) > ALLOWED_MS
        is_slow = len(delivery_ms) < sessions * (FPS * self.seconds - _CHUNK_FRAMES)
        why = "late" if is_late else "slow" if is_slow else ""
        return Row(
            sessions=sessions,
            p50_ms=float(p50_ms),
            p99_ms=float(p99_ms),
            late_p99_ms=late_p99_ms,
            fps=fps,
            server_cores=used.own_s / self.seconds,
            encode_cores=sum(each.encode_s for each in walked) / self.seconds,
            worker_cores=used.children_s / self.seconds,
            client_cores=client_s / self.seconds,
            server_rss=after.rss,
            is_held=not why,
            why=why,
        )

    async def profile(self, sessions: int) -> list[Share]:
        """Where the server's time goes with so many sessions; nothing where there is no py-spy."""
        if shutil.which("py-spy") is None:
            return []
        longer = Load(address=self.address, pid=self.pid, model=self.model, size=self.size, seconds=_PROFILE_S + 1)
        walking = asyncio.create_task(longer._walk(sessions))
        await asyncio.sleep(_WARM_S)
        hot = await hottest(self.pid, _PROFILE_S)
        await asyncio.gather(walking, return_exceptions=True)
        return hot

    async def _walk(self, sessions: int) -> tuple[list[Walked], Usage, Usage, float]:
        """All walks, the server's usage before and after, and the seconds of processor that this process took."""
        options = [("grpc.max_receive_message_length", 32 << 20), ("grpc.use_local_subchannel_pool", 1)]
        begins_s = time.monotonic() + _WARM_S
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            stub = WorldServiceStub(channel)
            walks = [
                asyncio.create_task(
                    walk(stub, self.model, self.size, number / sessions, (begins_s, begins_s + self.seconds))
                )
                for number in range(sessions)
            ]
            try:
                await asyncio.sleep(begins_s - time.monotonic())
                before, client_s = usage(self.pid), time.process_time()
                await asyncio.sleep(self.seconds)
                after, client_s = usage(self.pid), time.process_time() - client_s
                return await asyncio.gather(*walks), before, after, client_s
            finally:
                for each in walks:
                    each.cancel()
                await asyncio.gather(*walks, return_exceptions=True)


_SERIES = ("delivery_s", "late_s")


async def search(load: Load, most: int, report: Callable[[Row], None]) -> list[Row]:
    """Double the number of sessions until it is too many, then halve the gap until it is one."""
    rows: list[Row] = []
    good, bad = 0, most + 1
    while bad - good > 1:
        wanted = min(max(1, good * 2), most) if bad > most else (good + bad) // 2
        rows.append(await load.measure(wanted))
        report(rows[-1])
        good, bad = (wanted, bad) if rows[-1].is_held else (good, wanted)
    return rows


@contextlib.contextmanager
def served(model: str) -> Iterator[tuple[str, int]]:
    """A server of this family; gives its address and process id once it is ready."""
    family = NULL if model == "null" else model
    command = [
        sys.executable, "-m", "keepworld_runtime", "--port", "0", "--family", family,
        "--max-sessions", str(MOST), "--log-level", "ERROR", "--exit-with-stdin",
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as server:  # noqa: S603
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            said = [json.loads(line) for line in (server.stdout.readline(), server.stdout.readline()) if line]
            if len(said) < 2 or "listening" not in said[0]:
                raise UnavailableError("the server did not start; its log above says more", code="LOCAL_SERVER")
            yield said[0]["listening"], server.pid
        finally:
            server.stdin.close()


def format_row(row: Row) -> str:
    """Set a row's cells under `COLUMNS`."""
    cells = (
        str(row.sessions),
        f"{row.p50_ms:.1f}",
        f"{row.p99_ms:.1f}",
        f"{row.late_p99_ms:.1f}",
        f"{row.fps:.1f}",
        f"{row.server_cores:.2f}",
        f"{row.encode_cores:.2f}",
        f"{row.worker_cores:.2f}",
        f"{row.client_cores:.2f}",
        f"{row.server_rss / 1e6:.0f}",
        "yes" if row.is_held else row.why,
    )
    return "  ".join(f"{cell:>{len(title)}}" for cell, title in zip(cells, COLUMNS, strict=True))


def summary(held: Row | None) -> str:
    """The figure, and what stands in the way of more."""
    if held is None:
        return "not even one session is held"
    parts = {
        "encoding pictures": held.encode_cores,
        "the server's other work": held.server_cores - held.encode_cores,
        "the worker": held.worker_cores,
        "the readers, which are on this machine too": held.client_cores,
    }
    most = max(parts, key=lambda name: parts[name])
    return (
        f"\n{held.sessions} sessions; {held.server_cores / held.sessions:.3f} cores a session in the server, "
        f"{held.server_rss / 1e6:.0f} MB. Most of the time goes to {most}: {parts[most]:.2f} of "
        f"{sum(parts.values()):.2f} cores"
    )


def machine_line(options: argparse.Namespace) -> str:
    """What is measured, on what."""
    width, height = options.size
    return (
        f"{len(os.sched_getaffinity(0))} cores; {options.model}, {width}x{height} JPEG q90, {FPS:g} FPS, "
        f"{options.seconds:g} s each; held: p99 within {ALLOWED_MS:.0f} ms"
    )


def seconds(text: str) -> float:
    """Read a time, 1 to 600 seconds."""
    with contextlib.suppress(ValueError):
        if 1 <= float(text) <= 600:
            return float(text)
    raise argparse.ArgumentTypeError(f"a number of seconds from 1 to 600 is wanted, got {text!r}")


def count(text: str) -> int:
    """Read a number of sessions, 1 to `MOST`."""
    if not (text.isdecimal() and 1 <= int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"a number from 1 to {MOST} is wanted, got {text!r}")
    return int(text)
