"""``keepworld replay``: Make a kept walk again, and compare every frame."""

from __future__ import annotations

from keepworld.cli.forward import become


def main(arguments: list[str]) -> int:
    """Make a kept walk again with the arguments of ``python -m keepworld_runtime.replay``."""
    become("keepworld_runtime.replay", arguments, extra="runtime")
