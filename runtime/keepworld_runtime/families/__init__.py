"""The table of families. A family is imported when it is chosen, not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from keepworld_runtime.families.family import Family

FAMILIES: Mapping[str, str] = MappingProxyType({"diorama": "keepworld_runtime.families.diorama"})


def load_family(name: str) -> Family:
    """Import a family and give its `FAMILY`.

    Raises:
        ValueError: no family has that name.
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown family {name!r}; known: {', '.join(FAMILIES)}")
    family: Family = importlib.import_module(FAMILIES[name]).FAMILY
    return family
