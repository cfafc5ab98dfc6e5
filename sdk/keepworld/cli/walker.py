"""A reader that does nothing but measure: when each frame came, and that none was lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from keepworld.errors import ProtocolError
from keepworld.v1 import frame_pb2, session_pb2, world_service_pb2
from keepworld.v1.world_service_pb2_grpc import WorldServiceStub

_CHUNK_S = 16 / 24
_CLOSE_WITHIN_S = 10.0


class TooLateError(Exception):
    """The server refused or ended the walk, or sent nothing while it was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Walked:
    """What one reader saw in its span of time. Server and reader share a machine, and so a clock.

    Attributes:
        delivery_s: [N] from each frame's drawing to its arrival.
        late_s: [N] how far each came behind the walk's clock, which starts with the first frame.
        encode_s: time spent in encoders for whole chunks.
    """

    delivery_s: NDArray[np.float64]
    late_s: NDArray[np.float64]
    encode_s: float


async def walk(
    stub: WorldServiceStub, model: str, size: tuple[int, int], phase: float, span_s: tuple[float, float]
) -> Walked:
    """Open a session, begin `phase` of a chunk later, read in realtime until the span is over, and close it.

    Raises:
        TooLateError: the server would not, or nothing came.
        ProtocolError: frames came out of order.
    """
    request = world_service_pb2.CreateSessionRequest(
        family=model, size=world_service_pb2.Size(width=size[0], height=size[1])
    )
    try:
        created = await stub.CreateSession(request, timeout=60)
        await asyncio.sleep(phase * _CHUNK_S)
        try:
            return await _read(stub, created, span_s)
        finally:
            closing = world_service_pb2.CloseSessionRequest(session_id=created.session.session_id, token=created.token)
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.CloseSession(closing, timeout=_CLOSE_WITHIN_S)
    except grpc.aio.AioRpcError as error:
        raise TooLateError(error.code().name.lower()) from None


async def _read(
    stub: WorldServiceStub, created: world_service_pb2.CreateSessionResponse, span_s: tuple[float, float]
) -> Walked:
    attach = session_pb2.Attach(
        session_id=created.session.session_id,
        token=created.token,
        config=session_pb2.StreamConfig(encoding=frame_pb2.IMAGE_ENCODING_JPEG),
        pace=session_pb2.Pace(mode=session_pb2.PACE_MODE_REALTIME),
    )
    call = stub.StreamSession()
    await call.write(world_service_pb2.StreamSessionRequest(attach=attach))
    seen: list[tuple[float, float]] = []
    encode_us, start_s, due = 0, None, 0
    async for message in call:
        now_s = time.monotonic()
        if now_s >= span_s[1]:
            break
        if message.HasField("frame"):
            frame = message.frame
            if frame.seq != due:
                raise ProtocolError(f"frame {due} was due, {frame.seq} came")
            due += 1
            start_s = now_s if start_s is None else start_s
            if now_s >= span_s[0]:
                seen.append((now_s - frame.timing.drawn_us / 1e6, now_s - start_s - frame.time_s))
        elif message.HasField("chunk_end") and now_s >= span_s[0]:
            encode_us += message.chunk_end.timing.encode_us
    call.cancel()
    if not seen:
        raise TooLateError("nothing came")
    delivery_s, late_s = np.array(seen).T
    return Walked(delivery_s=delivery_s, late_s=late_s, encode_s=encode_us / 1e6)
