"""Events that wait for their chunk."""

from __future__ import annotations

import math
from collections.abc import Iterable

from keepworld_runtime.engine.errors import EventNotFoundError, EventPastError, QueueFullError
from keepworld_runtime.families.family import Capabilities
from keepworld_runtime.journal.record import Asked
from keepworld_runtime.journal.tree import Waiting


class EventTimeline:
    """Holds events until the chunk they start with.

    A time in seconds means the first chunk that starts at or after it: events start with a chunk's first frame.
    """

    def __init__(self, capabilities: Capabilities, *, max_pending: int) -> None:
        self._capabilities = capabilities
        self._max_pending = max_pending
        self._pending: dict[int, list[Asked]] = {}

    def add(self, asked: Asked, *, next_chunk: int) -> int:
        """Keep an event; gives the chunk it starts with.

        Raises:
            EventPastError: that chunk is before `next_chunk`, the next one to be begun.
            QueueFullError: too many events wait.
        """
        chunk = self.chunk_of(asked, next_chunk)
        if chunk < next_chunk:
            field = "event.chunk" if asked.chunk is not None else "event.seconds"
            start_s = self._capabilities.first_frame_of(next_chunk) / self._capabilities.fps
            raise EventPastError(f"this is past: the next chunk is {next_chunk}, from {start_s:.3f} s on", field=field)
        if sum(map(len, self._pending.values())) >= self._max_pending:
            raise QueueFullError(f"{self._max_pending} events wait already", field="event")
        self._pending.setdefault(chunk, []).append(asked)
        return chunk

    @property
    def waiting(self) -> list[Waiting]:
        """Those not handed over yet, by the chunk they start with."""
        return [Waiting(chunk=chunk, asked=asked) for chunk in sorted(self._pending) for asked in self._pending[chunk]]

    def cancel(self, request_id: str) -> int:
        """Take back the waiting events of this request id; gives the chunk that goes without the first of them.

        Raises:
            EventNotFoundError: none waits.
        """
        found = [each.chunk for each in self.waiting if each.asked.request_id == request_id]
        if not found:
            raise EventNotFoundError(
                f"no event with the request id {request_id!r} waits", field="cancel_event.event_request_id"
            )
        self.reset(each for each in self.waiting if each.asked.request_id != request_id)
        return found[0]

    def reset(self, waiting: Iterable[Waiting]) -> None:
        """Hold these instead."""
        kept = list(waiting)
        self._pending.clear()
        for each in kept:
            self._pending.setdefault(each.chunk, []).append(each.asked)

    def take(self, chunk: int) -> tuple[Asked, ...]:
        """Hand over the events that start with this chunk, in the order they came."""
        return tuple(self._pending.pop(chunk, ()))

    def chunk_of(self, asked: Asked, next_chunk: int) -> int:
        """The chunk that an event starts with."""
        if asked.chunk is not None:
            return asked.chunk
        if asked.seconds is None:
            return next_chunk
        capabilities = self._capabilities
        frame = math.ceil(asked.seconds * capabilities.fps - 1e-6)  # 1/24 s is not a binary number
        after_first = frame - capabilities.first_chunk_frames
        return 0 if frame <= 0 else 1 + max(0, -(-after_first // capabilities.chunk_frames))
