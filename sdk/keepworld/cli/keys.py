"""``keepworld keys``: make, list and revoke the keys that callers of a server show; hands over to the runtime."""

from __future__ import annotations

from keepworld.cli.forward import become


def main(arguments: list[str]) -> int:
    """Become ``python -m keepworld_runtime.keys``."""
    become("keepworld_runtime.keys", arguments, extra="runtime")
