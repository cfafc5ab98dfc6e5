"""Keys that callers show: made once, kept as hashes in a file, good until they expire or are revoked.

A key is `kw_ID_SECRET`. The secret has 256 bits from the system's own generator, so that one round of SHA-256 keeps it as well
as any slower hash; the id is no secret and finds the row.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from keepworld_runtime.engine.errors import RequestError

_PREFIX = "kw"
_MAX_NAME_CHARS = 64
_Row = tuple[Any, ...]  # as the schema has it
_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, hash BLOB NOT NULL, tenant TEXT NOT NULL, scopes TEXT NOT NULL, created_s REAL NOT NULL,
    expires_s REAL, revoked_s REAL, max_sessions INTEGER, max_session_s REAL, draw_s REAL, upload_bytes INTEGER,
    exports INTEGER
) STRICT
"""


class Scope(StrEnum):
    """What a key is good for."""

    STREAM = "stream"
    EXPORT = "export"
    ADMIN = "admin"  # all of it, and seeing what others have


class KeyRefusedError(RequestError):
    """There is no key, or it is none of this server's."""

    status = "UNAUTHENTICATED"
    reason = "KEY_REFUSED"


class ScopeMissingError(RequestError):
    """The key is good, but not for this."""

    status = "PERMISSION_DENIED"
    reason = "SCOPE_MISSING"


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """What a key may use; None: as much as there is.

    Attributes:
        max_sessions: at once.
        max_session_s: after which a session is ended.
        draw_s: seconds of drawing, a day.
        upload_bytes: a day.
        exports: begun a day.

    Raises:
        ValueError: one is not positive.
    """

    max_sessions: int | None = None
    max_session_s: float | None = None
    draw_s: float | None = None
    upload_bytes: int | None = None
    exports: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_sessions", "max_session_s", "draw_s", "upload_bytes", "exports"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A key without its secret.

    Attributes:
        id: names it, in lists and in the log.
        tenant: whose it is; tenants do not see each other.
        created_s, expires_s, revoked_s: seconds since 1970.
    """

    id: str
    tenant: str
    scopes: frozenset[Scope]
    created_s: float
    expires_s: float | None = None
    revoked_s: float | None = None
    allowance: Allowance = field(default_factory=Allowance)

    def check_good(self, now_s: float) -> None:
        """Refuse a key whose time is over.

        Raises:
            KeyRefusedError: it has expired, or has been revoked.
        """
        if self.revoked_s is not None:
            raise KeyRefusedError("this key has been revoked", cause="revoked")
        if self.expires_s is not None and now_s >= self.expires_s:
            raise KeyRefusedError("this key has expired", cause="expired")

    def has(self, scope: Scope) -> bool:
        """Whether it is good for a scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class KeyFile:
    """The keys in a file, which a server reads while others are made and revoked beside it.

    Attributes:
        connection: to the file, for what else a server remembers of its tenants.
        clock: seconds since 1970.

    Raises:
        ValueError: it is not a file of keys, or cannot be opened.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time, make: bool = False) -> None:
        self.clock = clock
        if not make and not path.is_file():
            raise ValueError("keys must be a file that `keepworld keys create` has made; there is none")
        try:
            if make:
                path.touch(mode=0o600)
            self.connection = sqlite3.connect(path, isolation_level=None)
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = NORMAL")
            self.connection.execute(_SCHEMA)
            add_column(self.connection, "keys", "exports", "INTEGER")  # files of before there were exports lack it
        except (OSError, sqlite3.Error):
            raise ValueError("keys must be a file that `keepworld keys create` has made; this one is not") from None

    def create(
        self, tenant: str, scopes: Iterable[Scope], allowance: Allowance, *, lasts_s: float | None = None
    ) -> tuple[Key, str]:
        """Make a key; gives it, and the text that callers show, which is kept nowhere.

        Raises:
            ValueError: the tenant's name is not one, there is no scope, or no time.
        """
        if not 0 < len(tenant) <= _MAX_NAME_CHARS or not tenant.isprintable():
            raise ValueError(f"tenant must have 1 to {_MAX_NAME_CHARS} printable characters, got {len(tenant)}")
        if lasts_s is not None and not lasts_s > 0:
            raise ValueError(f"lasts_s must be positive, got {lasts_s}")
        now_s = self.clock()
        key = Key(
            id=secrets.token_hex(6),
            tenant=tenant,
            scopes=frozenset(scopes),
            created_s=now_s,
            expires_s=None if lasts_s is None else now_s + lasts_s,
            allowance=allowance,
        )
        if not key.scopes:
            raise ValueError(f"scopes must name at least one of {', '.join(Scope)}")
        secret = secrets.token_urlsafe(32)
        self.connection.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?, ?, ?, ?)",
            (
                key.id, _digest(secret), tenant, " ".join(sorted(key.scopes)), now_s, key.expires_s,
                allowance.max_sessions, allowance.max_session_s, allowance.draw_s, allowance.upload_bytes, allowance.exports,
            ),
        )  # fmt: skip
        return key, f"{_PREFIX}_{key.id}_{secret}"

    def list(self) -> list[Key]:
        """Every key there has been, the oldest first."""
        return [_key(row) for row in self.connection.execute("SELECT * FROM keys ORDER BY created_s, id")]

    def get(self, key_id: str) -> Key | None:
        """The key of an id, as the file has it now."""
        row = self._row(key_id)
        return _key(row) if row else None

    def revoke(self, key_id: str) -> Key:
        """Make a key worthless from now on; doing so twice is fine.

        Raises:
            ValueError: there is no such key.
        """
        update = "UPDATE keys SET revoked_s = coalesce(revoked_s, ?) WHERE id = ?"
        self.connection.execute(update, (self.clock(), key_id))
        key = self.get(key_id)
        if key is None:
            raise ValueError(f"no key has the id {key_id[:_MAX_NAME_CHARS]!r}; see: keepworld keys list")
        return key

    def recognise(self, shown: str) -> Key:
        """The key that a caller shows.

        Raises:
            KeyRefusedError: it is none, or its time is over.
        """
        prefix, _, rest = shown.partition("_")
        key_id, _, secret = rest.partition("_")
        row = self._row(key_id) if prefix == _PREFIX else None
        # The same work for an id that is not there: what is known cannot be told from the time it takes.
        is_right = secrets.compare_digest(_digest(secret), row[1] if row else bytes(32))
        if row is None or not is_right:
            raise KeyRefusedError("this key is none of this server's", cause="unknown")
        key = _key(row)
        key.check_good(self.clock())
        return key

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    def _row(self, key_id: str) -> _Row | None:
        row: _Row | None = self.connection.execute("SELECT * FROM keys WHERE id = ?", (key_id,)).fetchone()
        return row


def _key(row: _Row) -> Key:
    key_id, _, tenant, scopes, created_s, expires_s, revoked_s, *allowed = row
    return Key(
        id=key_id,
        tenant=tenant,
        scopes=frozenset(Scope(name) for name in scopes.split()),
        created_s=created_s,
        expires_s=expires_s,
        revoked_s=revoked_s,
        allowance=Allowance(
            max_sessions=allowed[0],
            max_session_s=allowed[1],
            draw_s=allowed[2],
            upload_bytes=allowed[3],
            exports=allowed[4],
        ),
    )


def add_column(connection: sqlite3.Connection, table: str, name: str, kind: str) -> None:
    """Give a table a column, if it has not got it."""
    if name not in [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
