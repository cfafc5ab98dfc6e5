"""The table of families. A family is imported when it is chosen, not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from keepworld_runtime.families.family import Family, FamilyOptions

FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "diorama": "keepworld_runtime.families.diorama",
        "worldplay-8b": "keepworld_runtime.families.worldplay_8b",
        "worldplay-5b": "keepworld_runtime.families.worldplay_5b",
    }
)
PROCEDURAL = frozenset({"diorama"})  # without weights: they take no options and draw in one process


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """A family to be run: the module whose `family(options)` makes it, and how it shall be run."""

    module: str
    options: FamilyOptions = field(default_factory=FamilyOptions)

    def make(self) -> Family:
        """Import the module and make the family; loads nothing heavy.

        Raises:
            ValueError: the family cannot be run so.
        """
        family: Family = importlib.import_module(self.module).family(self.options)
        return family


def load_family(name: str, options: FamilyOptions | None = None) -> Family:
    """Make a family of the table; None runs it as it is run by default.

    Raises:
        ValueError: no family has that name, or it cannot be run so.
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown family {name!r}; known: {', '.join(FAMILIES)}")
    return Chosen(module=FAMILIES[name], options=options or FamilyOptions()).make()
