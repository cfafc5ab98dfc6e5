"""The journal: every chunk of every world, whole or not at all, and who points at them.

Chunks form a tree: each has one before it, and any number may follow it. Sessions have lines, which end at a chunk; going
back or branching adds a row that points at an earlier one. What no line and no snapshot reaches is collected.

Records are SQLite's, in write-ahead mode and synced at every commit: a tail that was torn by a power cut or a kill is cut
off when it is opened. What is big lies beside them, by its hash.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from keepworld_runtime.families.family import WorldState
from keepworld_runtime.journal import file, record, specs
from keepworld_runtime.journal.blobs import Blobs
from keepworld_runtime.journal.record import Begun, Parts, Record
from keepworld_runtime.journal.schema import BODIES, DIGESTS, DROP_UNREACHED, ROW, opened
from keepworld_runtime.journal.specs import Origin
from keepworld_runtime.journal.tree import KeptSession, Line, Made, Point, Snapshot, Waiting


class LineGoneError(Exception):
    """A line that a session does not have, or not any more."""


class PointGoneError(Exception):
    """A point that was collected, because nothing pointed at it any more."""


class Journal:
    """All that a server must not lose. Used by one thread at a time.

    Args:
        records: the SQLite file; None: a private one that goes with this process.
        blobs: where what is big is kept.

    Raises:
        ValueError: the file is of another version, or another server has it.
    """

    def __init__(self, records: Path | None, blobs: Blobs) -> None:
        self.blobs = blobs
        self._db = opened(records)
        self._tables: dict[int, dict[str, str]] = {}  # of the heads that are being written: name -> hash of each part
        self._mend()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # Worlds and their chunks

    def begin(self, origin: Origin) -> Point:
        """A new world, of which nothing has been made."""
        data = specs.encode(origin, self.blobs)
        with self._transaction():
            return self._begin(data)

    def origin(self, point: Point) -> Origin:
        """What a world was opened with.

        Raises:
            PointGoneError: nothing pointed at it any more.
        """
        return specs.decode(self._origin(point.world), self.blobs)

    def commit(self, session_id: str, line: int, made: Made) -> bytes:
        """Add a chunk to a session's line, for good; gives its digest."""
        head = self.line(session_id, line).point
        if made.begun.number != head.chunks:
            raise OSError(f"chunk {made.begun.number} cannot follow {head.chunks} chunks: one before it was not kept")
        before = self._table(head)
        added = {name: self.blobs.put(data) for name, data in made.change.new.items()}
        after = {name: added.get(name) or before[name] for name in made.change.names}
        kept = Record(
            begun=made.begun,
            cameras=np.stack([frame.c2w for frame in made.frames]),
            frames=tuple(map(record.checksum, made.frames)),
            head=made.change.head,
            parts=Parts.between(before, after),
        )
        with self._transaction():
            point = self._append(head, record.encode(kept), kept.parts.added.values())
            self._db.execute(
                "UPDATE lines SET head = ?, chunks = ? WHERE session = ? AND number = ?",
                (point.chunk, point.chunks, session_id, line),
            )
        assert point.chunk is not None
        self._tables.pop(head.chunk or 0, None)
        self._tables[point.chunk] = after
        return self.digest(point)

    def digest(self, point: Point) -> bytes:
        """What names all that led to a point."""
        table, row = ("worlds", point.world) if point.chunk is None else ("chunks", point.chunk)
        found = self._db.execute(f"SELECT digest FROM {table} WHERE id = ?", (row,)).fetchone()  # noqa: S608
        return bytes(found[0])

    def at(self, point: Point, chunks: int) -> Point:
        """The point before it, or itself, that has so many chunks."""
        assert 0 <= chunks <= point.chunks
        if chunks == 0:
            return Point(point.world, None, 0)
        (row,) = self._db.execute(ROW, (point.chunk, chunks - 1)).fetchone()
        return Point(point.world, row, chunks)

    def records(self, point: Point, first: int = 0) -> list[Record]:
        """The chunks that led to a point, from number `first` on."""
        return [record.decode(body) for body in self._bodies(point, first)]

    def digests(self, point: Point, first: int = 0) -> list[bytes]:
        """Their digests."""
        rows = self._db.execute(DIGESTS, (point.chunk, first))
        return [bytes(digest) for (digest,) in rows]

    def state(self, point: Point) -> WorldState | None:
        """The world's state at a point; None: it has not begun.

        Raises:
            PointGoneError: nothing pointed at it any more.
        """
        if point.chunk is None:
            self._origin(point.world)
            return None
        (body,) = self._bodies(point, point.chunks - 1)
        parts = {name: self.blobs.get(digest) for name, digest in self._table(point).items()}
        return WorldState(head=record.decode(body).head, parts=parts)

    def written(self, point: Point) -> Iterator[bytes]:
        """All that led to a point, as the pieces of a file.

        Raises:
            PointGoneError: nothing points at it any more.
        """
        return file.write(self._origin(point.world), self._bodies(point, 0), self.digest(point), self.blobs)

    def take(self, walk: file.Walk) -> Point:
        """Add all of a file's chunks; gives the point that they lead to, to which something should point soon."""
        with self._transaction():
            point = self._begin(walk.origin)
            for body in walk.bodies:
                point = self._append(point, body, record.decode(body).parts.added.values())
        return point

    def sweep(self) -> None:
        """Drop what was put into the blobs and never used."""
        self.blobs.remove({name for name in self.blobs.names() if not self._is_used(name)})

    # Sessions and their lines

    def add_session(self, session: KeptSession) -> None:
        """Keep a new session."""
        with self._transaction():
            self._insert(
                "sessions",
                id=session.id,
                token_digest=session.token_digest,
                line=session.line.number,
                waiting=_written(session.waiting),
            )
            self._add_line(session.id, session.line)

    def sessions(self) -> list[KeptSession]:
        """All that are kept, oldest first."""
        rows = self._db.execute("SELECT id, token_digest, line, waiting, begun FROM sessions ORDER BY rowid").fetchall()
        return [
            _kept(session_id, token_digest, self.line(session_id, line), waiting, begun)
            for session_id, token_digest, line, waiting, begun in rows
        ]

    def lines(self, session_id: str) -> list[Line]:
        """A session's lines, by number."""
        rows = self._db.execute(
            "SELECT number, world, head, chunks, parent, shared FROM lines WHERE session = ? ORDER BY number",
            (session_id,),
        )
        return [
            Line(number=number, point=Point(world, head, chunks), parent=parent, shared=shared)
            for number, world, head, chunks, parent, shared in rows
        ]

    def line(self, session_id: str, number: int) -> Line:
        """One of a session's lines.

        Raises:
            LineGoneError: there is none of this number.
        """
        found = next((line for line in self.lines(session_id) if line.number == number), None)
        if found is None:
            raise LineGoneError(f"the session has no line {number}")
        return found

    def rewind(self, session_id: str, line: int, point: Point, waiting: Sequence[Waiting], max_lines: int) -> Line:
        """Put a session that is on `line` on one that ends at `point`: a new one, if none does; the oldest may go for it."""
        lines = self.lines(session_id)
        found = next((each for each in lines if each.point == point), None)
        target = found or Line(number=lines[-1].number + 1, point=point, parent=line, shared=point.chunks)
        with self._transaction():
            if not found:
                self._add_line(session_id, target)
            self._db.execute(
                "UPDATE sessions SET line = ?, waiting = ?, begun = NULL WHERE id = ?",
                (target.number, _written(waiting), session_id),
            )
        surplus = [each.number for each in self.lines(session_id) if each.number not in (line, target.number)]
        del surplus[max(0, len(surplus) + 2 - max_lines) :]
        for number in surplus:
            self._db.execute("DELETE FROM lines WHERE session = ? AND number = ?", (session_id, number))
        if surplus:
            self._collect()
        return target

    def save_waiting(self, session_id: str, waiting: Sequence[Waiting]) -> None:
        """Keep the events that wait in a session."""
        self._db.execute("UPDATE sessions SET waiting = ? WHERE id = ?", (_written(waiting), session_id))

    def save_begun(self, session_id: str, begun: Begun) -> None:
        """Keep what a session's next chunk is made from, before anybody sees anything of it."""
        body = record.encode_begun(begun)
        self._db.execute("UPDATE sessions SET begun = ? WHERE id = ?", (body, session_id))

    def remove_session(self, session_id: str) -> None:
        """Forget a session and its lines."""
        with self._transaction():
            self._db.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
            self._db.execute("DELETE FROM lines WHERE session = ?", (session_id,))
        self._collect()

    # Snapshots

    def add_snapshot(self, point: Point, name: str, max_snapshots: int) -> Snapshot:
        """Keep a point; the oldest snapshots go if there are too many."""
        kept = Snapshot(id=secrets.token_hex(16), name=name, point=point, created_s=time.time())
        with self._transaction():
            self._insert(
                "snapshots",
                id=kept.id,
                name=name,
                world=point.world,
                head=point.chunk,
                chunks=point.chunks,
                created_s=kept.created_s,
            )
        for surplus in self.snapshots()[max_snapshots:]:
            self.remove_snapshot(surplus.id)
        return kept

    def snapshots(self) -> list[Snapshot]:
        """All, the newest first."""
        rows = self._db.execute("SELECT id, name, world, head, chunks, created_s FROM snapshots ORDER BY rowid DESC")
        return [
            Snapshot(id=key, name=name, point=Point(world, head, chunks), created_s=created_s)
            for key, name, world, head, chunks, created_s in rows
        ]

    def remove_snapshot(self, snapshot_id: str) -> None:
        """Forget a snapshot."""
        self._db.execute("DELETE FROM snapshots WHERE id = ?", (snapshot_id,))
        self._collect()

    # Below

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; within another one, part of that."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _insert(self, table: str, **values: Any) -> int:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        cursor = self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _begin(self, origin: bytes) -> Point:
        world = self._insert("worlds", digest=record.chained(b"", origin), origin=origin)
        for name in specs.blobs_of(origin):
            self._insert("blobs", name=name, world=world)
        return Point(world, None, 0)

    def _append(self, head: Point, body: bytes, blobs: Iterable[str]) -> Point:
        """Add a chunk, within a transaction; its blobs are there already."""
        digest = record.chained(self.digest(head), body)
        row = self._insert("chunks", world=head.world, parent=head.chunk, number=head.chunks, digest=digest, body=body)
        for name in blobs:
            self._insert("blobs", name=name, chunk=row)
        return Point(head.world, row, head.chunks + 1)

    def _add_line(self, session_id: str, line: Line) -> None:
        point = line.point
        self._insert(
            "lines",
            session=session_id,
            number=line.number,
            world=point.world,
            head=point.chunk,
            chunks=point.chunks,
            parent=line.parent,
            shared=line.shared,
        )

    def _origin(self, world: int) -> bytes:
        found = self._db.execute("SELECT origin FROM worlds WHERE id = ?", (world,)).fetchone()
        if found is None:
            raise PointGoneError
        return bytes(found[0])

    def _bodies(self, point: Point, first: int) -> list[bytes]:
        rows = self._db.execute(BODIES, (point.chunk, first)).fetchall()
        if len(rows) < point.chunks - first:
            raise PointGoneError
        return [bytes(body) for (body,) in rows]

    def _table(self, point: Point) -> dict[str, str]:
        """The name and the hash of each part of the state at a point."""
        if point.chunk is None:
            return {}
        if point.chunk not in self._tables:
            table: dict[str, str] = {}
            for kept in self.records(point):
                table = kept.parts.onto(table)
            return table
        return self._tables[point.chunk]

    def _collect(self) -> None:
        """Drop every chunk, world and blob that nothing reaches."""
        with self._transaction():
            self._db.execute(DROP_UNREACHED)
            self._db.execute(
                "DELETE FROM worlds WHERE id NOT IN (SELECT world FROM lines UNION SELECT world FROM snapshots)"
            )
            lost = self._db.execute(
                "DELETE FROM blobs WHERE (chunk IS NOT NULL AND chunk NOT IN (SELECT id FROM chunks)) "
                "OR (world IS NOT NULL AND world NOT IN (SELECT id FROM worlds)) RETURNING name"
            ).fetchall()
        self._tables = {row: table for row, table in self._tables.items() if self._is_there(row)}
        self.blobs.remove({name for (name,) in lost if not self._is_used(name)})

    def _is_there(self, row: int) -> bool:
        return self._db.execute("SELECT 1 FROM chunks WHERE id = ?", (row,)).fetchone() is not None

    def _is_used(self, name: str) -> bool:
        return self._db.execute("SELECT 1 FROM blobs WHERE name = ?", (name,)).fetchone() is not None

    def _mend(self) -> None:
        """Cut every line and snapshot back to its last whole chunk, and drop what nothing reaches."""
        parents = dict(self._db.execute("SELECT id, parent FROM chunks"))
        whole = self._whole_chunks()
        with self._transaction():
            for table in ("lines", "snapshots"):
                rows = self._db.execute(f"SELECT rowid, head, chunks FROM {table} WHERE head IS NOT NULL")  # noqa: S608
                for rowid, head, chunks in rows.fetchall():
                    cut, left = head, chunks
                    while cut is not None and cut not in whole:
                        cut, left = parents.get(cut), left - 1
                    if cut != head:
                        update = f"UPDATE {table} SET head = ?, chunks = ? WHERE rowid = ?"  # noqa: S608
                        self._db.execute(update, (cut, 0 if cut is None else left, rowid))
        self._collect()
        self.sweep()

    def _whole_chunks(self) -> set[int]:
        """Those that are as they were written, and all before them too."""
        stored = set(self.blobs.names())
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


def _kept(session_id: str, token_digest: bytes, line: Line, waiting: str, begun: bytes | None) -> KeptSession:
    """A session as its row has it, without what is done already."""
    unfinished = record.decode_begun(begun) if begun else None
    is_unfinished = unfinished is not None and unfinished.number == line.point.chunks
    next_chunk = line.point.chunks + is_unfinished
    return KeptSession(
        id=session_id,
        token_digest=bytes(token_digest),
        line=line,
        waiting=tuple(each for each in _read(waiting) if each.chunk >= next_chunk),
        begun=unfinished if is_unfinished else None,
    )


def _written(waiting: Sequence[Waiting]) -> str:
    return json.dumps([{"at": each.chunk, **record.encode_asked(each.asked)} for each in waiting])


def _read(text: str) -> tuple[Waiting, ...]:
    return tuple(Waiting(chunk=told["at"], asked=record.decode_asked(told)) for told in json.loads(text))
