"""What comes in of a session, whatever walk it belongs to: the attached stream, chunks put together, their recording.

A stream that breaks is taken up again behind the last whole chunk: the frames since come once more, and those that the
caller has already are left out. Nobody who reads from here notices, but for the time it took.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from keepworld import wire, wire_world
from keepworld.capabilities import FamilyCapabilities, WaitingEvent
from keepworld.connection import Connection
from keepworld.errors import (
    FencedError,
    NotFoundError,
    ProtocolError,
    ServerError,
    SessionLostError,
    StreamStalledError,
    UnavailableError,
)
from keepworld.frames import Chunk, Frame, Receipt
from keepworld.link import Link
from keepworld.patience import Patience
from keepworld.plans import Portion
from keepworld.progress import WalkProgress
from keepworld.queued import Queued
from keepworld.recording import Recording
from keepworld.v1 import frame_pb2, world_service_pb2
from keepworld.video import Video
from keepworld.wire import Settings

logger = logging.getLogger(__name__)

_REWOUND = "SESSION_REWOUND"

Answer = TypeVar("Answer")


class Feed:
    """The frames of a session, in order, over as many attachments as it takes.

    Args:
        connection: to the server.
        session_id, token: which session.
        capabilities: of the session.
        size: width and height of its frames.
        first_number: of the frame to begin with; None: the first that has not been sent to anybody.
        sent_before: whether that frame may have been sent already, to somebody else.
        recording: where chunks go.
        progress: how far it is.
        resume_s: how long a broken stream is tried again.

    Attributes:
        next_number: of the first frame that has not been taken in a whole chunk.
        is_placed: whether it is known which frame is next: not before the first stream, if `first_number` was not given.
        queued: what the server has been asked to walk.
        is_quiet: nothing is being made, and nothing will be until a script or path is queued.
    """

    def __init__(
        self,
        connection: Connection,
        session_id: str,
        token: str,
        *,
        capabilities: FamilyCapabilities,
        size: tuple[int, int],
        first_number: int | None,
        sent_before: bool,
        recording: Recording,
        progress: WalkProgress,
        resume_s: float,
    ) -> None:
        self._connection = connection
        self._session_id = session_id
        self._token = token
        self._capabilities = capabilities
        self._size = size
        self._recording = recording
        self._progress = progress
        self._patience = Patience(resume_s)
        self._attaching = asyncio.Lock()
        self._link: Link | None = None
        self._settings: Settings | None = None
        self._sent_before = sent_before
        self._has_begun = False  # a stream has been tried: what was sent may be lost
        self._has_streamed = False  # and taken by the server
        self._line = 0
        self._partial: list[Frame] = []
        self._unseen = first_number or 0  # the first frame that the caller has not been given
        self._is_fresh = False  # nothing has come since the stream was attached
        self._first_number = first_number or 0
        self._is_closed = False
        self.is_placed = first_number is not None
        self.next_number = (
            0 if first_number is None else capabilities.first_frame_of(capabilities.chunk_of(first_number))
        )
        self.queued = Queued(capabilities)
        self.is_quiet = False

    # The stream

    async def run_as(self, settings: Settings, *, keep: bool = False) -> None:
        """Be attached, and run as `settings` say; with `keep`, as it runs already.

        Raises:
            ServerError: it could not be attached.
        """
        if self._link is None:
            self._settings = settings
        await self._linked()
        if not keep:
            self._change(settings)

    def rest(self) -> None:
        """Have nothing made until the next walk, and hold no promise of the clock."""
        if self._settings is not None:
            self._change(replace(self._settings, pace="pause", only_scripted=True))

    def _change(self, settings: Settings) -> None:
        if settings != self._settings:
            self._settings = settings
            config, pace = settings.config_message(), settings.pace_message()
            self.send("config", world_service_pb2.StreamSessionRequest(config=config))
            self.send("pace", world_service_pb2.StreamSessionRequest(pace=pace))
            self.is_quiet = self.is_quiet and settings.only_scripted

    def send(self, kind: str, request: world_service_pb2.StreamSessionRequest) -> None:
        """Send soon, if a stream is there, without waiting; what is unsent of the same kind is replaced."""
        if self._link is not None:
            self._link.send(kind, request)

    async def ask(
        self,
        request_id: str,
        request: world_service_pb2.StreamSessionRequest,
        *,
        find: Callable[[Link], Awaitable[Receipt | None]] | None = None,
    ) -> Receipt:
        """Send, and wait for the receipt, over a broken stream if need be.

        Args:
            request_id, request: what is asked.
            find: looks, when the stream broke before the answer came, whether the question had come through.

        Raises:
            InvalidRequestError: it was refused; the stream goes on.
            ServerError: the stream ended.
        """
        asked: Link | None = None

        async def ask(link: Link) -> Receipt:
            nonlocal asked
            found = await find(link) if find is not None and asked not in (None, link) else None
            asked = link
            return found or await link.ask(request_id, request)

        receipt = await self._mended(ask)
        self._patience.renew()
        return receipt

    async def _mended(self, use: Callable[[Link], Awaitable[Answer]]) -> Answer:
        """Use the stream, and the one after it if it breaks meanwhile."""
        while True:
            link = await self._linked()
            try:
                return await use(link)
            except ServerError as error:
                if not link.has_ended:
                    raise
                await self._let_go(link, error)

    async def _linked(self) -> Link:
        """The stream, attached if there is none, however often it takes.

        Raises:
            SessionLostError: it could not be done in time, or the session has gone.
            ServerError: the server refused it.
        """
        async with self._attaching:
            while self._link is None:
                self._check_open()
                try:
                    self._link = await self._attach()
                except (UnavailableError, StreamStalledError) as error:
                    await self._pause(error)
                except NotFoundError as gone:
                    if not self._has_streamed:
                        raise
                    raise SessionLostError(f"the server has the session no more: {gone}") from gone
            return self._link

    async def _pause(self, error: ServerError) -> None:
        self._check_open()
        pause = self._patience.next_pause_s(error)
        logger.info("the stream of session %s broke: %s; again in %.1f s", self._session_id, error, pause)
        await asyncio.sleep(pause)

    def _check_open(self) -> None:
        if self._is_closed:
            raise UnavailableError("the session has been closed", code="SESSION_CLOSED")

    async def _let_go(self, broken: Link, error: ServerError) -> None:
        """Be ready for another stream where one broke, unless somebody else is already.

        Raises:
            SessionLostError: streams have been breaking for too long.
            ServerError: it was ended on purpose.
        """
        async with self._attaching:
            if self._link is broken:
                self._link = None
                await broken.close()
                if isinstance(error, FencedError):
                    self._forget_place(error)
                if not isinstance(error, UnavailableError | StreamStalledError):
                    raise error
                await self._pause(error)

    async def _attach(self) -> Link:
        assert self._settings is not None
        worlds, settings = self._connection.worlds, self._settings
        after = self.next_number - 1 if self.is_placed and (self._has_begun or self._sent_before) else None
        self._has_begun = True
        try:
            link = await Link.attach(
                worlds,
                wire.attach(self._session_id, self._token, settings, after=after, line=self._line),
                read_frame=partial(self._read_frame, Video(self._size)),
                deadline_s=self._connection.deadline_s,
            )
        except StreamStalledError:
            await self._connection.renew(worlds)
            raise
        except FencedError as error:
            self._forget_place(error)
            raise
        try:
            self._begin(link, settings, after=after)
            for portion in self.queued.missing(link.attached) if after is not None and link.attached.line else []:
                request_id = new_id()
                await link.ask(request_id, portion.request(request_id))
            self._check_open()
        except BaseException:
            await link.close()
            raise
        return link

    def _begin(self, link: Link, settings: Settings, *, after: int | None) -> None:
        """Go on from where a stream begins."""
        begins = link.next_number
        if after is not None and begins != after + 1:
            raise SessionLostError(f"frame {after + 1} was due, and the server went on with {begins}")
        if after is None:
            self.next_number = begins
            self._unseen = max(self._unseen, begins)
            self.is_quiet = settings.only_scripted and not link.attached.queued and begins == self._first_made(link)
            self.is_placed = True
        self._line = link.attached.line
        self._partial.clear()
        self._is_fresh = self._has_streamed = True

    def _forget_place(self, error: FencedError) -> None:
        """Somebody else may have had the session go back: then whoever asks next goes on from where it is now."""
        if error.code == _REWOUND:
            self.is_placed = False
            self._line = self._unseen = 0
            self.queued.clear(0)

    def _first_made(self, link: Link) -> int:
        """The first frame of the chunk that is to be begun next; the session's first, from servers that do not say."""
        attached = link.attached
        return self._capabilities.first_frame_of(attached.next_chunk) if attached.line else self._first_number

    async def go_back(self, ask: Callable[[], Awaitable[int]]) -> None:
        """Let the stream go, have the server go back, and be before the first frame of the chunk that `ask` gives."""
        async with self._attaching:
            link, self._link = self._link, None
            if link is not None:
                await link.close()
            chunk = await ask()
            self.next_number = self._unseen = self._capabilities.first_frame_of(chunk)
            self._line = 0  # whichever the session is on now
            self.is_placed = True
            self.queued.clear(self.next_number)
            await self._recording.go_back(chunk)

    # What comes

    async def take(self, *, record_from: int | None) -> Frame | Chunk:
        """The next frame, or the chunk that the last frames make up; recorded from frame `record_from` on.

        Raises:
            ServerError: the stream ended.
            CaptureError, OSError: it could not be recorded.
        """
        while True:
            item = await self._mended(lambda link: link.take())
            is_fresh, self._is_fresh = self._is_fresh, False
            if isinstance(item, Frame):
                self._partial.append(item)
                if item.number >= self._unseen:
                    self._unseen = item.number + 1
                    return item
            elif not (is_fresh and self._capabilities.first_frame_of(item.index + 1) == self.next_number):
                chunk = await self._finish(item, record_from=record_from)
                if chunk is not None:
                    return chunk

    async def _finish(self, end: wire.ChunkEnd, *, record_from: int | None) -> Chunk | None:
        """Put a chunk together and keep it; None if its beginning was lost, with a stream that somebody else had."""
        frames, self._partial = self._partial, []
        self.next_number = self._capabilities.first_frame_of(end.index + 1)
        self.queued.forget_before(self.next_number)
        self._patience.renew()
        chunk = None
        if not (frames and frames[0].index > 0):
            chunk = _chunk(end, frames)
            await self._recording.put(chunk, record_from=record_from)
            self._progress.count(chunk)
        self.send("ack", wire.acknowledge(self.next_number - 1))
        return chunk

    def _read_frame(self, video: Video, message: frame_pb2.Frame) -> Frame:
        frame = wire.frame(message, size=self._size, units=self._capabilities.units, video=video)
        due = self._capabilities.first_frame_of(frame.chunk) + frame.index
        if frame.number != due:
            raise ProtocolError(f"frame {frame.index} of chunk {frame.chunk} is number {due}, not {frame.number}")
        return frame

    # What is asked for

    async def queue(self, portion: Portion) -> int:
        """Queue a portion of a plan; gives the number of its first frame.

        Raises:
            InvalidRequestError: it was refused.
        """
        request_id = new_id()

        async def find(link: Link) -> Receipt | None:
            chunk = self.queued.chunk_if_there(portion, link.attached)
            return None if chunk is None else Receipt(applies_to_chunk=chunk, id=request_id)

        receipt = await self.ask(request_id, portion.request(request_id), find=find)
        first = self.queued.add(portion, receipt.applies_to_chunk)
        self.is_quiet = False
        return first

    async def waiting_events(self) -> list[WaitingEvent]:
        """The events that are still to begin.

        Raises:
            ServerError: the server did not answer, or the session has ended.
        """
        request = world_service_pb2.ListEventsRequest(session_id=self._session_id, token=self._token)
        return wire_world.waiting_events(await self._connection.repeat(self._connection.worlds.ListEvents, request))

    async def close(self) -> None:
        """Let the stream go and finish what is being recorded."""
        self._is_closed = True
        self._progress.end()
        if self._link is not None:
            await self._link.close()
        await self._recording.close()


def new_id() -> str:
    """A fresh request id."""
    return str(uuid.uuid4())


def _chunk(end: wire.ChunkEnd, frames: list[Frame]) -> Chunk:
    if len(frames) != end.frames or any(frame.chunk != end.index for frame in frames):
        raise ProtocolError(f"chunk {end.index} has {end.frames} frames, the server sent {len(frames)}")
    return Chunk(
        index=end.index,
        frames=frames,
        controls=end.controls,
        events=end.events,
        latency=end.latency,
        extended=end.extended,
    )
