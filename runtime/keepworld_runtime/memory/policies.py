"""The ways to remember a walk, by name. Free of torch: what a policy needs is imported when one is made."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from keepworld_runtime.memory.overlap import Points
from keepworld_runtime.memory.retrieval import Retrieval

if TYPE_CHECKING:
    from keepworld_runtime.memory.context import ContextMemory

DEFAULT = "reconstituted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A row of the table.

    Attributes:
        module: where it is; its `build(plan)` makes one.
        summary: what it does, in a line.
        is_research: whether no released model has been trained with it.
    """

    module: str
    summary: str
    is_research: bool


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "reconstituted": Policy(
            module="keepworld_runtime.memory.reconstituted",
            summary="the newest latents, the first, and the clips whose views overlap most (WorldPlay)",
            is_research=False,
        ),
        "hierarchical": Policy(
            module="keepworld_runtime.memory.hierarchical",
            summary="anchors, a pool of what was new when it was seen, and the newest latents (after WorldScape)",
            is_research=True,
        ),
        "compressed": Policy(
            module="keepworld_runtime.memory.compressed",
            summary="the newest latents whole, older ones averaged to fewer tokens (after RELIC)",
            is_research=True,
        ),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a memory is made for.

    Attributes:
        retrieval: how the model was trained to be shown its past.
        points: the points to compare views with.
        chunk_size: latents that are made together.
        recent: the newest latents that `last` can give, for as long as a decoder looks back.
        capacity: latents that are kept in all; the default is as far as the published rollout could go.
        patch: side, in a latent's cells, of the square that one token stands for.
        device: where latents are kept.
    """

    retrieval: Retrieval
    points: Points
    chunk_size: int = 4
    recent: int = 12
    capacity: int = 240
    patch: int = 1
    device: str = "cpu"


def check(name: str | None) -> str:
    """The name of a policy, the default for None.

    Raises:
        ValueError: there is none of that name.
    """
    name = DEFAULT if name is None else name
    if name not in POLICIES:
        raise ValueError(f"memory must be one of {', '.join(POLICIES)}, got {name!r}")
    return name


def create(name: str | None, plan: Plan) -> ContextMemory:
    """Make an empty memory.

    Raises:
        ValueError: there is no policy of that name, or the plan leaves it no room.
    """
    memory: ContextMemory = importlib.import_module(POLICIES[check(name)].module).build(plan)
    return memory
