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
from pathlib import Path
from typing import Any

import numpy as np

from keepworld_runtime.families.family import Continuation, WorldState
from keepworld_runtime.journal import continuations, file, record, rows, specs
from keepworld_runtime.journal.blobs import Blobs
from keepworld_runtime.journal.collecting import Collector
from keepworld_runtime.journal.continuations import Given
from keepworld_runtime.journal.record import Begun, Parts, Record
from keepworld_runtime.journal.schema import BODIES, DIGESTS, NAMING, ROW, opened, transaction
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
        self._collector = Collector(self._db, blobs)
        self._collector.mend()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # Worlds and their chunks

    def begin(self, origin: Origin) -> Point:
        """A new world, of which nothing has been made."""
        data = specs.encode(origin, self.blobs)
        with transaction(self._db):
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
        with transaction(self._db):
            point = self._append(head, record.encode(kept), kept.blobs)
            if made.begun.given:
                self._collector.release(session_id, made.begun.given.blobs)
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
        with transaction(self._db):
            point = self._begin(walk.origin)
            for body in walk.bodies:
                point = self._append(point, body, record.decode(body).blobs)
        return point

    def sweep(self) -> None:
        """Drop what was put into the blobs and never used."""
        self._collector.sweep()

    # Sessions and their lines

    def add_session(self, session: KeptSession) -> None:
        """Keep a new session."""
        with transaction(self._db):
            self._insert(
                "sessions",
                id=session.id,
                token_digest=session.token_digest,
                line=session.line.number,
                waiting=rows.waiting_text(session.waiting),
            )
            self._add_line(session.id, session.line)

    def sessions(self) -> list[KeptSession]:
        """All that are kept, oldest first."""
        found = self._db.execute(
            "SELECT id, token_digest, line, waiting, begun, continuation FROM sessions ORDER BY rowid"
        )
        return [
            rows.kept(session_id, token_digest, self.line(session_id, line), waiting, begun, continuation)
            for session_id, token_digest, line, waiting, begun, continuation in found.fetchall()
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
        with transaction(self._db):
            if not found:
                self._add_line(session_id, target)
            self._db.execute(
                "UPDATE sessions SET line = ?, waiting = ?, begun = NULL, continuation = NULL WHERE id = ?",
                (target.number, rows.waiting_text(waiting), session_id),
            )
            dropped = self._collector.named_by(session_id)
            self._collector.release(session_id)
        self._collector.drop(dropped)
        surplus = [each.number for each in self.lines(session_id) if each.number not in (line, target.number)]
        del surplus[max(0, len(surplus) + 2 - max_lines) :]
        for number in surplus:
            self._db.execute("DELETE FROM lines WHERE session = ? AND number = ?", (session_id, number))
        if surplus:
            self._collect()
        return target

    def save_waiting(self, session_id: str, waiting: Sequence[Waiting]) -> None:
        """Keep the events that wait in a session."""
        self._db.execute("UPDATE sessions SET waiting = ? WHERE id = ?", (rows.waiting_text(waiting), session_id))

    def save_begun(self, session_id: str, begun: Begun) -> None:
        """Keep what a session's next chunk is made from, before anybody sees anything of it."""
        taken = rows.continuation_text(begun.given) if begun.given else None
        self._db.execute(
            "UPDATE sessions SET begun = ?, continuation = NULLIF(continuation, ?) WHERE id = ?",
            (record.encode_begun(begun), taken, session_id),
        )

    def save_continuation(self, session_id: str, request_id: str, asked: str, given: Continuation) -> Given:
        """Keep what a session's next chunk shall go on from.

        Raises:
            LineGoneError: there is no such session any more.
        """
        kept = continuations.keep(request_id, asked, given, self.blobs)
        with transaction(self._db):
            values = (rows.continuation_text(kept), session_id)
            done = self._db.execute("UPDATE sessions SET continuation = ? WHERE id = ?", values)
            for name in kept.blobs if done.rowcount else ():
                self._insert("blobs", name=name, session=session_id)
        if not done.rowcount:
            self._collector.drop(kept.blobs)
            raise LineGoneError("the session is gone")
        return kept

    def taken(self, session_id: str, line: int, request_id: str) -> tuple[int, Given] | None:
        """The chunk of a session's line that went on from what was asked for so, and that; None if none did."""
        head = self.line(session_id, line).point
        quoted = json.dumps({"request_id": request_id}, separators=(",", ":"))[1:-1]
        for (body,) in self._db.execute(NAMING, (head.chunk, quoted.encode())):
            begun = record.decode(bytes(body)).begun
            if begun.given and begun.given.request_id == request_id:
                return begun.number, begun.given
        return None

    def hold(self, names: Iterable[str]) -> None:
        """Keep blobs for somebody who will read them, whatever becomes of the sessions that name them."""
        self._collector.hold(names)

    def let_go(self, names: Iterable[str]) -> None:
        """Let go of what was held."""
        self._collector.let_go(names)

    def remove_session(self, session_id: str) -> None:
        """Forget a session and its lines."""
        with transaction(self._db):
            self._db.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
            self._db.execute("DELETE FROM lines WHERE session = ?", (session_id,))
        self._collect()

    # Snapshots

    def add_snapshot(self, point: Point, name: str, max_snapshots: int) -> Snapshot:
        """Keep a point; the oldest snapshots go if there are too many."""
        kept = Snapshot(id=secrets.token_hex(16), name=name, point=point, created_s=time.time())
        with transaction(self._db):
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
        self._collector.collect()
        self._tables = {row: table for row, table in self._tables.items() if self._is_there(row)}

    def _is_there(self, row: int) -> bool:
        return self._db.execute("SELECT 1 FROM chunks WHERE id = ?", (row,)).fetchone() is not None
