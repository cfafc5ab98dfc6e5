"""What a server has been asked to walk and has not walked yet: what to ask for again when it has forgotten."""

from __future__ import annotations

from collections import deque

from keepworld.capabilities import FamilyCapabilities
from keepworld.plans import Portion
from keepworld.wire import Attached


class Queued:
    """Portions of plans with the numbers of the frames that they steer.

    Attributes:
        until: the first frame that none has been queued for.
    """

    def __init__(self, capabilities: FamilyCapabilities) -> None:
        self._capabilities = capabilities
        self._portions: deque[tuple[int, Portion]] = deque()  # the first frame that each steers
        self.until = 0

    def add(self, portion: Portion, chunk: int) -> int:
        """Take note of a portion whose first frame falls in `chunk` at the earliest; gives that frame's number."""
        first = max(self.until, self._capabilities.first_frame_of(chunk))
        opens = first == 0 and self._capabilities.opens_standing
        self._portions.append((first + (portion.opening_frames if opens else 0), portion))
        self.until = first + portion.frames
        return first

    def forget_before(self, number: int) -> None:
        """Frames before this one have come: what steered them is done with."""
        while self._portions and self._portions[0][0] + self._portions[0][1].frames <= number:
            self._portions.popleft()

    def clear(self, number: int) -> None:
        """Forget everything; `number` is the next frame."""
        self._portions.clear()
        self.until = number

    def missing(self, attached: Attached) -> list[Portion]:
        """What a server that says this has forgotten of it."""
        end, missing = self._end(attached), []
        for first, portion in self._portions:
            done = max(0, end - first)
            if done < portion.frames:
                missing.append(portion.after(done))
        return missing

    def chunk_if_there(self, portion: Portion, attached: Attached) -> int | None:
        """Whether a portion that had no answer waits on the server nevertheless, and with which chunk it begins."""
        end = self._end(attached)
        known = max(self.until, *(first + known.frames for first, known in self._portions), 0)
        start = max(known, self._capabilities.first_frame_of(attached.next_chunk))
        return (
            None
            if attached.queued == 0 or end <= start
            else self._capabilities.chunk_of(max(known, end - portion.frames))
        )

    def _end(self, attached: Attached) -> int:
        """The first frame that nothing waits for on the server."""
        opens = attached.next_chunk == 0 and self._portions and self._portions[0][0] == 1
        return self._capabilities.first_frame_of(attached.next_chunk) + attached.queued + (1 if opens else 0)
