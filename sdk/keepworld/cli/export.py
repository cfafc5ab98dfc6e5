"""``keepworld export``: Export a capture, or pictures from elsewhere."""

from __future__ import annotations

from keepworld.cli.forward import become


def main(arguments: list[str]) -> int:
    """Export with the arguments of ``python -m keepworld_exporters``."""
    become("keepworld_exporters", arguments, extra="export")
