"""Operations on disk: a folder each, with what they are, and what came of them.

exports/
  0a1b.../operation.json    what it is; written whole at every step of its life
  0a1b.../walk/             of a capture: the capture
  0a1b.../out/              of an export: its files; while it runs, what there is of them
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from keepworld.files import write_atomically

from keepworld_runtime.serving.exports.disk import size_of
from keepworld_runtime.serving.exports.errors import (
    ExportSpaceError,
    FileNotFoundInOperationError,
    OperationNotFoundError,
    TooManyOperationsError,
)
from keepworld_runtime.serving.exports.limits import ExportLimits
from keepworld_runtime.serving.exports.operation import File, Kind, Operation, State

logger = logging.getLogger(__name__)

ALIVE_S = 5.0  # at most between two words to who watches


class OperationStore:
    """Operations by their ids.

    Args:
        folder: where they are; None: in a temporary one, that goes with the store.
        limits: how many, and for how long.
        clock: seconds since 1970.

    Raises:
        OSError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path | None, limits: ExportLimits, *, clock: Callable[[], float] = time.time) -> None:
        self.limits = limits
        self.clock = clock
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="keepworld-exports-")
        self.folder = (folder or Path(self._temporary.name if self._temporary else "")).absolute()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._known: dict[str, Operation] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._bytes: dict[str, int] = {}
        self.ended: Counter[tuple[Kind, State]] = Counter()
        self.spent_s: Counter[Kind] = Counter()
        self._read()

    def __iter__(self) -> Iterator[Operation]:
        return iter(list(self._known.values()))

    @property
    def num_bytes(self) -> int:
        """What they take on disk, and what is held for those that run."""
        return sum(self._bytes.values())

    def where(self, operation_id: str) -> Path:
        """The folder of an operation."""
        return self.folder / operation_id

    def get(self, operation_id: str) -> Operation:
        """An operation as it is now.

        Raises:
            OperationNotFoundError: there is none of this id.
        """
        found = self._known.get(operation_id)
        if found is None:
            raise OperationNotFoundError(
                f"no operation has this id; what came of one is kept for {self.limits.kept_s:g} s", field="operation_id"
            )
        return found

    def add(self, kind: Kind, *, room_bytes: int = 0, **fields: object) -> Operation:
        """Begin an operation, holding room on disk for what will come of it.

        Raises:
            TooManyOperationsError, ExportSpaceError: there is none.
        """
        limits = self.limits
        self.expire()
        if len(self._known) >= limits.max_operations:
            raise TooManyOperationsError(
                f"this server keeps {limits.max_operations} operations; delete one, or wait", retry_s=30.0
            )
        if self.num_bytes + room_bytes > limits.max_bytes:
            raise ExportSpaceError(
                f"about {room_bytes / 1e6:.0f} MB are needed and {(limits.max_bytes - self.num_bytes) / 1e6:.0f} MB are "
                "left; delete an operation, or wait",
                retry_s=30.0,
            )
        operation = Operation(id=secrets.token_hex(16), kind=kind, created_s=self.clock()).but(**fields)
        self.where(operation.id).mkdir()
        self._bytes[operation.id] = room_bytes
        self.put(operation)
        return operation

    def put(self, operation: Operation, *, keep: bool = True) -> None:
        """Take an operation as it is now; `keep`: on disk too, which progress is not worth."""
        if operation.state.has_ended and not operation.ended_s:
            operation = operation.but(ended_s=self.clock())
            self.ended[operation.kind, operation.state] += 1
            self.spent_s[operation.kind] += max(0, round(operation.ended_s - operation.created_s))
            logger.info("operation %s operation=%s kind=%s", operation.state, operation.id, operation.kind)
        self._known[operation.id] = operation
        if keep:
            write_atomically(self.where(operation.id) / "operation.json", operation.encode())
        if changed := self._changed.pop(operation.id, None):
            changed.set()

    async def follow(self, operation_id: str) -> AsyncIterator[Operation]:
        """An operation as it is, whenever it has changed and now and then otherwise, until it has ended.

        Raises:
            OperationNotFoundError: there is none of this id, or no more.
        """
        while True:
            operation = self.get(operation_id)
            yield operation
            if operation.state.has_ended:
                return
            changed = self._changed.setdefault(operation_id, asyncio.Event())
            try:
                async with asyncio.timeout(ALIVE_S):
                    await changed.wait()
            except TimeoutError:
                continue

    def weigh(self, operation_id: str) -> None:
        """Count what an operation takes on disk now."""
        self._bytes[operation_id] = size_of(self.where(operation_id))

    def remove(self, operation_id: str) -> None:
        """Forget an operation and all its files."""
        self._known.pop(operation_id, None)
        self._bytes.pop(operation_id, None)
        shutil.rmtree(self.where(operation_id), ignore_errors=True)
        if changed := self._changed.pop(operation_id, None):
            changed.set()

    def expire(self) -> None:
        """Forget those whose time is over; not a capture that something is still made of."""
        oldest_s = self.clock() - self.limits.kept_s
        needed = {each.capture_id for each in self if not each.state.has_ended}
        for each in self:
            if each.state.has_ended and each.ended_s <= oldest_s and each.id not in needed:
                logger.info("operation expired operation=%s", each.id)
                self.remove(each.id)

    def file(self, operation_id: str, name: str) -> tuple[File, Path]:
        """A file of an operation.

        Raises:
            OperationNotFoundError, FileNotFoundInOperationError: there is none.
        """
        for each in self.get(operation_id).files:
            if each.name == name:  # a name that was written here: nothing of the caller's becomes a path
                return each, self.where(operation_id) / "out" / each.name
        raise FileNotFoundInOperationError("the operation has no file of this name", field="name")

    def close(self) -> None:
        """Let go of the folder; a temporary one goes."""
        if self._temporary:
            self._temporary.cleanup()

    def _read(self) -> None:
        for path in self.folder.glob("*/operation.json"):
            try:
                operation = Operation.decode(path.read_bytes())
                if operation.id != path.parent.name:
                    raise ValueError("not its own folder")
            except (OSError, ValueError) as error:
                logger.warning("not an operation: %s: %s", path, error)
                continue
            self._known[operation.id] = operation
            self.weigh(operation.id)
