"""``keepworld snapshots``: the worlds that a server keeps for sessions to go on from."""

from __future__ import annotations

import argparse
import datetime
import os
from dataclasses import asdict
from pathlib import Path

from keepworld.capabilities import Snapshot
from keepworld.cli import OK, USAGE, add_url_argument, command_parser, print_json
from keepworld.sync import Client

EXAMPLES = """\
  keepworld snapshots list --url host:7600          id, chunks, family, seed, name; the newest first
  keepworld snapshots list --json | jq .id
  keepworld snapshots delete ID --url host:7600     it is kept no longer; sessions that went on from it go on
  keepworld snapshots export ID walk.kwj            all that led to it, as a file: see keepworld replay
  keepworld snapshots import walk.kwj --name lake   another server goes on from it

a snapshot is made and used by a program:
  kept = session.snapshot("before the storm")
  client.sessions.open(snapshot=kept)               or snapshot="ID"
"""


def main(arguments: list[str]) -> int:
    """List what a server keeps, or have it keep less."""
    parser = command_parser("snapshots", __doc__ or "", examples=EXAMPLES)
    actions = parser.add_subparsers(dest="action", required=True, metavar="list | delete | export | import")
    listing = actions.add_parser("list", help="a line for each, the newest first")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    deleting = actions.add_parser("delete", help="have some kept no longer")
    deleting.add_argument("ids", nargs="+", metavar="ID", help="as `list` prints it")
    exporting = actions.add_parser("export", help="write all that led to one to a file")
    exporting.add_argument("id", metavar="ID", help="as `list` prints it")
    exporting.add_argument("file", type=Path, metavar="FILE.kwj")
    importing = actions.add_parser("import", help="have a server keep the world that a file leads to")
    importing.add_argument("file", type=Path, metavar="FILE.kwj")
    importing.add_argument("--name", default="", help="for people")
    for action in (listing, deleting, exporting, importing):
        add_url_argument(action)
    options = parser.parse_args(arguments)
    if options.url is None and not os.environ.get("KEEPWORLD_URL"):
        print("say which server: --url host:port, or KEEPWORLD_URL")
        return USAGE
    with Client(options.url) as client:
        if options.action == "list":
            _list(client.snapshots(), options)
        elif options.action == "export":
            written = client.export_snapshot(options.id, options.file)
            print(f"{written}: {written.stat().st_size} bytes; keepworld replay {written} makes it again")
        elif options.action == "import":
            kept = client.import_journal(options.file, options.name)
            print(f"{kept.id}: {kept.chunks} chunks; go on from it with open(snapshot={kept.id!r})")
        else:
            for snapshot in options.ids:
                client.delete_snapshot(snapshot)
                print(f"{snapshot} is kept no longer")
    return OK


def _list(snapshots: list[Snapshot], options: argparse.Namespace) -> None:
    if options.json:
        for snapshot in snapshots:
            print_json(asdict(snapshot))
        return
    if not snapshots:
        print("none is kept")
    for snapshot in snapshots:
        made = datetime.datetime.fromtimestamp(snapshot.created_s, datetime.UTC).strftime("%Y-%m-%d %H:%M")
        size = "{}x{}".format(*snapshot.size)
        print(
            f"{snapshot.id}  {made}  {snapshot.chunks} chunks  {snapshot.model} {size}, seed {snapshot.seed}  {snapshot.name}"
        )
