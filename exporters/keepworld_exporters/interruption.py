"""Ctrl-C and SIGTERM: an export is ended between two of its steps, and cleans up as it goes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from keepworld_exporters.progress import Progress

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody wants it to end.

    Attributes:
        number: of the signal that said so; Ctrl-C's until one has.
    """

    def __init__(self) -> None:
        self.number: int = signal.SIGINT
        self._is_wanted = False

    @contextmanager
    def between_steps(self, tell: Callable[[Progress], None]) -> Iterator[Callable[[Progress], None]]:
        """Raise KeyboardInterrupt where progress is told, not within native code that would swallow it; at a second one at once.

        Args:
            tell: what progress is told to; what comes back is to be called instead.
        """

        def want(number: int, _frame: FrameType | None) -> None:
            if self._is_wanted:
                raise KeyboardInterrupt
            self.number, self._is_wanted = number, True

        def tell_or_stop(progress: Progress) -> None:
            if self._is_wanted:
                raise KeyboardInterrupt
            tell(progress)

        if threading.current_thread() is not threading.main_thread():
            yield tell
            return
        before = {number: signal.signal(number, want) for number in SIGNALS}
        try:
            yield tell_or_stop
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
