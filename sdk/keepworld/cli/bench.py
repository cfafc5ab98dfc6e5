"""``keepworld bench``: what this machine does, measured through a real server and a real client.

``keepworld bench load`` finds how many sessions a server holds, ``keepworld bench encodings`` what a frame costs in each
encoding and what is lost. ``keepworld bench family`` measures a learned family without
server and client, stage by stage; it is a program of the runtime.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import asdict, dataclass

import numpy as np

from keepworld.cli import OK, add_url_argument, command_parser, load, print_json, size
from keepworld.cli.forward import become
from keepworld.frames import Encoding
from keepworld.sync import Client

EXAMPLES = """\
  keepworld bench
  keepworld bench --sizes 256x144 512x288 --encodings raw --chunks 20 --json
  keepworld bench load                       how many sessions the server holds (load --help says more)
  keepworld bench encodings                  bytes, CPU and PSNR of raw, PNG, JPEG, H.264 and depth
  keepworld bench family worldplay-8b        a learned model alone, stage by stage (family --help says more)
  keepworld bench splats                     training steps of splats, by size and count (splats --help says more)
"""
PROMPT = "meadow village with a windmill by a lake, summer morning"


COLUMNS = ("   size", "encoding", "chunks", "draw fps", "stream fps", "overhead ms p50", "p99", "kB/frame")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One measurement: a walk of some chunks, the first left out.

    Attributes:
        draw_fps: frames a second of the family alone.
        stream_fps: frames a second as they reach the client, everything included.
        overhead_p50_ms, overhead_p99_ms: time in the server less time in the family, a chunk.
        frame_bytes: mean size of a frame's picture on the wire.
    """

    size: str
    encoding: str
    chunks: int
    draw_fps: float
    stream_fps: float
    overhead_p50_ms: float
    overhead_p99_ms: float
    frame_bytes: int


def main(arguments: list[str]) -> int:
    """Measure and print a table; or hand over to the program that measures a family, or splats."""
    if arguments[:1] == ["load"]:
        return load.main(arguments[1:])
    if arguments[:1] == ["family"]:
        become("keepworld_runtime.bench", arguments[1:], extra="neural")
    if arguments[:1] == ["encodings"]:
        become("keepworld_runtime.bench.encodings", arguments[1:], extra="runtime")
    if arguments[:1] == ["splats"]:
        become("keepworld_exporters.bench_splats", arguments[1:], extra="export")
    parser = command_parser(
        "bench", "Measure this machine through a real server process and a real client.", examples=EXAMPLES
    )
    parser.add_argument(
        "--sizes", type=size, nargs="+", default=[(512, 288), (832, 480)], metavar="WxH", help="frame sizes"
    )
    parser.add_argument(
        "--encodings",
        nargs="+",
        choices=[*Encoding],
        default=["raw", "jpeg"],
        help="picture encodings (default: raw jpeg)",
    )
    parser.add_argument(
        "--chunks", type=chunk_count, default=25, help="chunks a row, the first not counted (default: %(default)s)"
    )
    parser.add_argument("--model", default="diorama", help="the world family (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_url_argument(parser)
    options = parser.parse_args(arguments)
    rows = []
    with Client(options.url) as client:
        if not options.json:
            print(f"{machine()}\n{options.model}: {PROMPT!r}, seed 1, one session as fast as possible\n")
            print("  ".join(COLUMNS))
        for frame_size in options.sizes:
            for encoding in options.encodings:
                rows.append(measure(client, options.model, frame_size, encoding, options.chunks))
                if not options.json:
                    print(format_row(rows[-1]), flush=True)
    if options.json:
        print_json({"machine": machine(), "model": options.model, "rows": [asdict(row) for row in rows]})
    return OK


def measure(client: Client, model: str, frame_size: tuple[int, int], encoding: str, chunks: int) -> Row:
    """Walk `chunks` chunks, turning slowly so that every frame differs, and sum up all but the first."""
    kept = []
    started = 0.0
    with client.sessions.open(text=PROMPT, model=model, seed=1, size=frame_size) as session:
        for chunk in session.stream(controls="forward 600s + look right 3600deg", encoding=encoding, pace="fast"):
            if chunk.index == 0:
                started = time.perf_counter()
                continue
            kept.append(chunk)
            if len(kept) == chunks:
                break
        elapsed = time.perf_counter() - started
    frames = sum(len(chunk.frames) for chunk in kept)
    overheads = [chunk.latency.chunk_ms - chunk.latency.draw_ms for chunk in kept]
    return Row(
        size=f"{frame_size[0]}x{frame_size[1]}",
        encoding=encoding,
        chunks=len(kept),
        draw_fps=frames / sum(chunk.latency.draw_ms for chunk in kept) * 1000,
        stream_fps=frames / elapsed,
        overhead_p50_ms=float(np.percentile(overheads, 50)),
        overhead_p99_ms=float(np.percentile(overheads, 99)),
        frame_bytes=sum(len(frame.data) for chunk in kept for frame in chunk.frames) // frames,
    )


def format_row(row: Row) -> str:
    """Set a row's cells under `COLUMNS`."""
    cells = (
        row.size,
        row.encoding,
        str(row.chunks),
        f"{row.draw_fps:.1f}",
        f"{row.stream_fps:.1f}",
        f"{row.overhead_p50_ms:.1f}",
        f"{row.overhead_p99_ms:.1f}",
        f"{row.frame_bytes / 1000:.1f}",
    )
    return "  ".join(f"{cell:>{len(title)}}" for cell, title in zip(cells, COLUMNS, strict=True))


def chunk_count(text: str) -> int:
    """Read a number of chunks, 2 to 1000."""
    if not (text.isdecimal() and 2 <= int(text) <= 1000):
        raise argparse.ArgumentTypeError(f"a number from 2 to 1000 is wanted, got {text!r}")
    return int(text)


def machine() -> str:
    """Name the processor and count its cores."""
    model = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as file:  # noqa: PTH123
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
