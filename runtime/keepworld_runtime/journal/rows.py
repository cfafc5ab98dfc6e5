"""What a session waits for and has begun, as the row that it is kept in has it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from keepworld_runtime.journal import continuations, record
from keepworld_runtime.journal.continuations import Given
from keepworld_runtime.journal.tree import KeptSession, Line, Waiting


def kept(
    session_id: str, token_digest: bytes, line: Line, waiting: str, begun: bytes | None, continuation: str | None
) -> KeptSession:
    """A session as its row has it, without what is done already."""
    unfinished = record.decode_begun(begun) if begun else None
    is_unfinished = unfinished is not None and unfinished.number == line.point.chunks
    next_chunk = line.point.chunks + is_unfinished
    return KeptSession(
        id=session_id,
        token_digest=bytes(token_digest),
        line=line,
        waiting=tuple(each for each in _read(waiting) if each.chunk >= next_chunk),
        begun=unfinished if is_unfinished else None,
        continuation=continuations.decode(json.loads(continuation)) if continuation else None,
    )


def waiting_text(waiting: Sequence[Waiting]) -> str:
    """Events that wait, for the column of that name."""
    return json.dumps([{"at": each.chunk, **record.encode_asked(each.asked)} for each in waiting])


def continuation_text(given: Given) -> str:
    """What waits to be gone on from, for the column of that name."""
    return json.dumps(continuations.encode(given))


def _read(text: str) -> tuple[Waiting, ...]:
    return tuple(Waiting(chunk=told["at"], asked=record.decode_asked(told)) for told in json.loads(text))
