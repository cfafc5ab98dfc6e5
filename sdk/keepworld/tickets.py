"""A session's ticket: a line of text that any program can take the session up with, as long as the server has it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Self

from keepworld.capabilities import Reading

_PREFIX = "keepworld-session-1."
_MAX_CHARS = 256 * 2**10


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """What a ticket says.

    Attributes:
        session_id, token: which session, and the right to it.
        prompt, reading: what it was opened with and how that was understood: servers do not tell again.
    """

    session_id: str
    token: str
    prompt: str
    reading: Reading

    def text(self) -> str:
        """As one line of letters, digits, dots, dashes and underscores."""
        content = [self.session_id, self.token, self.prompt, list(self.reading.used), list(self.reading.ignored)]
        return _PREFIX + base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` gave.

        Raises:
            ValueError: it is not a ticket.
        """
        wrong = ValueError(f"ticket must be what Session.ticket gave, got {str(text)[:24]!r}…")
        if not (isinstance(text, str) and text.startswith(_PREFIX) and len(text) <= _MAX_CHARS):
            raise wrong
        packed = text.removeprefix(_PREFIX)
        try:
            content = json.loads(base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True))
            session_id, token, prompt, used, ignored = content
        except (ValueError, TypeError, RecursionError):
            raise wrong from None
        if not all(isinstance(word, str) for word in (session_id, token, prompt)):
            raise wrong
        if not all(isinstance(part, list) and all(isinstance(word, str) for word in part) for part in (used, ignored)):
            raise wrong
        reading = Reading(used=tuple(used), ignored=tuple(ignored))
        return cls(session_id=session_id, token=token, prompt=prompt, reading=reading)
