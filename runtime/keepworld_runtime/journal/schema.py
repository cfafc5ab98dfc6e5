"""The journal's tables, and the ways through them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VERSION = 2
_SCHEMA = """
CREATE TABLE worlds (id INTEGER PRIMARY KEY, digest BLOB NOT NULL, origin BLOB NOT NULL);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY, world INTEGER NOT NULL, parent INTEGER, number INTEGER NOT NULL,
    digest BLOB NOT NULL, body BLOB NOT NULL
);
CREATE TABLE blobs (name TEXT NOT NULL, chunk INTEGER, world INTEGER, session TEXT);
CREATE INDEX blobs_by_chunk ON blobs (chunk);
CREATE INDEX blobs_by_name ON blobs (name);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, token_digest BLOB NOT NULL, line INTEGER NOT NULL, waiting TEXT NOT NULL,
    begun BLOB, continuation TEXT
);
CREATE TABLE lines (
    session TEXT NOT NULL, number INTEGER NOT NULL, world INTEGER NOT NULL, head INTEGER, chunks INTEGER NOT NULL,
    parent INTEGER NOT NULL, shared INTEGER NOT NULL, PRIMARY KEY (session, number)
);
CREATE TABLE snapshots (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, world INTEGER NOT NULL, head INTEGER, chunks INTEGER NOT NULL,
    created_s REAL NOT NULL
);
"""
# What was not there in earlier versions.
_SINCE = {1: "ALTER TABLE blobs ADD COLUMN session TEXT; ALTER TABLE sessions ADD COLUMN continuation TEXT;"}
_BACK = """
WITH RECURSIVE back (id, parent, number, digest, body) AS (
    SELECT id, parent, number, digest, body FROM chunks WHERE id = ?
    UNION ALL
    SELECT chunks.id, chunks.parent, chunks.number, chunks.digest, chunks.body
    FROM chunks JOIN back ON chunks.id = back.parent
)
"""
BODIES = _BACK + "SELECT body FROM back WHERE number >= ? ORDER BY number"  # noqa: S608
DIGESTS = _BACK + "SELECT digest FROM back WHERE number >= ? ORDER BY number"  # noqa: S608
NAMING = _BACK + "SELECT body FROM back WHERE instr(body, CAST(? AS BLOB)) ORDER BY number DESC"  # noqa: S608
ROW = _BACK + "SELECT id FROM back WHERE number = ?"  # noqa: S608
DROP_UNREACHED = """
WITH RECURSIVE reached (id) AS (
    SELECT head FROM lines WHERE head IS NOT NULL
    UNION
    SELECT head FROM snapshots WHERE head IS NOT NULL
    UNION
    SELECT chunks.parent FROM chunks JOIN reached ON chunks.id = reached.id WHERE chunks.parent IS NOT NULL
)
DELETE FROM chunks WHERE id NOT IN (SELECT id FROM reached)
"""


def opened(path: Path | None) -> sqlite3.Connection:
    """The records in a file, or None: private ones that go with this process. No other process can have them too.

    Raises:
        ValueError: they are of another version, or another server has them.
    """
    db = sqlite3.connect(path or "", isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        missing = _SCHEMA if version == 0 else _SINCE.get(version)
        if missing:
            db.executescript(f"BEGIN IMMEDIATE; {missing} PRAGMA user_version = {_VERSION}; COMMIT;")
    except sqlite3.DatabaseError as error:
        raise ValueError(f"the journal cannot be opened: {error}; does another server use it?") from None
    if version not in (0, *_SINCE, _VERSION):
        raise ValueError(f"the journal is of version {version}; this server reads versions up to {_VERSION}")
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; within another one, part of that."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
