"""What a request is about that names a walk: a session's line, or what led to a snapshot."""

from __future__ import annotations

from typing import Protocol

from keepworld_runtime.engine.engine import Engine
from keepworld_runtime.engine.errors import InvalidFieldError
from keepworld_runtime.engine.session import Session
from keepworld_runtime.engine.snapshot import Start


class Named(Protocol):
    """A request with the fields that name one."""

    session_id: str
    token: str
    snapshot_id: str


async def source_of(engine: Engine, request: Named) -> Session | Start:
    """The walk that a request names.

    Raises:
        InvalidFieldError: it names none, or two.
        RequestError: there is none of that name, or it is not the caller's.
    """
    if bool(request.session_id) == bool(request.snapshot_id):
        raise InvalidFieldError("name a session or a snapshot, one of the two", field="session_id")
    if request.session_id:
        return engine.session(request.session_id, request.token)
    return await engine.archive.start(request.snapshot_id)
