"""A line walked while a page shows it: frames out as they come, what the page holds in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Protocol

from keepworld.errors import CapacityError, InvalidRequestError, KeepworldError, NotFoundError, SessionLostError
from keepworld.frames import Chunk, Frame
from keepworld.play import packing
from keepworld.play.hands import Hands
from keepworld.play.line import Line, cells_told

logger = logging.getLogger(__name__)

_CHUNK_WITHIN_S = 4.0  # a walk is let end with its chunk for so long
_AGAIN_S = 10.0  # after so long the server is asked again whether it can keep to the clock
_NO_REALTIME = "REALTIME_CAPACITY"  # the reason of that refusal on a stream that runs


class Page(Protocol):
    """Whoever shows a studio: a browser behind a WebSocket."""

    async def tell(self, content: Mapping[str, object]) -> None:
        """Send a message."""
        ...

    async def show(self, frame: bytes) -> None:
        """Send a frame; waits while the page is behind."""
        ...


class Walk:
    """A walk that has begun, and goes on until `end`.

    Args:
        line: where.
        page: who sees it.
        encoding: how frames shall travel; JPEG where the server cannot.

    Attributes:
        hands: what steers it.
        has_stopped: it ended by itself, and the page was told why.
    """

    def __init__(self, line: Line, page: Page, encoding: str) -> None:
        session = line.session
        self.hands = Hands(session.capabilities.modes.get(session.mode, ()))
        self.has_stopped = False
        self._line = line
        self._page = page
        self._encoding = encoding
        self._is_ending = False
        self._is_slow = False
        self._task = asyncio.create_task(self._stream())

    async def end(self, *, at_once: bool = False) -> None:
        """Stop with the end of the chunk, or, if that takes long, before."""
        self._is_ending = True
        self.hands.let_go()
        if not at_once:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CHUNK_WITHIN_S):
                    await asyncio.shield(self._task)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _stream(self) -> None:
        session = self._line.session
        with contextlib.suppress(ConnectionError):  # the page has gone; whoever comes next has a walk of their own
            try:
                if self._line.is_stale:
                    await session.undo(0)
                self._line.is_stale = True
                await self._run()
            except (NotFoundError, SessionLostError):
                await self._stop(f"The server has this world no more. Open it again with seed {session.seed}.")
            except (KeepworldError, ValueError) as error:
                await self._stop(str(error))

    async def _run(self) -> None:
        """Walk in real time when the server promises it, else as fast as it can, asking again now and then."""
        pace = "realtime"
        while True:
            try:
                if await self._show(pace):
                    return
                pace = "realtime"
            except (CapacityError, InvalidRequestError) as error:
                if isinstance(error, CapacityError) or error.code == _NO_REALTIME:
                    if pace == "pause":
                        raise
                    pace = "pause"
                    await self._say_slow(error)
                elif self._encoding == "jpeg":
                    raise
                else:
                    self._encoding = "jpeg"

    async def _say_slow(self, error: KeepworldError) -> None:
        if not self._is_slow:
            self._is_slow = True
            await self._page.tell({"is": "slow", "text": f"Not in real time, but as fast as it goes: {error}"})

    async def _show(self, pace: str) -> bool:
        """Walk until the walk is to end; where the server does not keep the time, no faster than the world's own.

        Returns:
            Whether it is to end, and not to be tried in real time.
        """
        session, loop, due_s = self._line.session, asyncio.get_running_loop(), 0.0
        again_s, chunks = loop.time() + _AGAIN_S, 0
        stream = session.live(self.hands, encoding=self._encoding, pace=pace)
        async with contextlib.aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Frame):
                    if pace != "realtime":
                        if item.index > 0:  # the first shows what hands did: it waits for nothing
                            await asyncio.sleep(due_s - loop.time())
                        due_s = max(due_s, loop.time()) + 1 / session.capabilities.fps
                    await self._page.show(packing.frame(item))
                    continue
                chunks += 1
                if pace == "realtime" and chunks == 2:  # a refusal would have come by now
                    self._is_slow = False
                await self._end_chunk(item)
                if self._is_ending:
                    return True
                if pace != "realtime" and loop.time() > again_s:
                    return False
        return True

    async def _end_chunk(self, chunk: Chunk) -> None:
        note, cells = self._line.add(chunk)
        steered = self.hands.steered(chunk)
        told: dict[str, object] = {
            "is": "chunk",
            **note.told(),
            "cells": cells_told(cells),
            "share": self._line.coverage.share,
            "slow": self._is_slow,
        }
        if steered is not None:
            told["steered"] = steered.told()
        await self._page.tell(told)

    async def _stop(self, text: str) -> None:
        logger.info("a walk stopped: %s", text)
        self.has_stopped = True
        await self._page.tell({"is": "stopped", "text": text})
