"""How a world's state comes from a worker: the head, the names of all parts, and the bytes of those not told before."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from keepworld_runtime.families.family import WorldState


@dataclass(frozen=True, slots=True)
class StateChange:
    """A state as it differs from the one told before.

    Attributes:
        head: the new one.
        names: of all parts, in order.
        new: those parts whose bytes have not been told.
    """

    head: bytes
    names: tuple[str, ...]
    new: Mapping[str, bytes]

    @classmethod
    def of(cls, state: WorldState, known: Set[str]) -> StateChange:
        """What has to be told of `state` to somebody who has the parts `known`."""
        new = {name: part for name, part in state.parts.items() if name not in known}
        return cls(head=state.head, names=tuple(state.parts), new=new)

    def onto(self, before: WorldState | None) -> WorldState:
        """The whole state, for somebody who has the one `before`; parts no longer named are left behind."""
        parts = {**(before.parts if before else {}), **self.new}
        return WorldState(head=self.head, parts={name: parts[name] for name in self.names})
