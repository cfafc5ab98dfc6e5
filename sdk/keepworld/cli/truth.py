"""``keepworld truth``: Write the true surface of a captured world."""

from __future__ import annotations

from keepworld.cli.forward import become


def main(arguments: list[str]) -> int:
    """Write the true surface of a captured world with the arguments of ``python -m keepworld_runtime.truth``."""
    become("keepworld_runtime.truth", arguments, extra="runtime")
