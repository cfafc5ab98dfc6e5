"""The journal beside the event loop."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from keepworld_runtime.engine.errors import JournalFailedError, SessionClosedError, SnapshotNotFoundError
from keepworld_runtime.journal.journal import Journal, LineGoneError, PointGoneError

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Keeper:
    """Has one thread do all that is asked of the journal, in the order it is asked.

    What waits is bounded by who asks: a session has at most two chunks that nobody has read.

    Args:
        journal: used by that thread alone from here on.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    def do(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Task[T]:
        """Do something after everything that was asked before.

        Raises:
            SessionClosedError: it was asked of a session that has been closed.
            SnapshotNotFoundError: it was asked of a snapshot that has been deleted meanwhile.
            JournalFailedError: the disk did not take it, or does not give it back.
        """
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._thread, lambda: act(*args, **kwargs))
        return asyncio.ensure_future(_translated(done))

    def soon(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do something, that nobody waits for."""
        self.do(act, *args, **kwargs).add_done_callback(_forget)

    async def close(self) -> None:
        """Finish what was asked, and let go of the journal."""
        await self.do(self.journal.close)
        self._thread.shutdown()


async def to_its_end(act: Coroutine[Any, Any, T]) -> T:
    """Do something wholly, even if whoever asked for it goes meanwhile: then nobody is told how it ended."""
    task = asyncio.ensure_future(act)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_forget)
        raise


async def _translated(done: asyncio.Future[T]) -> T:
    try:
        return await done
    except LineGoneError:
        raise SessionClosedError("this session has been closed") from None
    except PointGoneError:
        raise SnapshotNotFoundError("the snapshot has been deleted") from None
    except (sqlite3.Error, OSError) as error:
        logger.error("the journal failed: %s", error)
        raise JournalFailedError("the server could not write its journal, or read it", retry_s=5.0) from None


def _forget(done: asyncio.Future[T]) -> None:
    """Take note of how it ended; it has been logged."""
    if not done.cancelled():
        done.exception()
