"""How long to wait before trying again, and when to stop trying."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from keepworld.errors import ServerError, SessionLostError

LONGEST_PAUSE_S = 2.0
_FIRST_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a call is made that may be made again, while no server is there; all of it within the client's deadline.

    Attributes:
        attempts: the first one included.

    Raises:
        ValueError: there is not even one.
    """

    attempts: int = 4

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be 1 or more, got {self.attempts}")


DEFAULT_RETRY = Retry()


def pause_s(attempt: int, asked_s: float | None = None) -> float:
    """How long to wait after a failed attempt (from 0): anything up to a bound that doubles, after what a server asks for.

    Source: "full jitter", M. Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015.
    """
    bound_s = min(LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(attempt, 10))
    return (asked_s or 0.0) + random.uniform(0.0, bound_s)  # noqa: S311


class Patience:
    """Of who waits for a stream to come back.

    Args:
        limit_s: how long it lasts, from the first failure that no success has followed.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._attempts = 0
        self._until_s = 0.0

    def renew(self) -> None:
        """Something came of it."""
        self._attempts = 0

    def next_pause_s(self, error: ServerError) -> float:
        """How long to wait now that this has happened.

        Raises:
            SessionLostError: it has gone on for too long.
        """
        now_s = time.monotonic()
        if self._attempts == 0:
            self._until_s = now_s + self._limit_s
        pause = pause_s(self._attempts, error.retry_after_s)
        self._attempts += 1
        if now_s + pause > self._until_s:
            self.renew()
            raise SessionLostError(
                f"the stream broke and could not be taken up again within {self._limit_s:g} s: {error}"
            ) from error
        return pause
