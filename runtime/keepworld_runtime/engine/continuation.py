"""What a session is given to go on from in its middle: kept before it is promised, and taken in once."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from keepworld_runtime.engine.errors import QueueFullError, RequestIdReusedError, WorldNotBegunError
from keepworld_runtime.engine.keeper import Keeper
from keepworld_runtime.engine.session import Session
from keepworld_runtime.families.family import Capabilities, Clip, Continuation, Recording
from keepworld_runtime.journal.continuations import Given

logger = logging.getLogger(__name__)


async def extend(
    keeper: Keeper, session: Session, request_id: str, asked: str, read: Callable[[], Continuation]
) -> int:
    """Have a session go on from something else than what it saw last; gives the chunk that does, or did already.

    Args:
        keeper: has the journal.
        session: it is held still meanwhile: it neither goes back nor changes its reader.
        request_id: asked again under the same, it is not taken in twice; "" for none.
        asked: hash of the request, in hex.
        read: gives what to go on from, if that has not been done before; raises the RequestError that says why it cannot.

    Raises:
        RequestIdReusedError: something else was asked for under this request id.
        QueueFullError: something waits already.
        WorldNotBegunError: there is nothing yet that frames could follow.
        SessionClosedError, WorkerFailedError, ChunkBrokenError: it has ended.
    """
    journal = keeper.journal
    async with session.changing:
        session.check_open()
        if request_id:
            found = next(((chunk, each) for chunk, each in session.given if each.request_id == request_id), None)
            if found is None:
                found = await keeper.do(journal.taken, session.id, session.line, request_id)
            if found:
                return _known(found, asked)
        if any(chunk == session.begun for chunk, _ in session.given):
            raise QueueFullError(f"chunk {session.begun} has something to go on from already", field="extend")
        continuation = read()
        if isinstance(continuation, Clip) and session.opens:
            raise WorldNotBegunError("nothing has been seen yet: open a session from these frames", field="extend")
        given = await keeper.do(journal.save_continuation, session.id, request_id, asked, continuation)
        session.check_open()
        chunk = session.go_on_from(given)
    logger.info("session extended session=%s chunk=%d", session.id, chunk)
    return chunk


def check_fits(continuation: Continuation, family: Capabilities) -> None:
    """See that a family can go on from something.

    Raises:
        ValueError: it cannot; says why.
    """
    if isinstance(continuation, Clip):
        if not family.takes_clip:
            raise ValueError(f"{family.name} goes on from no frames")
        if len(continuation.frames) < family.min_clip_frames:
            raise ValueError(f"a clip has at least {family.min_clip_frames} frames, got {len(continuation.frames)}")
    else:
        _check_recording(continuation, family)


def _check_recording(recording: Recording, family: Capabilities) -> None:
    if not family.takes_recording:
        raise ValueError(f"{family.name} goes on from no recording of a walk")
    if recording.mode not in family.modes:
        raise ValueError(f"a recording's mode is one of {', '.join(family.modes)}, got {recording.mode[:64]!r}")
    frames = len(recording.controls)
    chunks = family.chunk_of(frames)
    if frames != family.first_frame_of(chunks):
        raise ValueError(f"a recording has whole chunks from a world's first on, got {frames} frames")
    for control in recording.controls:
        refused = control.used_axes() - set(family.modes[recording.mode])
        if refused:
            raise ValueError(f"mode {recording.mode!r} does not honour {', '.join(sorted(refused))}")
    began = [chunk for chunk, _ in recording.events]
    if began != sorted(began) or any(not 0 <= chunk < chunks for chunk in began):
        raise ValueError(f"a recording's events begin one after the other in its {chunks} chunks")
    for _, event in recording.events:
        if not (0 <= event.ramp_s < math.inf and 0 <= (event.duration_s or 0.0) < math.inf):
            raise ValueError("a recording's events have ramps and durations of finite seconds, 0 or more")


def _known(found: tuple[int, Given], asked: str) -> int:
    chunk, given = found
    if given.asked != asked:
        raise RequestIdReusedError("this request id came before, with another body", field="extend.request_id")
    return chunk
