"""Configurations and tokenizers as transformers saves them, read from a folder; nothing in it is run, nothing is fetched."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from keepworld_runtime.families.latent.sizes import MOST_LAYERS, read_config

_DEPTHS = frozenset({"num_hidden_layers", "num_layers", "num_decoder_layers", "depth"})


def config_of(folder: Path, *kinds: str) -> Any:
    """The configuration of a model, to be changed at will.

    Args:
        folder: holds its config.json.
        kinds: of model that will do, by transformers' names.

    Raises:
        ValueError: it is of another kind, or says that it is deeper than any network.
    """
    path = folder / "config.json"
    _check_depth(path, read_config(path))  # before anyone makes a list as long as that
    config = copy.deepcopy(AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True))
    if config.model_type not in kinds:
        raise ValueError(f"{folder} must hold a model of kind {' or '.join(kinds)}, got {config.model_type}")
    return config


def _check_depth(path: Path, told: Mapping[str, object]) -> None:
    for name, value in told.items():
        if isinstance(value, dict):
            _check_depth(path, value)
        elif name in _DEPTHS and value is not None and (not isinstance(value, int) or not 0 < value <= MOST_LAYERS):
            raise ValueError(f"{name} in {path} must be 1 to {MOST_LAYERS}, got {value!r}")


def tokenizer_of(folder: Path) -> Any:
    """A tokenizer."""
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
