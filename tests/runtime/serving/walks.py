"""Walks that are compared: frames and ends without what was measured of them."""

from __future__ import annotations

from typing import Any

import grpc
from keepworld.v1 import session_pb2, world_service_pb2

from tests.runtime.serving.client import AS_FAST, RAW, WITHIN_S, Walk, error_info, script

NO_FRAME = 2**64 - 1
GRADIENT: dict[str, Any] = {"family": "gradient", "seed": 7}
DIORAMA: dict[str, Any] = {
    "family": "diorama",
    "seed": 3,
    "prompt": "a foggy forest",
    "size": world_service_pb2.Size(width=128, height=72),
}


async def opened(stub: Any, **fields: Any) -> world_service_pb2.CreateSessionResponse:
    return await stub.CreateSession(world_service_pb2.CreateSessionRequest(**fields), timeout=WITHIN_S)


async def attached(stub: Any, created: Any, **fields: Any) -> Walk:
    """A stream of a session, that makes only what is scripted; `fields` are Attach's."""
    walk = Walk(stub, created)
    await walk.send(
        attach=session_pb2.Attach(
            session_id=created.session.session_id,
            token=created.token,
            config=session_pb2.StreamConfig(encoding=RAW),
            pace=session_pb2.Pace(mode=AS_FAST, only_scripted=True),
            **fields,
        )
    )
    walk.attached = (await walk.read()).attached
    return walk


def named(created: Any) -> dict[str, str]:
    return {"session_id": created.session.session_id, "token": created.token}


def plain(frames: list[Any]) -> list[Any]:
    for frame in frames:
        frame.ClearField("timing")
    return frames


async def chunk(walk: Walk, forward: float | None = None, event: str = "") -> list[Any]:
    """A chunk: its frames and its end. With `forward`, that is scripted for it; with `event`, asked for in it."""
    if event:
        await walk.send(event={"request_id": "e", "text": event, "ramp_s": 0.5})
    if forward is not None:
        await walk.send(script=script((forward, 16)))
    frames, end = await walk.chunk()
    end.ClearField("timing")
    end.ClearField("line")
    return [*plain(frames), end]


async def first_chunk(walk: Walk, forward: float) -> list[Any]:
    """Chunk 0: its first frame stands still."""
    await walk.send(script=script((forward, 12)))
    return await chunk(walk)


async def refused(call: Any) -> str:
    """The reason that a call is refused for."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error_info(error.trailing_metadata()).reason
    raise AssertionError("it was not refused")
