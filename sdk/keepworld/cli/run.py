"""``keepworld run``: the walks described in a file."""

from __future__ import annotations

from pathlib import Path

from keepworld import shots
from keepworld.capture import Capture
from keepworld.cli import OK, add_url_argument, command_parser
from keepworld.cli.capture import report
from keepworld.sync import Client

EXAMPLES = """\
  keepworld run shots.jsonl --out captures          one capture a shot: captures/NAME
  keepworld run abbey.json --out . --json
"""


def main(arguments: list[str]) -> int:
    """Make every shot of a file."""
    parser = command_parser(
        "run", (shots.__doc__ or "") + "\nShots that are there already are left as they are.", examples=EXAMPLES
    )
    parser.add_argument("file", type=Path, help="a .json or .jsonl file of shots")
    parser.add_argument(
        "--out", type=Path, default=Path("captures"), help="the folder their captures go into (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a shot instead of words")
    add_url_argument(parser)
    options = parser.parse_args(arguments)
    todo = shots.read(options.file)
    with Client(options.url) as client:
        for number, shot in enumerate(todo, 1):
            folder = options.out / shot.name
            if (folder / "capture.json").exists():
                if not options.json:
                    print(f"{folder} is there already")
                report(Capture(folder), as_json=options.json)
                continue
            if not options.json:
                print(f"[{number}/{len(todo)}] {shot.name}: {shot.prompt}")
            report(shot.make(client, folder, progress=not options.json), as_json=options.json)
    return OK
