"""One line on a terminal that says how far something is; nothing at all where nobody is watching."""

from __future__ import annotations

import sys
import time

from keepworld.frames import Chunk


class ProgressLine:
    """A line on standard error that is written over and over. Silent unless `wanted` and standard error is a terminal."""

    def __init__(self, *, wanted: bool) -> None:
        self._is_shown = wanted and sys.stderr.isatty()
        self._has_text = False

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._is_shown:
            sys.stderr.write(f"\r\x1b[2K{text[:200]}")
            sys.stderr.flush()
            self._has_text = True

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
