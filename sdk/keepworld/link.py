"""One attached stream of a session: what is sent, what has come, and which answer belongs to which request.

Frames wait here for a reader, two chunks at most; then nothing more is read, so that HTTP/2 flow control holds the server
back. While a request waits for its receipt, which may lie behind frames in the connection, a bounded number of further
chunks is let in: asking between two chunks can never lock up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import grpc
import grpc.aio

from keepworld import wire
from keepworld.errors import ProtocolError, ServerError, StreamStalledError, UnavailableError, from_grpc, printable
from keepworld.frames import Frame, Receipt
from keepworld.v1 import frame_pb2, session_pb2, world_service_pb2
from keepworld.v1.world_service_pb2_grpc import WorldServiceStub

logger = logging.getLogger(__name__)

_WAITING_CHUNKS = 2
# What may come in before a receipt: what the server had made (two chunks, and one it is sending), and what the connection
# had taken in, which is a number of bytes, not of chunks: HTTP/2 windows grow to 16 MB.
_WAITING_CHUNKS_WHILE_ASKING = 5
_WAITING_BYTES_WHILE_ASKING = 64 * 2**20
_MIN_STALL_S = 3.0

Request = world_service_pb2.StreamSessionRequest
Response = world_service_pb2.StreamSessionResponse


class Link:
    """An attached stream; made by `attach`, ended by `close`.

    Attributes:
        attached: how the server took it.
        next_number: the number of the next frame to come in.
    """

    def __init__(
        self,
        call: grpc.aio.StreamStreamCall[Request, Response],
        read_frame: Callable[[frame_pb2.Frame], Frame],
        deadline_s: float,
    ) -> None:
        self._call = call
        self._read_frame = read_frame
        self._deadline_s = deadline_s
        self._stall_s = max(_MIN_STALL_S, deadline_s)
        self._outbox: dict[str, Request] = {}
        self._has_mail = asyncio.Event()
        self._waiting: deque[Frame | wire.ChunkEnd | ServerError] = deque()
        self._waiting_chunks = 0
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._asked: dict[str, asyncio.Future[Receipt]] = {}
        self._frames_in_chunk: int | None = None
        self._is_taking = False
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self.attached = wire.attached(session_pb2.Attached())
        self.next_number = 0

    @classmethod
    async def attach(
        cls,
        stub: WorldServiceStub,
        request: Request,
        *,
        read_frame: Callable[[frame_pb2.Frame], Frame],
        deadline_s: float,
    ) -> Self:
        """Start a stream and wait until the server has taken it.

        Raises:
            ServerError: it did not.
        """
        call = stub.StreamSession()
        link = cls(call, read_frame, deadline_s)
        try:
            with from_grpc():
                await link._write_first(request)
                first = await link._receive()
            if first.WhichOneof("message") != "attached":
                raise ProtocolError("the server did not begin the stream with 'attached'")
        except BaseException:
            call.cancel()
            raise
        link.attached = wire.attached(first.attached)
        link._stall_s = max(_MIN_STALL_S, 3 * link.attached.heartbeat_s)
        link.next_number = link.attached.next_number
        link._reader = asyncio.create_task(link._read())
        link._reader.add_done_callback(link._on_end)
        link._writer = asyncio.create_task(link._write())
        return link

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self._reader is None or self._reader.done()

    def send(self, kind: str, request: Request) -> None:
        """Send soon, without waiting; what is unsent of the same kind is replaced, which bounds what can wait."""
        self._outbox[kind] = request
        self._has_mail.set()

    async def ask(self, request_id: str, request: Request) -> Receipt:
        """Send, and wait for the receipt.

        Raises:
            InvalidRequestError: the server refused it; the stream goes on.
            ServerError: the stream ended, or no receipt came in time.
        """
        if self.has_ended:
            raise self._failure()
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._asked[request_id] = future
        self._room.set()
        self.send(request_id, request)
        try:
            async with asyncio.timeout(self._deadline_s):
                return await future
        except TimeoutError:
            raise UnavailableError(
                f"no receipt came within {self._deadline_s:g} s", code="DEADLINE", request_id=request_id
            ) from None
        finally:
            del self._asked[request_id]

    async def take(self) -> Frame | wire.ChunkEnd:
        """The next frame or chunk end, in order.

        Raises:
            ServerError: the stream ended, after everything that had come has been taken.
        """
        if self._is_taking:
            raise RuntimeError("two readers on one session: end one of them first")
        self._is_taking = True
        try:
            while not self._waiting:
                if self.has_ended:
                    raise self._failure()
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._is_taking = False
        item = self._waiting.popleft()
        if isinstance(item, ServerError):
            raise item
        if isinstance(item, wire.ChunkEnd):
            self._waiting_chunks -= 1
            self._room.set()
        else:
            self._waiting_bytes -= _size(item)
        return item

    async def close(self) -> None:
        """End the stream and everything that serves it."""
        self._call.cancel()
        tasks = [task for task in (self._reader, self._writer) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        with from_grpc():
            while True:
                await self._wait_for_room()
                await self._dispatch(await self._receive())

    async def _wait_for_room(self) -> None:
        while not self._has_room():
            self._room.clear()
            await self._room.wait()

    def _has_room(self) -> bool:
        if self._waiting_chunks < _WAITING_CHUNKS:
            return True
        is_little = self._waiting_bytes < _WAITING_BYTES_WHILE_ASKING
        return bool(self._asked) and (is_little or self._waiting_chunks < _WAITING_CHUNKS_WHILE_ASKING)

    async def _receive(self) -> Response:
        try:
            async with asyncio.timeout(self._stall_s):
                message = await self._call.read()
        except TimeoutError:
            raise StreamStalledError(f"nothing came from the server for {self._stall_s:g} s") from None
        if not isinstance(message, Response):
            raise UnavailableError("the server ended the stream", code="STREAM_ENDED")
        return message

    async def _dispatch(self, message: Response) -> None:
        match message.WhichOneof("message"):
            case "frame":
                self._count(message.frame)
                # Unpacking depth takes milliseconds; zlib lets other threads run meanwhile.
                has_pixels = message.frame.HasField("pixels")
                read = asyncio.to_thread(self._read_frame, message.frame) if has_pixels else None
                frame = self._read_frame(message.frame) if read is None else await read
                self._waiting_bytes += _size(frame)
                self._keep(frame)
            case "chunk_end":
                self._frames_in_chunk = 0
                self._waiting_chunks += 1
                self._keep(wire.chunk_end(message.chunk_end))
            case "receipt":
                self._answer(message.receipt.request_id, wire.receipt(message.receipt))
            case "refusal":
                refused = wire.refusal(message.refusal)
                if message.refusal.request_id:
                    self._answer(message.refusal.request_id, refused)
                elif not (self._waiting and isinstance(self._waiting[-1], ServerError)):
                    self._keep(refused)  # of a live control; one is enough to say it
            case "notice":
                kind = session_pb2.NoticeKind.Name(message.notice.kind) if message.notice.kind in range(4) else "?"
                logger.info("notice from the server: %s %s", kind, printable(message.notice.message))
            case _:
                pass  # heartbeats, and whatever later versions add

    def _count(self, frame: frame_pb2.Frame) -> None:
        """Check that frames come without gaps, and that chunks end."""
        if self._frames_in_chunk is None:
            self._frames_in_chunk = frame.index  # the first chunk of an attachment may begin in its middle
        if frame.seq != self.next_number or frame.index != self._frames_in_chunk:
            raise ProtocolError(f"frame {self.next_number} was due, the server sent {frame.seq}")
        self.next_number += 1
        self._frames_in_chunk += 1
        if self._frames_in_chunk > wire.MAX_CHUNK_FRAMES:
            raise ProtocolError("the server sent a chunk without end")

    def _keep(self, item: Frame | wire.ChunkEnd | ServerError) -> None:
        self._waiting.append(item)
        self._arrived.set()

    def _answer(self, request_id: str, answer: Receipt | ServerError) -> None:
        future = self._asked.get(request_id)
        if future is None or future.done():
            return
        if isinstance(answer, ServerError):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    async def _write_first(self, request: Request) -> None:
        """Write before anything is known of the server; on a dead line even this may never end by itself."""
        try:
            async with asyncio.timeout(self._stall_s):
                with suppress(asyncio.InvalidStateError):  # ended already: reading says why
                    await self._call.write(request)
        except TimeoutError:
            raise StreamStalledError(f"the server took nothing for {self._stall_s:g} s") from None

    async def _write(self) -> None:
        while True:
            await self._has_mail.wait()
            while self._outbox:
                kind = next(iter(self._outbox))
                try:
                    await self._call.write(self._outbox.pop(kind))
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    return  # the stream has ended; the reader knows why
            self._has_mail.clear()

    def _on_end(self, reader: asyncio.Task[None]) -> None:
        """The reader has ended: nobody must go on waiting."""
        self._arrived.set()
        if not reader.cancelled():
            self._call.cancel()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(self._failure())

    def _failure(self) -> BaseException:
        if self._reader is None or self._reader.cancelled():
            return UnavailableError("the stream has been closed", code="STREAM_CLOSED")
        return self._reader.exception() or UnavailableError("the stream has ended", code="STREAM_ENDED")


def _size(frame: Frame) -> int:
    """The bytes that a frame holds."""
    arrays = (frame.depth, frame.labels, frame.confidence)
    return len(frame.data) + sum(array.nbytes for array in arrays if array is not None)
