"""One stream of a session: requests in, frames out, each direction at its own speed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from keepworld.v1 import control_pb2, frame_pb2, world_service_pb2

from keepworld_runtime.engine.attachment import Attachment
from keepworld_runtime.engine.engine import Engine
from keepworld_runtime.engine.errors import InvalidFieldError, RequestError
from keepworld_runtime.engine.outbox import Failure, Item, MadeChunk, MadeFrame
from keepworld_runtime.engine.session import Session
from keepworld_runtime.serving import continuing, validate, wire
from keepworld_runtime.serving.assets import AssetStore
from keepworld_runtime.serving.encoding import FrameEncoder
from keepworld_runtime.serving.pictures import Encoded, PictureFormat

logger = logging.getLogger(__name__)

Request = world_service_pb2.StreamSessionRequest
Response = world_service_pb2.StreamSessionResponse
Context = grpc.aio.ServicerContext[Request, Response]

_MAX_REPLIES = 64  # unsent receipts and refusals, beyond which requests are not read


class _ReaderGoneError(Exception):
    """The connection broke; there is nobody to tell."""


@dataclass(slots=True)
class _Tally:
    """Encoding times of the chunk being sent."""

    encode_s: float = 0.0
    first_ready_s: float | None = None
    last_ready_s: float = 0.0

    def count(self, encoded: Encoded) -> None:
        self.encode_s += encoded.encode_s
        self.first_ready_s = encoded.ready_s if self.first_ready_s is None else self.first_ready_s
        self.last_ready_s = max(self.last_ready_s, encoded.ready_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """What streams work with: the engine, what has been uploaded, and threads that encode."""

    engine: Engine
    assets: AssetStore
    threads: Executor


class Stream:
    """Reads, encodes and writes until the session is taken away or the client goes.

    Every frame is encoded as soon as that can be; every write waits for the one before, so that a reader who stops holds up
    this stream and nothing else.
    """

    def __init__(self, means: Means, session: Session, attachment: Attachment, wanted: PictureFormat) -> None:
        self._engine = means.engine
        self._assets = means.assets
        self._session = session
        self._attachment = attachment
        self._wanted = wanted
        self._encoder = FrameEncoder(means.threads, session.capabilities.fps)
        self._replies: deque[Response] = deque()
        self._outgoing: deque[tuple[Item, asyncio.Future[Encoded] | asyncio.Future[bytes] | None]] = deque()
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._tally = _Tally()

    async def run(self, requests: AsyncIterator[Request], context: Context) -> None:
        """Serve the stream; ends with the RequestError that says why."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(requests))
                tasks.create_task(self._encode())
                tasks.create_task(self._write(context))
                tasks.create_task(self._until_over())
        except BaseExceptionGroup as group:
            if isinstance(group.exceptions[0], _ReaderGoneError):
                logger.info("reader gone session=%s", self._session.id)
            else:
                raise group.exceptions[0] from None
        finally:
            for item, future in self._outgoing:
                if future and isinstance(item, MadeFrame):
                    future.cancel()

    async def _until_over(self) -> None:
        await self._attachment.over.wait()
        assert self._attachment.reason
        raise self._attachment.reason

    async def _read(self, requests: AsyncIterator[Request]) -> None:
        async for request in requests:
            try:
                reply = await self._handle(request)
            except RequestError as error:
                reply = wire.refusal(_request_id(request), error)
            if reply:
                await self._reply(reply)

    async def _reply(self, reply: Response) -> None:
        while len(self._replies) >= _MAX_REPLIES:
            self._room.clear()
            await self._room.wait()
        self._replies.append(reply)
        self._something.set()

    async def _handle(self, request: Request) -> Response | None:
        """Do what a message asks; gives its receipt, if it has one."""
        session, family = self._session, self._session.capabilities
        mode, limits = session.spec.mode, self._engine.limits
        match request.WhichOneof("message"):
            case "control":
                message = request.control
                session.touch(validate.control(message.control, family, mode, "control"), message.client_time_us)
            case "script":
                chunk = session.queue_segments(validate.script(request.script, family, mode, limits))
                return wire.receipt(request.script.request_id, chunk)
            case "path":
                chunk = session.queue_poses(validate.camera_path(request.path, family, limits))
                return wire.receipt(request.path.request_id, chunk)
            case "event":
                asked, reading = validate.event(request.event, session.family)
                return wire.receipt(asked.request_id, await self._engine.add_event(session, asked), reading)
            case "cancel_event":
                chunk = await self._engine.cancel_event(session, validate.cancel_event(request.cancel_event))
                return wire.receipt(request.cancel_event.request_id, chunk)
            case "extend":
                return await self._extend(request.extend)
            case "pace":
                self._engine.set_pace(session, validate.pace(request.pace, "pace"))
            case "config":
                self._wanted = validate.picture_format(request.config, session.spec, "config")
            case "ack":
                session.acknowledge(request.ack.seq)
            case "attach":
                raise InvalidFieldError("this stream is attached already", field="attach")
            case _:
                raise InvalidFieldError("an empty message, or one of a newer version", field="message")
        return None

    async def _extend(self, message: control_pb2.Extend) -> Response:
        """Have the session go on from something else than what it saw last."""
        validate.stream_request_id(message.request_id, "extend")
        read = partial(continuing.read, message, self._session, self._assets)
        asked = continuing.hashed(message)
        return wire.receipt(
            message.request_id, await self._engine.extend(self._session, message.request_id, asked, read)
        )

    async def _encode(self) -> None:
        """Have every frame encoded as it is made; keep their order. The end of a chunk waits for the journal."""
        async for item in self._session.outbox.follow():
            future: asyncio.Future[Encoded] | asyncio.Future[bytes] | None = None
            if isinstance(item, MadeFrame):
                future = self._encoder.begin(item.data, self._wanted)
            elif isinstance(item, MadeChunk):
                future = item.digest
            if future:
                future.add_done_callback(lambda _: self._something.set())
            self._outgoing.append((item, future))
            self._something.set()

    async def _write(self, context: Context) -> None:
        await _send(context, wire.attached(self._attachment.epoch, self._session))
        while True:
            if self._replies:
                await _send(context, self._replies.popleft())
                self._room.set()
            elif self._outgoing and (self._outgoing[0][1] is None or self._outgoing[0][1].done()):
                item, future = self._outgoing[0]
                await _send(context, self._message(item, future.result() if future else None))
                if self._attachment.over.is_set():
                    return  # from here on the outbox is another stream's
                self._outgoing.popleft()
                self._session.mark_sent()
            else:
                await self._wait(context)

    async def _wait(self, context: Context) -> None:
        """Wait for something to write; say that the session is alive when nothing comes."""
        self._something.clear()
        try:
            async with asyncio.timeout(wire.HEARTBEAT_S):
                await self._something.wait()
        except TimeoutError:
            await _send(context, wire.heartbeat())

    def _message(self, item: Item, encoded: Encoded | bytes | None) -> Response:
        if isinstance(item, MadeFrame):
            assert isinstance(encoded, Encoded)
            self._tally.count(encoded)
            return wire.frame(item, encoded, self._session.capabilities)
        if isinstance(item, MadeChunk):
            tally, self._tally = self._tally, _Tally()
            return wire.chunk_end(item, self._timing(item, tally))
        if isinstance(item, Failure):
            raise item.reason.with_traceback(None)
        return wire.notice(item)

    def _timing(self, made: MadeChunk, tally: _Tally) -> frame_pb2.ChunkTiming:
        ready_s = tally.last_ready_s or time.monotonic()
        timing = frame_pb2.ChunkTiming(
            draw_us=wire.microseconds(made.draw_s),
            encode_us=wire.microseconds(tally.encode_s),
            chunk_us=wire.microseconds(ready_s - made.begun_s),
        )
        if made.touch and tally.first_ready_s is not None:
            timing.control_us = wire.microseconds(tally.first_ready_s - made.touch.at_s)
        logger.info(
            "chunk session=%s chunk=%d draw_ms=%.1f encode_ms=%.1f chunk_ms=%.1f",
            self._session.id, made.begun.number, timing.draw_us / 1e3, timing.encode_us / 1e3, timing.chunk_us / 1e3,
        )  # fmt: skip
        return timing


async def _send(context: Context, message: Response) -> None:
    """Write a message, waiting until the connection takes it."""
    try:
        await context.write(message)
    except grpc.aio.InternalError as error:  # what grpc.aio raises when the connection is no more
        raise _ReaderGoneError from error


def _request_id(request: Request) -> str:
    """The request id of a stream's message, or "" for those that have none."""
    kind = request.WhichOneof("message")
    if kind not in ("script", "path", "event", "cancel_event", "extend"):
        return ""
    message: Any = getattr(request, kind)
    return str(message.request_id)[: validate.MAX_REQUEST_ID_CHARS]
