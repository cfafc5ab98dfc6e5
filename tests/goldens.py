"""Outputs recorded from the published implementations: where they lie, and how they are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

REPOSITORY = Path(__file__).resolve().parent.parent


def folder(name: str) -> Path:
    """The folder of one model's recordings; the test that asks is skipped, with the reason, where they are absent.

    ``KEEPWORLD_GOLDENS`` names the root; else it is ``goldens`` under ``KEEPWORLD_SHARED``, which is ``../shared``
    beside the repository unless set.

    Args:
        name: the model, "worldplay8b" or "worldplay5b".
    """
    shared = Path(os.environ.get("KEEPWORLD_SHARED", REPOSITORY.parent / "shared"))
    path = Path(os.environ.get("KEEPWORLD_GOLDENS", shared / "goldens")) / name
    if not path.is_dir():
        pytest.skip(f"no recordings in {path}; KEEPWORLD_GOLDENS names the folder that holds {name}")
    return path


def load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file: its tensors by name, on the CPU, and its metadata."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
