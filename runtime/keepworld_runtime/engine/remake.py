"""A walk drawn again from its beginning, for a reader within the server."""

from __future__ import annotations

from dataclasses import dataclass

from keepworld_runtime.engine.attachment import Attachment
from keepworld_runtime.engine.keeper import Keeper
from keepworld_runtime.engine.session import Session
from keepworld_runtime.engine.snapshot import Start
from keepworld_runtime.engine.work import Work
from keepworld_runtime.families.family import Family, WorldSpec
from keepworld_runtime.journal.journal import Journal


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Walked:
    """What a walk was made from, and the checksums of the frames that came of it.

    Attributes:
        family, spec: what its world was opened with.
        works: its chunks.
        checksums: of each chunk's frames.
    """

    family: Family
    spec: WorldSpec
    works: tuple[Work, ...]
    checksums: tuple[tuple[bytes, ...], ...]

    @property
    def num_frames(self) -> int:
        """Of all its chunks."""
        return sum(len(each) for each in self.checksums)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Remade:
    """A walk being drawn again.

    Attributes:
        walked: which.
        session: gives its frames; it is in no list and takes nobody's place.
        attachment: the reader's; when it is over, no more comes.
    """

    walked: Walked
    session: Session
    attachment: Attachment


async def walked(keeper: Keeper, source: Session | Start) -> Walked:
    """A session's line as far as it is whole, or what led to a snapshot.

    Raises:
        SessionClosedError: the session has been closed, or the snapshot forgotten.
    """
    journal: Journal = keeper.journal

    def read() -> tuple[tuple[Work, ...], tuple[tuple[bytes, ...], ...], WorldSpec]:
        point = journal.line(source.id, source.line).point if isinstance(source, Session) else source.point
        records, digests = journal.records(point), journal.digests(point)
        works = tuple(Work(begun=kept.begun, digest=digest) for kept, digest in zip(records, digests, strict=True))
        return works, tuple(kept.frames for kept in records), journal.origin(point).spec

    works, checksums, spec = await keeper.do(read)
    return Walked(family=source.family, spec=spec, works=works, checksums=checksums)
