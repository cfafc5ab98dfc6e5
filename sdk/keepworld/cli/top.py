"""``keepworld top``: who walks on a server now, and how it copes; again and again, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import time

from keepworld.capabilities import Capabilities, SessionInfo
from keepworld.cli import OK, add_url_argument, command_parser
from keepworld.cli.scrape import Scrape, scrape
from keepworld.sync import Client

EXAMPLES = """\
  keepworld serve --metrics-port 9600          in one terminal
  keepworld top --url 127.0.0.1:7600 --metrics 127.0.0.1:9600
  keepworld top --once                         say it once, as for a script
"""
HEADINGS = ("session", "family", "size", "state", "chunks", "frames", "walked")
_WIDTHS = (10, 14, 10, 10, 7, 8, 9)
_HOME_AND_CLEAR = "\x1b[H\x1b[2J"
_MAX_ROWS = 200


def main(arguments: list[str]) -> int:
    """Show a server until Ctrl-C, or once."""
    parser = command_parser("top", "Show who walks on a server, and how it copes. Ctrl-C ends it.", examples=EXAMPLES)
    add_url_argument(parser)
    parser.add_argument(
        "--metrics", metavar="HOST:PORT", help="the server's metrics port, for rates and times (serve --metrics-port)"
    )
    parser.add_argument(
        "--every", type=seconds, default=2.0, metavar="S", help="seconds between looks (default: %(default)g)"
    )
    parser.add_argument("--once", action="store_true", help="look once and end")
    options = parser.parse_args(arguments)
    if options.url is None and not os.environ.get("KEEPWORLD_URL"):
        parser.error("which server? give --url host:port, or set KEEPWORLD_URL")
    with Client(options.url) as client, contextlib.suppress(KeyboardInterrupt):
        capabilities, before, before_s = client.capabilities(), None, time.monotonic()
        while True:
            now = scrape(options.metrics) if options.metrics else None
            now_s = time.monotonic()
            lines = overview(client.address or "", capabilities, client.sessions.list())
            if now:
                lines += rates(now.since(before) if before else None, now, now_s - before_s)
            show(lines, clear=not options.once and sys.stdout.isatty())
            if options.once:
                return OK
            before, before_s = now, now_s
            time.sleep(options.every)
    return OK


def overview(address: str, capabilities: Capabilities, sessions: list[SessionInfo]) -> list[str]:
    """The server, its families, and a line for each session."""
    lines = [
        f"keepworld {capabilities.server_version} at {address}   "
        f"sessions {len(sessions)} of {capabilities.limits.max_sessions}   {time.strftime('%H:%M:%S')}",
    ]
    lines += [
        f"{family.name} {family.version}: {family.chunk_s:.2f} s to draw {family.chunk_frames / family.fps:.2f} s"
        for family in capabilities.families
    ]
    lines += ["", _row(HEADINGS)]
    for session in sessions[:_MAX_ROWS]:
        walked_s = session.frames / capabilities.family(session.model).fps
        width, height = session.size
        lines.append(
            _row(
                (
                    session.id[:8],
                    session.model,
                    f"{width}x{height}",
                    session.state,
                    str(session.chunks),
                    str(session.frames),
                    f"{int(walked_s // 60)}:{walked_s % 60:04.1f}",
                )
            )
        )
    if len(sessions) > _MAX_ROWS:
        lines.append(f"and {len(sessions) - _MAX_ROWS} more")
    return lines


def rates(grown: Scrape | None, now: Scrape, span_s: float) -> list[str]:
    """What the metrics say: rates over the time since the last look, times over the same, or over all of it at the first."""
    per_s = 1 / span_s if grown and span_s > 0 else 0.0
    seen = grown or now
    refused = ", ".join(
        f"{reason} {count:.0f}" for reason, count in now.by("keepworld_refusals_total", "reason").items()
    )
    flow = (
        f"{seen.total('keepworld_frames_total') * per_s:.1f} frames/s   "
        f"{seen.total('keepworld_sent_bytes_total') * per_s / 1e6:.1f} MB/s"
        if grown
        else f"{now.total('keepworld_frames_total'):.0f} frames   {now.total('keepworld_sent_bytes_total') / 1e6:.1f} MB"
    )
    return [
        "",
        f"{flow}   waiting {now.total('keepworld_outbox_items'):.0f}   "
        f"worker restarts {now.total('keepworld_worker_restarts_total'):.0f}   "
        f"memory {now.total('process_resident_memory_bytes') / 1e6:.0f} MB",
        "control latency "
        + _quantiles(seen, "keepworld_control_latency_seconds")
        + "   frame delay "
        + _quantiles(seen, "keepworld_frame_delay_seconds"),
        "chunks: "
        + "   ".join(
            f"{stage} {_quantiles(seen, 'keepworld_chunk_seconds', stage=stage)}"
            for stage in ("draw", "encode", "whole")
        ),
        f"refused: {refused or 'nothing'}",
    ]


def show(lines: list[str], *, clear: bool) -> None:
    """Write a look, in place of the one before or below it."""
    sys.stdout.write((_HOME_AND_CLEAR if clear else "") + "\n".join(lines) + "\n" + ("" if clear else "\n"))
    sys.stdout.flush()


def seconds(text: str) -> float:
    """Read a time, 0.1 to 3600 seconds."""
    with contextlib.suppress(ValueError):
        if 0.1 <= float(text) <= 3600:
            return float(text)
    raise argparse.ArgumentTypeError(f"a number of seconds from 0.1 to 3600 is wanted, got {text!r}")


def _row(cells: tuple[str, ...]) -> str:
    return " ".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


def _quantiles(scraped: Scrape, histogram: str, **wanted: str) -> str:
    p50, p95 = (scraped.quantile(histogram, part, **wanted) * 1e3 for part in (0.5, 0.95))
    return "-" if math.isnan(p50) else f"p50 {p50:.0f} ms p95 {p95:.0f} ms"
