"""Snapshots: worlds as they were after a whole chunk, kept for sessions to go on from."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from keepworld_runtime.engine.errors import SnapshotNotFoundError, SnapshotTooLargeError
from keepworld_runtime.families.family import Family, WorldSpec, WorldState

MAX_BYTES = 2 << 30  # of all snapshots together, as if they shared nothing


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Snapshot:
    """A world after a whole chunk.

    Attributes:
        id: a secret that opens it.
        family, spec: what the world was opened with.
        state: what it had become; None: nothing had been made.
        chunks: how many it had.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(16))
    family: Family
    spec: WorldSpec
    state: WorldState | None
    chunks: int

    @property
    def num_bytes(self) -> int:
        """What it holds, roughly."""
        parts = sum(map(len, self.state.parts.values())) + len(self.state.head) if self.state else 0
        image = self.spec.image.nbytes if self.spec.image is not None else 0
        return parts + image + (self.spec.clip.frames.nbytes if self.spec.clip else 0)


class SnapshotStore:
    """The newest snapshots; the oldest go when there are too many, or they hold too much.

    Args:
        max_snapshots: how many are kept.
        max_bytes: how much they may hold together.
    """

    def __init__(self, max_snapshots: int, max_bytes: int = MAX_BYTES) -> None:
        self._max_snapshots = max_snapshots
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Snapshot] = OrderedDict()

    def add(self, snapshot: Snapshot) -> None:
        """Keep a snapshot.

        Raises:
            SnapshotTooLargeError: it alone holds too much.
        """
        if snapshot.num_bytes > self._max_bytes:
            raise SnapshotTooLargeError(
                f"a snapshot holds at most {self._max_bytes} bytes, this one would hold {snapshot.num_bytes}",
                limit=str(self._max_bytes),
            )
        self._kept[snapshot.id] = snapshot
        while len(self._kept) > self._max_snapshots or self._num_bytes() > self._max_bytes:
            self._kept.popitem(last=False)

    def get(self, snapshot_id: str) -> Snapshot:
        """Find a snapshot.

        Raises:
            SnapshotNotFoundError: there is none of this id, or it has gone.
        """
        if snapshot_id not in self._kept:
            raise SnapshotNotFoundError(
                f"no snapshot has this id; the newest {self._max_snapshots} are kept", field="snapshot_id"
            )
        return self._kept[snapshot_id]

    def _num_bytes(self) -> int:
        return sum(snapshot.num_bytes for snapshot in self._kept.values())
