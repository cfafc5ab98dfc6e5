"""What each key has used of what it may: sessions at once; seconds of drawing, bytes uploaded and exports a day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keepworld_runtime.engine.errors import RequestError
from keepworld_runtime.serving.keys import Key, KeyFile, add_column

_DAY_S = 86_400.0
_SESSION_RETRY_S = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    key TEXT NOT NULL, day INTEGER NOT NULL, draw_s REAL NOT NULL, upload_bytes INTEGER NOT NULL,
    exports INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (key, day)
) STRICT, WITHOUT ROWID
"""


class QuotaError(RequestError):
    """A key has used what it may.

    Attributes:
        subject: the key's id.
    """

    status = "RESOURCE_EXHAUSTED"
    reason = "QUOTA"

    def __init__(self, message: str, *, subject: str, quota: str, retry_s: float) -> None:
        super().__init__(message, retry_s=retry_s, quota=quota)
        self.subject = subject


class Quotas:
    """Counts what keys use; days begin at midnight UTC.

    Args:
        keys: the file in which it is kept.
        live: how many sessions there are that were made with a key.
    """

    def __init__(self, keys: KeyFile, live: Callable[[str], int]) -> None:
        self._keys, self._connection, self._live = keys, keys.connection, live
        self._opening: Counter[str] = Counter()
        self._exporting: Counter[str] = Counter()
        self._connection.execute(_SCHEMA)
        add_column(self._connection, "usage", "exports", "INTEGER NOT NULL DEFAULT 0")

    @contextmanager
    def session(self, key: Key) -> Iterator[None]:
        """Hold the place of a session while it is being opened.

        Raises:
            QuotaError: there is none.
        """
        self.check_draw(key)
        most, there = key.allowance.max_sessions, self._live(key.id) + self._opening[key.id]
        if most is not None and there >= most:
            raise QuotaError(
                f"this key has {there} sessions and may have {most}; close one",
                subject=key.id, quota="max_sessions", retry_s=_SESSION_RETRY_S,
            )  # fmt: skip
        self._opening[key.id] += 1
        try:
            yield
        finally:
            self._opening[key.id] -= 1

    @contextmanager
    def export(self, key: Key) -> Iterator[None]:
        """Hold the place of an export while it is begun, and count it if it was.

        Raises:
            QuotaError: there is none.
        """
        most = key.allowance.exports
        if most is not None and self._used(key)[2] + self._exporting[key.id] >= most:
            raise self._spent(key, f"this key may begin {most} exports a day, and has", "exports")
        self._exporting[key.id] += 1
        try:
            yield
        finally:
            self._exporting[key.id] -= 1
        self._count(key, exports=1)

    def check_draw(self, key: Key) -> None:
        """See that a key may have more drawn.

        Raises:
            QuotaError: it may not, today.
        """
        most = key.allowance.draw_s
        if most is not None and self._used(key)[0] >= most:
            raise self._spent(key, f"this key may have {most:g} s of drawing a day, and has had them", "draw_s")

    def draw(self, key: Key, seconds: float) -> None:
        """Count what was drawn.

        Raises:
            QuotaError: that was the last of it.
        """
        self._count(key, draw_s=seconds)
        self.check_draw(key)

    def upload(self, key: Key, num_bytes: int) -> None:
        """Count what has come in.

        Raises:
            QuotaError: that is more than may come.
        """
        self._count(key, upload_bytes=num_bytes)
        most = key.allowance.upload_bytes
        if most is not None and self._used(key)[1] > most:
            raise self._spent(key, f"this key may upload {most} bytes a day, and has", "upload_bytes")

    def _count(self, key: Key, *, draw_s: float = 0.0, upload_bytes: int = 0, exports: int = 0) -> None:
        self._connection.execute(
            "INSERT INTO usage VALUES (?, ?, ?, ?, ?) ON CONFLICT (key, day) DO UPDATE SET draw_s = draw_s + excluded.draw_s,"
            " upload_bytes = upload_bytes + excluded.upload_bytes, exports = exports + excluded.exports",
            (key.id, self._day(), draw_s, upload_bytes, exports),
        )

    def _used(self, key: Key) -> tuple[float, int, int]:
        query = "SELECT draw_s, upload_bytes, exports FROM usage WHERE key = ? AND day = ?"
        row: tuple[float, int, int] | None = self._connection.execute(query, (key.id, self._day())).fetchone()
        return row or (0.0, 0, 0)

    def _day(self) -> int:
        return int(self._keys.clock() // _DAY_S)

    def _spent(self, key: Key, message: str, quota: str) -> QuotaError:
        """What is used up until midnight."""
        return QuotaError(message, subject=key.id, quota=quota, retry_s=_DAY_S - self._keys.clock() % _DAY_S)
