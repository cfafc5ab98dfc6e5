"""What outlives sessions: snapshots, and journals as files."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import IO

from keepworld_runtime.engine.continuation import check_fits
from keepworld_runtime.engine.errors import FamilyChangedError, JournalInvalidError, SnapshotNotFoundError
from keepworld_runtime.engine.keeper import Keeper
from keepworld_runtime.engine.session import Session
from keepworld_runtime.engine.snapshot import Listed, Start
from keepworld_runtime.families.family import Capabilities, Family
from keepworld_runtime.journal import continuations, file, record, specs
from keepworld_runtime.journal.blobs import Blobs
from keepworld_runtime.journal.specs import Origin
from keepworld_runtime.journal.tree import Snapshot


class Archive:
    """Snapshots, and walks as files, in and out.

    Args:
        keeper: has the journal they are in.
        families: by name, those that are served.
        max_snapshots: how many are kept; the oldest go first.
    """

    def __init__(self, keeper: Keeper, families: Mapping[str, Family], max_snapshots: int) -> None:
        self._keeper = keeper
        self._families = families
        self._max_snapshots = max_snapshots

    async def keep(self, session: Session, name: str) -> Listed:
        """Keep a session's world as it is after its last whole chunk.

        Raises:
            SessionClosedError, WorkerFailedError, ChunkBrokenError: it has ended.
        """
        session.check_open()
        journal, family, spec, line = self._keeper.journal, session.family, session.spec, session.line

        def keep() -> Snapshot:
            point = journal.line(session.id, line).point
            return journal.add_snapshot(point, name, self._max_snapshots)

        kept = await self._keeper.do(keep)
        return Listed(snapshot=kept, start=Start(family=family, spec=spec, point=kept.point))

    async def all(self) -> list[Listed]:
        """All whose family is served, the newest first."""
        journal = self._keeper.journal
        found = await self._keeper.do(lambda: [(each, journal.origin(each.point)) for each in journal.snapshots()])
        return [
            Listed(snapshot=each, start=Start(family=self._families[origin.family], spec=origin.spec, point=each.point))
            for each, origin in found
            if origin.family in self._families
        ]

    async def start(self, snapshot_id: str) -> Start:
        """Find what a snapshot is of.

        Raises:
            SnapshotNotFoundError: there is none of this id, or it has gone.
            FamilyChangedError: its family is another one now.
        """
        journal = self._keeper.journal

        def find() -> tuple[Snapshot, Origin] | None:
            found = next((each for each in journal.snapshots() if each.id == snapshot_id), None)
            return (found, journal.origin(found.point)) if found else None

        found = await self._keeper.do(find)
        if found is None:
            raise SnapshotNotFoundError(
                f"no snapshot has this id; the newest {self._max_snapshots} are kept", field="snapshot_id"
            )
        kept, origin = found
        return Start(family=self._same_family(origin), spec=origin.spec, point=kept.point)

    async def delete(self, snapshot_id: str) -> None:
        """Forget a snapshot.

        Raises:
            SnapshotNotFoundError: there is none of this id.
        """
        await self.start(snapshot_id)
        await self._keeper.do(self._keeper.journal.remove_snapshot, snapshot_id)

    async def written(self, source: Session | Start) -> AsyncIterator[bytes]:
        """A session's line as far as it is whole, or what led to a snapshot, as the pieces of a file."""
        journal = self._keeper.journal

        def begin() -> Iterator[bytes]:
            point = source.point if isinstance(source, Start) else journal.line(source.id, source.line).point
            return journal.written(point)

        pieces = await self._keeper.do(begin)
        while piece := await self._keeper.do(next, pieces, b""):
            yield piece

    async def take(self, source: IO[bytes], name: str) -> Listed:
        """Take a file, as a snapshot.

        Raises:
            JournalInvalidError: it is not one, or not whole.
            FamilyChangedError: its family is another one here.
        """
        journal = self._keeper.journal

        def read() -> tuple[Snapshot, Origin]:
            try:
                walk = file.read(source, journal.blobs)
                if not walk.is_whole:
                    raise ValueError("the journal is cut off")
                origin = specs.decode(walk.origin, journal.blobs)
                _check(origin, walk, self._same_family(origin).capabilities, journal.blobs)
                return journal.add_snapshot(journal.take(walk), name, self._max_snapshots), origin
            except ValueError as error:
                raise JournalInvalidError(str(error)[:500], field="data") from None
            finally:
                journal.sweep()

        kept, origin = await self._keeper.do(read)
        start = Start(family=self._families[origin.family], spec=origin.spec, point=kept.point)
        return Listed(snapshot=kept, start=start)

    def _same_family(self, origin: Origin) -> Family:
        family = self._families.get(origin.family)
        if family is None or family.capabilities.version != origin.version:
            raise FamilyChangedError(
                f"this world is of {origin.family[:64]!r} {origin.version[:64]!r}, which is not served here"
            )
        return family


def _check(origin: Origin, walk: file.Walk, family: Capabilities, blobs: Blobs) -> None:
    """See that a walk from elsewhere asks for nothing that could not have been asked for here."""
    spec = origin.spec
    if spec.mode not in family.modes or len(spec.prompt) > family.max_prompt_chars or not 0 <= spec.seed < 2**64:
        raise ValueError(f"the walk's mode, prompt or seed is none that {family.name} takes")
    sides = (spec.width, spec.height)
    if (
        any(side < family.min_side or side % family.size_multiple for side in sides)
        or math.prod(sides) > family.max_pixels
    ):
        raise ValueError(f"the walk's size is none that {family.name} takes: {spec.width}x{spec.height}")
    if (spec.image is not None and not family.takes_image) or (spec.clip and not family.takes_clip):
        raise ValueError(f"the walk begins with pictures, which {family.name} does not take")
    for number, body in enumerate(walk.bodies):
        begun = record.decode(body).begun
        if begun.given:
            check_fits(continuations.fetch(begun.given, blobs), family)
        frames = len(begun.controls)
        if frames != family.of(spec).frames_in(number):
            raise ValueError(f"chunk {number} must have {family.of(spec).frames_in(number)} frames, got {frames}")
