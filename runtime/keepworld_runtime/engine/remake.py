"""A walk drawn again from its beginning, for a reader within the server."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from dataclasses import dataclass

from keepworld_runtime.engine.attachment import Attachment
from keepworld_runtime.engine.keeper import Keeper
from keepworld_runtime.engine.session import Session
from keepworld_runtime.engine.snapshot import Start
from keepworld_runtime.engine.work import Work
from keepworld_runtime.families.family import Family, WorldSpec
from keepworld_runtime.journal.journal import Journal


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, weakref_slot=True)
class Walked:
    """What a walk was made from, and the checksums of the frames that came of it. What it went on from stays until this goes.

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
        journal.hold(_blobs(works))
        return works, tuple(kept.frames for kept in records), journal.origin(point).spec

    works, checksums, spec = await keeper.do(read)
    found = Walked(family=source.family, spec=spec, works=works, checksums=checksums)
    if names := _blobs(works):
        weakref.finalize(found, _let_go, asyncio.get_running_loop(), keeper, names)
    return found


def _blobs(works: tuple[Work, ...]) -> list[str]:
    """The names of what chunks went on from."""
    return [name for work in works if work.begun.given for name in work.begun.given.blobs]


def _let_go(loop: asyncio.AbstractEventLoop, keeper: Keeper, names: list[str]) -> None:
    """Nobody will read these any more; on whatever thread that shows."""

    def soon() -> None:
        with contextlib.suppress(RuntimeError):  # the journal is closed
            keeper.soon(keeper.journal.let_go, names)

    with contextlib.suppress(RuntimeError):  # the loop is
        loop.call_soon_threadsafe(soon)
