"""Whose each session, snapshot and asset is, and which key made it: kept beside the keys, so that a restart changes nothing."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import OrderedDict

from keepworld_runtime.serving.keys import Key

_SCHEMA = "CREATE TABLE IF NOT EXISTS owners (id BLOB PRIMARY KEY, tenant TEXT NOT NULL, key TEXT NOT NULL) STRICT, WITHOUT ROWID"

_MAX_KNOWN = 10_000


class Owners:
    """Who owns what, in a file of keys. Some ids are secrets, so it keeps what they hash to."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known = OrderedDict[str, str]()  # the tenants of what was asked for last: they never change
        connection.execute(_SCHEMA)

    def give(self, thing_id: str, key: Key) -> None:
        """Say that something was made with a key; who made it first, keeps it."""
        row = (_digest(thing_id), key.tenant, key.id)
        self._connection.execute("INSERT OR IGNORE INTO owners VALUES (?, ?, ?)", row)

    def tenant(self, thing_id: str) -> str | None:
        """Whose it is; None if nobody's."""
        if thing_id not in self._known:
            tenant = self._find("tenant", thing_id)
            if tenant is None:
                return None
            self._known[thing_id] = tenant
            if len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        return self._known[thing_id]

    def key_id(self, thing_id: str) -> str | None:
        """The key that it was made with."""
        return self._find("key", thing_id)

    def _find(self, column: str, thing_id: str) -> str | None:
        query = f"SELECT {column} FROM owners WHERE id = ?"  # noqa: S608 - one of two words above
        row = self._connection.execute(query, (_digest(thing_id),)).fetchone()
        return None if row is None else str(row[0])


def _digest(thing_id: str) -> bytes:
    return hashlib.sha256(thing_id.encode()).digest()
