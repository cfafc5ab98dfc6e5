"""``keepworld view``: splats, meshes, points, cameras and captures in a browser, or as a picture."""

from __future__ import annotations

import asyncio

from keepworld.cli import OK, command_parser
from keepworld.cli.forward import become, check_installed
from keepworld.cli.play import add_page_arguments

EXAMPLES = """\
  keepworld view scene.splat.ply                       in the browser
  keepworld view scene.splat.ply scene.glb walk        splats, a mesh and a walk's cameras in one space
  keepworld view scene.spz --png scene.png             a picture, without a screen (view --png OUT --help says more)
  keepworld view scene.glb walk --png first.png --camera 0     as the walk's first frame saw it

in the browser: drag turns, the wheel zooms, W A S D moves, 1 2 3 4 show and hide, C steps through the walk's cameras
"""


def main(arguments: list[str]) -> int:
    """Show files until Ctrl-C; or hand over to the program that draws them."""
    if any(word == "--png" or word.startswith("--png=") for word in arguments):
        become("keepworld_exporters.view", arguments, extra="export")
    parser = command_parser(
        "view",
        "Look at anything that `keepworld export` and `keepworld convert` write or read, and at captures. With --png OUT: "
        "a picture of it, drawn on the CPU.",
        examples=EXAMPLES,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a scene's file, cameras, or a capture")
    parser.add_argument("--png", metavar="OUT", help="write a picture and show nothing")
    add_page_arguments(parser, port=7681)
    options = parser.parse_args(arguments)
    check_installed("keepworld view", extra="play")
    check_installed("keepworld view", extra="export")
    from keepworld.play.run import Where, view

    where = Where(
        host=options.host, port=options.port, names=tuple(options.name), opens=options.open, as_json=options.json
    )
    asyncio.run(view(options.files, where))
    return OK
