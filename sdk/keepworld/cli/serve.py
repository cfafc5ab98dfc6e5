"""``keepworld serve``: Run the server."""

from __future__ import annotations

from keepworld.cli.forward import become


def main(arguments: list[str]) -> int:
    """Run the server with the arguments of ``python -m keepworld_runtime``."""
    become("keepworld_runtime", arguments, extra="runtime")
