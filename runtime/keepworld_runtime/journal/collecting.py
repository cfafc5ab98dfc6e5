"""What nothing reaches any more goes; what was torn is cut back to what is whole."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable

from keepworld_runtime.journal import record
from keepworld_runtime.journal.blobs import Blobs
from keepworld_runtime.journal.schema import DROP_UNREACHED, transaction


class Collector:
    """Knows who names which blob: chunks, worlds, sessions that have something to go on from, and whoever reads them now."""

    def __init__(self, db: sqlite3.Connection, blobs: Blobs) -> None:
        self._db, self._blobs = db, blobs
        self._held = Counter[str]()

    def hold(self, names: Iterable[str]) -> None:
        """Keep blobs, whatever becomes of who names them, until they are let go as often."""
        self._held.update(names)

    def let_go(self, names: Iterable[str]) -> None:
        """Let go of blobs that were held."""
        gone = list(names)
        self._held.subtract(gone)
        self._held = +self._held
        self.drop(gone)

    def drop(self, names: Iterable[str]) -> None:
        """Drop those of these blobs that nothing names."""
        self._blobs.remove({name for name in names if not self._is_used(name)})

    def release(self, session_id: str, names: Iterable[str] | None = None) -> None:
        """A session does not name these any more, once each; without `names`, none at all. `drop` them when that is sure."""
        if names is None:
            self._db.execute("DELETE FROM blobs WHERE session = ?", (session_id,))
        for name in names or ():
            self._db.execute(
                "DELETE FROM blobs WHERE rowid = (SELECT rowid FROM blobs WHERE session = ? AND name = ? LIMIT 1)",
                (session_id, name),
            )

    def named_by(self, session_id: str) -> list[str]:
        """The blobs that a session names itself."""
        return [name for (name,) in self._db.execute("SELECT name FROM blobs WHERE session = ?", (session_id,))]

    def collect(self) -> None:
        """Drop every chunk, world and blob that nothing reaches."""
        with transaction(self._db):
            self._db.execute(DROP_UNREACHED)
            self._db.execute(
                "DELETE FROM worlds WHERE id NOT IN (SELECT world FROM lines UNION SELECT world FROM snapshots)"
            )
            lost = self._db.execute(
                "DELETE FROM blobs WHERE (chunk IS NOT NULL AND chunk NOT IN (SELECT id FROM chunks)) "
                "OR (world IS NOT NULL AND world NOT IN (SELECT id FROM worlds)) "
                "OR (session IS NOT NULL AND session NOT IN (SELECT id FROM sessions)) RETURNING name"
            ).fetchall()
        self.drop(name for (name,) in lost)

    def sweep(self) -> None:
        """Drop what was put into the blobs and never used."""
        self.drop(self._blobs.names())

    def mend(self) -> None:
        """Cut every line and snapshot back to its last whole chunk, and drop what nothing reaches.

        A session that waits for, or was making, a chunk that goes on from what is not there any more does so no longer.
        """
        stored = set(self._blobs.names())
        parents = dict(self._db.execute("SELECT id, parent FROM chunks"))
        whole = self._whole_chunks(stored)
        with transaction(self._db):
            for table in ("lines", "snapshots"):
                rows = self._db.execute(f"SELECT rowid, head, chunks FROM {table} WHERE head IS NOT NULL")  # noqa: S608
                for rowid, head, chunks in rows.fetchall():
                    cut, left = head, chunks
                    while cut is not None and cut not in whole:
                        cut, left = parents.get(cut), left - 1
                    if cut != head:
                        update = f"UPDATE {table} SET head = ?, chunks = ? WHERE rowid = ?"  # noqa: S608
                        self._db.execute(update, (cut, 0 if cut is None else left, rowid))
            named = self._db.execute("SELECT name, session FROM blobs WHERE session IS NOT NULL").fetchall()
            for session_id in {session for name, session in named if name not in stored}:
                self._db.execute("UPDATE sessions SET begun = NULL, continuation = NULL WHERE id = ?", (session_id,))
                self.release(session_id)
        self.collect()
        self.sweep()

    def _is_used(self, name: str) -> bool:
        if self._held[name]:
            return True
        return self._db.execute("SELECT 1 FROM blobs WHERE name = ?", (name,)).fetchone() is not None

    def _whole_chunks(self, stored: set[str]) -> set[int]:
        """Those that are as they were written, and all before them too, where these blobs are there."""
        torn = {chunk for name, chunk in self._db.execute("SELECT name, chunk FROM blobs") if name not in stored}
        digests = dict(self._db.execute("SELECT id, digest FROM worlds"))
        whole: dict[int, bytes] = {}
        for row, world, parent, digest, body in self._db.execute(
            "SELECT id, world, parent, digest, body FROM chunks ORDER BY id"
        ):
            before = digests[world] if parent is None else whole.get(parent)
            if before is not None and row not in torn and record.chained(before, body) == digest:
                whole[row] = digest
        return set(whole)
