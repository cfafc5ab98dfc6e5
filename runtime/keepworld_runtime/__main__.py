"""`keepworld-serve`: run a server until it is told to stop.

Says two lines of JSON on stdout: {"listening": "127.0.0.1:7600", "pid": 1234} as soon as the port is bound, and
{"ready": true, "warm_s": 1.2} when worlds can be walked. Everything else goes to the log, on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keepworld_runtime import config, logs
from keepworld_runtime.config import ServerConfig
from keepworld_runtime.families.family import DTYPES, OFFLOADS
from keepworld_runtime.kernels.names import KERNELS
from keepworld_runtime.memory.policies import POLICIES

logger = logging.getLogger(__name__)

_EXAMPLES = """\
examples:
  keepworld serve                                    127.0.0.1:7600, all cores
  keepworld serve --port 0 --threads 2               any free port; the first line on stdout says which
  KEEPWORLD_URL=127.0.0.1:7600 keepworld models      talk to it from another terminal
  keepworld serve --family worldplay-8b --checkpoint weights --device cuda
  keepworld serve --host 0.0.0.0 --tls-cert server.pem --tls-key server.key --keys server.keys      for others

Ctrl-C tells the clients, sends what has been made, and stops.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a server; gives the exit code: 0 stopped, 1 failed, 2 not understood."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    path, exit_with_stdin = options.pop("config", None), options.pop("exit_with_stdin", False)
    if "families" in options:
        options["families"] = tuple(options["families"])
    try:
        settings = config.read(path, options)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    logs.configure(settings.log_level, settings.log_format)
    return asyncio.run(serve(settings, exit_with_stdin=exit_with_stdin))


async def serve(settings: ServerConfig, *, exit_with_stdin: bool = False) -> int:
    """Serve until SIGINT, SIGTERM or, if asked to, the end of stdin."""
    from keepworld_runtime.serving.server import Server  # gRPC stays out of the worker, which imports this module too

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if exit_with_stdin:
        _when_stdin_ends(lambda: loop.call_soon_threadsafe(stop.set))
    started_s = time.monotonic()
    try:
        server = Server(settings)
    except ValueError as error:
        logger.error("%s", error)
        return 2
    try:
        await server.start()
    except OSError as error:
        logger.error("%s", error)
        return 1
    _say(listening=f"{settings.host}:{server.port}", pid=os.getpid())
    ready = asyncio.create_task(server.ready())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((ready, stopping), return_when=asyncio.FIRST_COMPLETED)
    if ready.done() and not ready.exception():
        _say(ready=True, warm_s=round(time.monotonic() - started_s, 3))
        await asyncio.wait((server.failed, stopping), return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    has_failed = server.failed.done()
    if has_failed:
        logger.error("the server cannot go on: %s", server.failed.exception())
    await server.stop()
    return 1 if has_failed else 0


def _say(**fields: Any) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def _when_stdin_ends(act: Callable[[], Any]) -> None:
    def wait() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        act()

    threading.Thread(target=wait, daemon=True, name="stdin").start()


def _parser() -> argparse.ArgumentParser:
    # Absent options stay absent, so that the file's settings show through.
    parser = argparse.ArgumentParser(
        prog="keepworld serve",
        description="Serve generated worlds over gRPC.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--config", type=Path, help="a TOML file with the settings below; the command line wins")
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port, 0 for any free one (7600)")
    parser.add_argument("--family", dest="families", action="append", help="may be given several times (diorama)")
    parser.add_argument("--threads", type=int, help="threads to draw with (all cores)")
    parser.add_argument("--max-sessions", type=int, help="sessions at once (8)")
    parser.add_argument("--idle-s", type=float, help="close a session after so long without a stream (600)")
    parser.add_argument("--dead-man-s", type=float, help="stand still after so long without a control (2)")
    parser.add_argument("--log-level", help="DEBUG, INFO, WARNING or ERROR (INFO)")
    parser.add_argument("--log-format", choices=logs.FORMATS, help="json: one object a line (text)")
    parser.add_argument("--metrics-port", type=int, help="answer Prometheus here; 0: nowhere (0)")
    parser.add_argument("--metrics-host", help="address of that port (127.0.0.1)")
    parser.add_argument("--no-reflection", dest="reflection", action="store_false", help="do not describe the services")
    access = parser.add_argument_group("who may call; needed to listen beyond this machine")
    access.add_argument("--tls-cert", dest="tls.cert", type=Path, metavar="PEM", help="the server's certificate")
    access.add_argument("--tls-key", dest="tls.key", type=Path, metavar="PEM", help="its private key")
    access.add_argument(
        "--tls-client-ca", dest="tls.client_ca", type=Path, metavar="PEM", help="take only clients this vouches for"
    )
    access.add_argument(
        "--keys", type=Path, metavar="FILE", help="take only callers with a key of this file (see: keepworld keys)"
    )
    access.add_argument("--insecure", action="store_true", help="listen beyond this machine without these")
    parser.add_argument("--chunk-floor-s", type=float, help="give no chunk up before so many seconds (20)")
    parser.add_argument(
        "--journal", type=Path, metavar="DIR", help="keep all that happens there, so that sessions outlive the server"
    )
    parser.add_argument(
        "--journal-blobs", metavar="URL", help="where what is big in it goes instead, such as s3://bucket/x"
    )
    exports = parser.add_argument_group("exports on the server; they need keepworld[export]")
    exports.add_argument(
        "--exports",
        type=Path,
        metavar="DIR",
        help="keep captures and exports there (in the journal's folder, or nowhere)",
    )
    for name, what, default in (
        ("memory", "memory that one export may take", 8),
        ("disk", "all captures and files together", 20),
    ):
        exports.add_argument(
            f"--export-{name}-gb", dest=f"export.{'max' if name == 'disk' else name}_bytes", type=_gibibytes, metavar="GB",
            help=f"{what} ({default})",
        )  # fmt: skip
    exports.add_argument(
        "--export-kept-s",
        dest="export.kept_s",
        type=float,
        metavar="S",
        help="forget what came of one after so long (3600)",
    )
    exports.add_argument("--export-jobs", dest="export.max_running", type=int, metavar="N", help="exports at once (1)")
    learned = parser.add_argument_group("families with weights")
    learned.add_argument("--checkpoint", dest="options.checkpoint", type=Path, metavar="DIR", help="where they lie")
    learned.add_argument(
        "--variant",
        dest="options.variant",
        metavar="NAME",
        help="which of the released weights, of keepworld models list",
    )
    learned.add_argument("--device", dest="options.device", metavar="DEVICE", help="cpu, cuda or auto (auto)")
    learned.add_argument("--dtype", dest="options.dtype", choices=DTYPES, help="what the device computes in (auto)")
    learned.add_argument(
        "--offload", dest="options.offload", choices=OFFLOADS, help="what leaves the device when it is not used (none)"
    )
    learned.add_argument(
        "--memory-policy",
        dest="options.memory",
        choices=POLICIES,
        help="what a view sees again (reconstituted, as trained; the others are for research)",
    )
    learned.add_argument(
        "--kernels",
        dest="options.kernels",
        type=_names,
        metavar="A,B",
        help=f"optional kernels, the preferred first, of {', '.join(KERNELS)}",
    )
    learned.add_argument(
        "--reference-noise",
        dest="options.reference_noise",
        action="store_true",
        help="draw noise as the published code does, for 240 latents, to compare with it",
    )
    learned.add_argument("--ranks", type=int, help="processes that draw each chunk together, one a GPU (1)")
    learned.add_argument(
        "--load-s", dest="patience.load_s", type=float, metavar="S", help="seconds that loading may take (1800)"
    )
    learned.add_argument(
        "--open-s", dest="patience.open_s", type=float, metavar="S", help="seconds that opening a world may take (300)"
    )
    learned.add_argument(
        "--warm-s",
        dest="patience.warm_s",
        type=float,
        metavar="S",
        help="seconds that each of the first two chunks may take (1800)",
    )
    learned.add_argument(
        "--silence-s",
        dest="patience.silence_s",
        type=float,
        metavar="S",
        help="seconds without a sign of life from a worker (15)",
    )
    parser.add_argument("--exit-with-stdin", action="store_true", help="stop when standard input ends")
    return parser


def _gibibytes(text: str) -> int:
    return int(float(text) * 2**30)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    sys.exit(main())
