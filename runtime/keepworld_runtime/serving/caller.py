"""Who a call is for, as far as what it begins must know: what goes on when the call has ended is theirs, and costs them."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol


class Caller(Protocol):
    """Somebody with a key."""

    def own(self, thing_id: str) -> None:
        """Say that something was made for them."""
        ...

    def draw(self, seconds: float) -> None:
        """Count what was drawn for them.

        Raises:
            QuotaError: that was the last of it.
        """
        ...


CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)  # None: a server without keys
