"""A session as it was opened: what the server said, and what walks it from here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keepworld.capabilities import FamilyCapabilities, Limits, Reading, SessionInfo
from keepworld.connection import Connection
from keepworld.feed import Feed
from keepworld.progress import WalkProgress
from keepworld.recording import Recording, provenance_of
from keepworld.walker import Walker


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """What a server said of a session, and what its client wants of it.

    Attributes:
        info, token, capabilities, limits: as the server said.
        prompt, reading: what it was opened with, and how that was understood.
        first_number: of the frame to begin with; None: the first that has not been sent to anybody.
        sent_before: whether that frame may have been sent already, to another program.
        record, progress: as for `AsyncSessions.open`.
    """

    info: SessionInfo
    token: str
    capabilities: FamilyCapabilities
    limits: Limits
    prompt: str
    reading: Reading
    first_number: int | None
    sent_before: bool = False
    record: str | Path | bool | None = None
    progress: bool = False


def walked_by(connection: Connection, opened: Opened, resume_s: float) -> tuple[Recording, Feed, Walker]:
    """What records a session's chunks, what they come in by, and what steers it; `resume_s` is for a broken stream.

    Raises:
        CaptureError: the folder to record into already holds something.
    """
    info = opened.info
    recording = Recording(opened.record, provenance_of(info, opened.prompt, opened.capabilities, opened.reading))
    feed = Feed(
        connection,
        info.id,
        opened.token,
        capabilities=opened.capabilities,
        size=info.size,
        first_number=opened.first_number,
        sent_before=opened.sent_before,
        recording=recording,
        progress=WalkProgress(wanted=opened.progress),
        resume_s=resume_s,
    )
    walker = Walker(feed, opened.capabilities, info.mode, opened.limits, records_everything=recording.is_everything)
    return recording, feed, walker
