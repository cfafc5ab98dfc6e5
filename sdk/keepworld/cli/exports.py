"""``keepworld exports``: 3D files that a server makes of what was walked on it."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path

from keepworld.cli import FAILED, OK, USAGE, add_url_argument, command_parser, print_json
from keepworld.exported import Exported
from keepworld.sync import Client
from keepworld.sync_exports import Export
from keepworld.wire_export import ExportStatus

EXAMPLES = """\
  keepworld exports start SNAPSHOT abbey-3d                  all files and a report, fetched into abbey-3d/ when they are made
  keepworld exports start SNAPSHOT abbey-3d --files abbey.glb --profile unity
  keepworld exports start SNAPSHOT --preset standard         prints an id, and leaves it to the server
  keepworld exports list                                     those that the server keeps, the newest first
  keepworld exports fetch ID abbey-3d                        waits for it, if need be; goes on where a line broke
  keepworld exports cancel ID

the server draws the walk again and runs its own exporters (pip install 'keepworld[export]' there); it needs nothing here.
A snapshot's id comes from `keepworld snapshots list`, or a program: session.snapshot().id, or session.start_export().
"""


def main(arguments: list[str]) -> int:
    """Start, watch, fetch and end exports on a server."""
    options = _parser().parse_args(arguments)
    if options.url is None and not os.environ.get("KEEPWORLD_URL"):
        print("say which server: --url host:port, or KEEPWORLD_URL")
        return USAGE
    with Client(options.url) as client:
        if options.action == "list":
            _list(client.exports.list(), as_json=options.json)
        elif options.action == "start":
            return _start(client, options)
        elif options.action == "fetch":
            _tell(client.exports.get(options.id).download(options.folder, progress=True))
        elif options.action == "cancel":
            status = client.exports.get(options.id).cancel()
            print(f"{status.id} {status}")
            return OK if status.state == "cancelled" else FAILED
        else:
            for export_id in options.ids:
                client.exports.get(export_id).delete()
                print(f"{export_id} is kept no longer")
    return OK


def _start(client: Client, options: argparse.Namespace) -> int:
    export = client.exports.start(
        options.snapshot,
        *options.files,
        preset=options.preset,
        profile=options.profile,
        holdout=options.holdout,
        voxel=options.voxel,
        max_depth=options.max_depth,
        texture=options.texture,
    )
    if options.folder is None:
        print(export.id)
        return OK
    try:
        _tell(export.download(options.folder, progress=True))
    except KeyboardInterrupt:
        _give_up(export)
        raise
    return OK


def _give_up(export: Export) -> None:
    """End what was begun for who has pressed Ctrl-C."""
    print(f"\n{export.id} {export.cancel()}")


def _tell(made: Exported) -> None:
    for path in made.paths:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    if "psnr" in made.metrics:
        print(f"splats on held-out frames: {made.metrics['psnr']:.1f} dB")


def _list(statuses: list[ExportStatus], *, as_json: bool) -> None:
    if not statuses and not as_json:
        print("none is kept")
    for status in statuses:
        if as_json:
            print_json(asdict(status))
        else:
            size = sum(file.size for file in status.files) / 1e6
            what = (
                f"{status.frames} frames" if status.kind == "capture" else f"{len(status.files)} files, {size:.1f} MB"
            )
            print(f"{status.id}  {status.kind:<7}  {what:>20}  {status}")


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("exports", __doc__ or "", examples=EXAMPLES)
    actions = parser.add_subparsers(dest="action", required=True, metavar="start | list | fetch | cancel | delete")
    start = actions.add_parser("start", help="have what led to a snapshot made into files")
    start.add_argument("snapshot", metavar="SNAPSHOT", help="its id")
    start.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="fetch them there when they are made")
    start.add_argument(
        "--files", nargs="+", default=[], metavar="NAME", help="such as world.glb (default: the usual set)"
    )
    start.add_argument(
        "--preset", default="preview", choices=("preview", "standard", "final"), help="work put into splats"
    )
    start.add_argument("--profile", default="", help="the program that files are for, such as unity")
    start.add_argument("--holdout", type=int, metavar="N", help="keep every N-th frame for measuring; 0: none")
    start.add_argument("--voxel", type=float, metavar="M", help="cell size of the mesh")
    start.add_argument("--max-depth", type=float, metavar="M", help="how far from the cameras the mesh reaches")
    start.add_argument("--texture", type=int, default=0, metavar="N", help="texels along a side of the mesh's texture")
    listing = actions.add_parser("list", help="a line for each, the newest first")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    fetch = actions.add_parser("fetch", help="wait until one is done, and fetch its files")
    fetch.add_argument("id", metavar="ID", help="as `list` prints it")
    fetch.add_argument("folder", type=Path, metavar="FOLDER")
    cancel = actions.add_parser("cancel", help="end one, leaving nothing half made")
    cancel.add_argument("id", metavar="ID", help="as `list` prints it")
    delete = actions.add_parser("delete", help="have the server forget some, files and all")
    delete.add_argument("ids", nargs="+", metavar="ID", help="as `list` prints it")
    for action in (start, listing, fetch, cancel, delete):
        add_url_argument(action)
    return parser
