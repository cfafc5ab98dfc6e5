"""A released config.json, read as a network's sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_MOST = 1 << 22  # no width, vocabulary or period of a network is larger
MOST_LAYERS = 1024  # nor is any deeper; making one that says so would never end


ConfigT = TypeVar("ConfigT", bound="DataclassInstance")


def read_config(path: Path) -> dict[str, object]:
    """The content of a config.json.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold an object, got {type(content).__name__}")
    return content


def sized(preset: ConfigT, path: Path, names: Mapping[str, str]) -> ConfigT:
    """A configuration with the sizes that a config.json gives, and the preset's for those that it does not.

    Args:
        preset: a frozen dataclass of integers, floats and tuples of integers.
        path: of the config.json; what it tells beside sizes is ignored.
        names: config.json's name of a size -> the preset's, where they differ.

    Raises:
        ValueError: a size is none.
    """
    told = read_config(path)
    known = {each.name: names.get(each.name, each.name) for each in fields(preset)}
    given = {
        name: _checked(path, there, told[there], getattr(preset, name))
        for name, there in known.items()
        if there in told
    }
    return replace(preset, **given)


def _checked(path: Path, name: str, value: object, like: object) -> object:
    if isinstance(like, tuple):
        if not isinstance(value, list) or len(value) != len(like):
            raise ValueError(f"{name} in {path} must be {len(like)} numbers, got {value!r}")
        return tuple(_checked(path, name, each, like[0]) for each in value)
    most = MOST_LAYERS if name.endswith(("layers", "depth")) else _MOST
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ValueError(f"{name} in {path} must be a number above 0 and at most {most}, got {value!r}")
    if isinstance(like, float):
        return float(value)
    if value != int(value):
        raise ValueError(f"{name} in {path} must be a whole number, got {value!r}")
    return int(value)
