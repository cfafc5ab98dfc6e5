"""Who reads a session."""

from __future__ import annotations

import asyncio

from keepworld_runtime.engine.errors import RequestError


class Attachment:
    """A stream's hold on a session, until another attaches, the session ends or the server stops.

    Attributes:
        epoch: counts the attachments of the session.
        over: set when the hold has ended; `reason` says why.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.over = asyncio.Event()
        self.reason: RequestError | None = None

    def end(self, reason: RequestError) -> None:
        """Take the hold away; the first reason counts."""
        if not self.over.is_set():
            self.reason = reason
            self.over.set()
