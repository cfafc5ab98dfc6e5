"""The command line: ``keepworld COMMAND``. Each command is a file beside this one; this one tells them apart."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from keepworld.errors import CapacityError, KeepworldError, UnavailableError

OK, FAILED, USAGE, UNAVAILABLE, FULL, INTERRUPTED = 0, 1, 2, 3, 4, 130

COMMANDS = {
    "demo": "walk a world and keep it, start to finish, in about three minutes",
    "serve": "run the server that worlds are streamed from",
    "play": "walk worlds in a browser: prompt, walk, events, undo, and keep what you saw",
    "capture": "walk through a world as described in words and keep every frame with its camera",
    "run": "make the captures described in a file of shots",
    "export": "turn a capture, or pictures from elsewhere, into splats, a mesh, points, a video and a report",
    "view": "look at splats, meshes, points, cameras and captures, in a browser or as a picture",
    "convert": "turn one file of a scene into another, for the program it is going to",
    "replay": "make a kept walk again, and compare every frame with what it was",
    "truth": "write the true surface of a captured world, for measuring exports against",
    "snapshots": "the worlds that a server keeps for sessions to go on from",
    "exports": "3D files that a server makes of what was walked on it",
    "models": "what a server can draw, and the learned models: list, plan, pull, verify",
    "keys": "make, list and revoke the keys that callers of a server show",
    "top": "who walks on a server now, and how it copes",
    "bench": "measure this machine: frames a second, server overhead, bytes",
    "doctor": "check this machine: what is there, what is missing, what that costs",
    "version": "print the version",
}
EPILOG = """\
start here:
  keepworld demo                                            everything once, into ./demo
  keepworld play                                            the same by hand, in a browser
  keepworld capture abbey --prompt "mossy ruined abbey, morning fog" --walk "forward 6s, look left 90deg"
  keepworld export abbey abbey-3d                           abbey-3d/scene.splat.ply, scene.glb, report.html …

environment:
  KEEPWORLD_URL     host:port of a running server; without it commands start one of their own
  KEEPWORLD_API_KEY the key to show it, if it wants one

exit status: 0 done, 1 failed, 2 usage, 3 no server, 4 server full, 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="keepworld",
        description="Walk a generated world in real time, and keep it in 3D.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
        usage="keepworld COMMAND [...]",
    )
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {what}" for name, what in COMMANDS.items())
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below; COMMAND --help says more")
    parser.epilog = f"commands:\n{listing}\n\n{EPILOG}"
    if not arguments:
        parser.print_help()
        return USAGE
    command = parser.parse_args(arguments[:1]).command
    module = importlib.import_module(f"keepworld.cli.{command}")
    return run_command(module.main, arguments[1:])


def run_command(command: object, arguments: list[str]) -> int:
    """Call a command; turn what it raises into a message on stderr and an exit status."""
    assert callable(command)
    try:
        status = command(arguments)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as in `keepworld models | head`
        sys.stderr.close()
        return OK
    except (KeepworldError, ValueError, OSError) as error:
        print(f"keepworld: {error}", file=sys.stderr)
        return (
            FULL if isinstance(error, CapacityError) else UNAVAILABLE if isinstance(error, UnavailableError) else FAILED
        )
    assert isinstance(status, int)
    return status


def command_parser(name: str, description: str, *, examples: str) -> argparse.ArgumentParser:
    """A parser for one command whose --help ends in examples."""
    return argparse.ArgumentParser(
        prog=f"keepworld {name}",
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_world_arguments(parser: argparse.ArgumentParser, *, prompt: str | None) -> None:
    """The arguments of every command that opens a world; `prompt` is the default, None makes it required."""
    parser.add_argument(
        "--prompt", default=prompt, required=prompt is None, help="the world, in words (see: keepworld models)"
    )
    parser.add_argument(
        "--seed", type=int, help="the same prompt and seed give the same world (default: a random one, printed)"
    )
    parser.add_argument("--size", type=size, help="frame size as WIDTHxHEIGHT (default: the family's first)")
    parser.add_argument("--mode", help="how to move: walk or fly, as the family offers (default: its first)")
    parser.add_argument("--model", default="diorama", help="the world family (default: %(default)s)")
    add_url_argument(parser)


def add_url_argument(parser: argparse.ArgumentParser) -> None:
    """--url, of every command that talks to a server."""
    parser.add_argument(
        "--url", help="host:port of a server (default: KEEPWORLD_URL, else one is started for this command)"
    )


def size(text: str) -> tuple[int, int]:
    """Read a size such as 512x288."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"a size looks like 512x288, got {text!r}")
    return int(width), int(height)


def print_json(content: object) -> None:
    """Print one JSON object on one line."""
    print(json.dumps(content, default=str), flush=True)


if __name__ == "__main__":
    sys.exit(main())
