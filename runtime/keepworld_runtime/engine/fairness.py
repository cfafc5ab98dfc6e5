"""What each tenant has been given of the worker's time, beside what realtime sessions were promised.

Start-time fair queueing (P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queueing", SIGCOMM 1996) with equal weights: who has
been given least goes first, and who wanted nothing for a while has saved nothing up.
"""

from __future__ import annotations

from collections.abc import Callable

from keepworld_runtime.engine.admission import MAX_LOAD

_OWED = (1 - MAX_LOAD) / 2  # of the time that realtime takes: a part of what is never promised


class Shares:
    """Counts seconds by tenant.

    Args:
        tenant_of: whose a session is, by its id; None: nobody's, and all those are one tenant's.

    Attributes:
        owed_s: to those that waited while realtime sessions took more than they had been promised.
    """

    def __init__(self, tenant_of: Callable[[str], str | None]) -> None:
        self._tenant_of = tenant_of
        self.owed_s = 0.0
        self._given_s: dict[str | None, float] = {}
        self._least_s = 0.0  # of the tenant served last: where those begin who come, or come back

    def given_s(self, session_id: str) -> float:
        """What a session's tenant has been given; the one with the least of those that want something is next."""
        return max(self._given_s.get(self._tenant_of(session_id), 0.0), self._least_s)

    def give(self, session_id: str, seconds: float) -> None:
        """Count what the session that was next has been given."""
        self.owed_s = max(0.0, self.owed_s - seconds)
        self._least_s = self.given_s(session_id)
        self._given_s[self._tenant_of(session_id)] = self._least_s + seconds
        self._given_s = {name: given_s for name, given_s in self._given_s.items() if given_s > self._least_s}

    def keep_waiting(self, seconds: float) -> None:
        """Count what a realtime session has been given while others waited."""
        self.owed_s += _OWED * seconds
