"""What the engine allows: bounds on what a session may hold and for how long."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds, told to clients in GetCapabilities.

    Attributes:
        max_sessions: sessions at once.
        max_steps: steps of one script, cameras of one path.
        max_queued_frames: frames that scripts and paths may have queued in a session.
        max_pending_events: events that may wait in a session.
        max_snapshots: that are kept; the oldest go first.
        max_lines: that a session has; the oldest that it is not on go first.
        max_journal_bytes: of a journal that is imported.
        dead_man_s: after this without a live control the camera stands still.
        idle_s: a session without a stream is closed after this.
    """

    max_sessions: int = 8
    max_steps: int = 4096
    max_queued_frames: int = 100_000
    max_pending_events: int = 256
    max_snapshots: int = 64
    max_lines: int = 64
    max_journal_bytes: int = 1 << 30
    dead_man_s: float = 2.0
    idle_s: float = 600.0

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) <= 0:
                raise ValueError(f"{each.name} must be positive, got {getattr(self, each.name)}")
