"""``keepworld play``: the studio in a browser."""

from __future__ import annotations

import argparse
import asyncio

from keepworld.cli import OK, add_url_argument, command_parser
from keepworld.cli.forward import check_installed

EXAMPLES = """\
  keepworld play                                  starts a server and opens a browser
  keepworld play --url studio.example:7600        walks on a server that runs already (see: keepworld serve)
  keepworld play --no-open --port 8000            prints the link; ssh -L 8000:127.0.0.1:8000 shows it elsewhere

on the page:
  W A S D move, arrows or the mouse look, R F up and down, Q E lean, Shift runs, P pauses, Backspace undoes a chunk,
  B branches, N takes a snapshot, Enter types an event, K keeps; a gamepad works; a phone has two pads
"""


def main(arguments: list[str]) -> int:
    """Run the studio until Ctrl-C."""
    parser = command_parser(
        "play",
        "Walk worlds in a browser: from a prompt, with keys, mouse, gamepad or touch; have things happen; go back and branch; "
        "and keep the walk as splats, a mesh, points or a film. A reloaded page comes back to the same world.",
        examples=EXAMPLES,
    )
    add_url_argument(parser)
    add_page_arguments(parser, port=7680)
    parser.add_argument(
        "--pictures",
        choices=("auto", "h264", "jpeg"),
        default="auto",
        help="how frames travel: H.264 takes a quarter of JPEG's bytes and three times its work (default: auto, H.264 unless "
        "server and browser are both on this machine; a page without HTTPS elsewhere cannot decode it and gets JPEG)",
    )
    options = parser.parse_args(arguments)
    check_installed("keepworld play", extra="play")
    from keepworld.play.run import Where, play

    where = Where(
        host=options.host, port=options.port, names=tuple(options.name), opens=options.open, as_json=options.json
    )
    asyncio.run(play(options.url, where, options.pictures))
    return OK


def add_page_arguments(parser: argparse.ArgumentParser, *, port: int) -> None:
    """Where a page is, and whether a browser is opened."""
    parser.add_argument(
        "--port", type=int, default=port, help="the page's port, 0 for any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: this machine only). Beyond it nothing is encrypted: use a network you trust",
    )
    parser.add_argument(
        "--name", action="append", default=[], help="what else this machine may be called in the link; repeatable"
    )
    parser.add_argument("--no-open", dest="open", action="store_false", help="only print the link")
    parser.add_argument("--json", action="store_true", help="print the link as a line of JSON")
