"""Commands that are programs of another part: the server, the exporters, the truth."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import NoReturn

from keepworld.errors import MissingExtraError


def become(module: str, arguments: list[str], *, extra: str) -> NoReturn:
    """Turn this process into ``python -m module``, so that signals and exit status are its own.

    Raises:
        MissingExtraError: the part is not installed.
    """
    check_installed(module, extra=extra)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606


def check_installed(module: str, *, extra: str) -> None:
    """Refuse to go on without the libraries of an extra: a MissingExtraError that says how to get them."""
    needed = {
        "runtime": ("embreex", "numba", "grpc_health", "PIL", "prometheus_client"),
        "neural": ("torch", "diffusers", "transformers", "safetensors"),
        "play": ("aiohttp",),
        "export": ("open3d", "av", "scipy", "fast_simplification"),
    }
    missing = [name for name in needed[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{module} needs {', '.join(missing)}", install=f"pip install -c constraints.txt 'keepworld[{extra}]'"
        )
