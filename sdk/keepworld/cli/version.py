"""``keepworld version``: what is installed."""

from __future__ import annotations

import platform

import keepworld
from keepworld.cli import OK, command_parser, print_json


def main(arguments: list[str]) -> int:
    """Print the version."""
    parser = command_parser("version", "Print the version.", examples="  keepworld version --json")
    parser.add_argument("--json", action="store_true", help="as a JSON object, with Python and the platform")
    if parser.parse_args(arguments).json:
        print_json(
            {"keepworld": keepworld.__version__, "python": platform.python_version(), "platform": platform.platform()}
        )
    else:
        print(f"keepworld {keepworld.__version__}")
    return OK
