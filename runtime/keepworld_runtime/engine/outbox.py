"""What a session has for its reader: frames, the ends of chunks, notices; kept until they have been sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

from keepworld_runtime.engine.errors import RequestError
from keepworld_runtime.engine.track import Touch
from keepworld_runtime.families.family import FrameData
from keepworld_runtime.journal.record import Begun


class NoticeKind(StrEnum):
    """What a notice is about."""

    WORKER_RESTARTED = "worker restarted"
    DRAINING = "draining"
    SCRIPT_DONE = "script done"


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeFrame:
    """A frame and its place in the session. `drawn_s` is this machine's monotonic clock."""

    seq: int
    chunk: int
    time_s: float
    drawn_s: float
    data: FrameData


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeChunk:
    """The end of a chunk: what it was made from, what it cost. Follows its last frame.

    `digest` comes when the chunk is in the journal; before that the end must not leave.
    """

    begun: Begun
    line: int
    digest: asyncio.Future[bytes]
    touch: Touch | None
    begun_s: float
    draw_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """Something a reader should know."""

    kind: NoticeKind
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Nothing comes after this; says why."""

    reason: RequestError


Item = MadeFrame | MadeChunk | Notice | Failure


class Outbox:
    """A queue that forgets an item only when it has been sent, so that a reader who lost its stream misses nothing.

    It is bounded by who fills it: the engine begins no chunk while `chunks` is 2, and a chunk has few notices.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._num_sent = 0
        self._arrival = asyncio.Event()
        self.chunks = 0

    def begin_chunk(self) -> None:
        """Count a chunk that is about to be made."""
        self.chunks += 1

    def put(self, item: Item) -> None:
        """Add what has been made."""
        self._items.append(item)
        self._arrival.set()

    def handed_on(self, seq: int) -> Outbox:
        """What waits of this one, without the frames before `seq`: for another reader, who has them."""
        had = [i for i, item in enumerate(self._items) if isinstance(item, MadeFrame) and item.seq < seq]
        num_had = had[-1] + 1 if had else 0
        other = Outbox()
        for i, item in enumerate(self._items):
            if i >= num_had:
                other.put(item)
        other.chunks = self.chunks - sum(isinstance(item, MadeChunk) for item in list(self._items)[:num_had])
        return other

    def put_end_again(self, end: MadeChunk) -> None:
        """Add the end of a chunk whose frames its reader has, unless it is what comes first anyway. Before anybody follows."""
        first = self._items[0] if self._items else None
        if not (isinstance(first, MadeChunk) and first.begun.number == end.begun.number):
            self._items.appendleft(end)
            self.chunks += 1

    @property
    def next_frame(self) -> MadeFrame | None:
        """The oldest frame that waits, or None."""
        return next((item for item in self._items if isinstance(item, MadeFrame)), None)

    def __len__(self) -> int:
        return len(self._items)

    async def follow(self) -> AsyncIterator[Item]:
        """Give every item that waits, oldest first, then each as it arrives, without end."""
        at = self._num_sent
        while True:
            while at >= self._num_sent + len(self._items):
                self._arrival.clear()
                await self._arrival.wait()
            yield self._items[at - self._num_sent]
            at += 1

    def mark_sent(self) -> Item:
        """Forget the oldest item: it is on its way."""
        item = self._items.popleft()
        self._num_sent += 1
        if isinstance(item, MadeChunk):
            self.chunks -= 1
        return item
