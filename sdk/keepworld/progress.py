"""One line that says how far something is: written over on a terminal, now and then a new one in a log."""

from __future__ import annotations

import sys
import time

from keepworld.frames import Chunk

LOG_EVERY_S = 5.0


class ProgressLine:
    """A line on standard error, if `wanted`. On a terminal it is written over; elsewhere a line comes every five seconds."""

    def __init__(self, *, wanted: bool) -> None:
        self._is_wanted = wanted
        self._has_text = False
        self._logged_s = -LOG_EVERY_S

    def show(self, text: str) -> None:
        """Replace the line."""
        if not self._is_wanted:
            return
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[2K{text[:200]}")
            self._has_text = True
        elif time.monotonic() - self._logged_s >= LOG_EVERY_S:
            self._logged_s = time.monotonic()
            sys.stderr.write(f"     {text[:200]}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line as it is and go on below it."""
        if self._has_text:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self._has_text = False


class WalkProgress:
    """The line of a session: chunk, frames, frames a second."""

    def __init__(self, *, wanted: bool) -> None:
        self._line = ProgressLine(wanted=wanted)
        self._frames = 0
        self._since: float | None = None

    def count(self, chunk: Chunk) -> None:
        """Take a chunk into account."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        else:
            self._frames += len(chunk.frames)
        rate = f", {self._frames / (now - self._since):.1f} fps" if now > self._since else ""
        self._line.show(f"chunk {chunk.index}, {chunk.frames[-1].number + 1} frames{rate}")

    def end(self) -> None:
        """Go on below the line."""
        self._line.end()
