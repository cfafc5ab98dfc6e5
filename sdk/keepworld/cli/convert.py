"""``keepworld convert``: Turn one file of a scene into another."""

from __future__ import annotations

from keepworld.cli.forward import become


def main(arguments: list[str]) -> int:
    """Convert a file with the arguments of ``python -m keepworld_exporters.convert``."""
    become("keepworld_exporters.convert", arguments, extra="export")
