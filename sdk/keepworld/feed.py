"""What comes in of a session, whatever walk it belongs to: the attached stream, chunks put together, their recording."""

from __future__ import annotations

import uuid
from pathlib import Path

from keepworld import wire
from keepworld.capabilities import FamilyCapabilities
from keepworld.capture import Provenance
from keepworld.errors import ProtocolError, UnavailableError
from keepworld.frames import Chunk, Encoding, Frame
from keepworld.link import Link
from keepworld.plans import Portion
from keepworld.progress import WalkProgress
from keepworld.recording import Recorder
from keepworld.v1 import frame_pb2, world_service_pb2
from keepworld.v1.world_service_pb2_grpc import WorldServiceStub
from keepworld.wire import Settings


class Feed:
    """The frames of a session, in order, over as many attachments as it takes.

    Args:
        stub: the service.
        session_id, token: which session.
        provenance: of what is recorded; its size is that of every frame.
        capabilities: of the family.
        first_number: of the session's first frame: not 0 if its world goes on from a snapshot.
        folder: record everything into it; None: what `take` is told to, into a temporary folder.
        progress: how far it is.
        deadline_s: how long an answer may take.

    Attributes:
        next_number: of the first frame that has not been taken in a whole chunk.
        scripted_until: the first frame that no script or path has been queued for.
        is_quiet: nothing is being made, and nothing will be until a script or path is queued.
        recorder: what has been recorded; None before the first chunk of it.
    """

    def __init__(
        self,
        stub: WorldServiceStub,
        session_id: str,
        token: str,
        *,
        provenance: Provenance,
        capabilities: FamilyCapabilities,
        first_number: int,
        folder: str | Path | None,
        progress: WalkProgress,
        deadline_s: float,
    ) -> None:
        self._stub = stub
        self._session_id = session_id
        self._token = token
        self._provenance = provenance
        self._capabilities = capabilities
        self._first_number = first_number
        self._progress = progress
        self._deadline_s = deadline_s
        self._link: Link | None = None
        self._settings: Settings | None = None
        self._partial: list[Frame] = []
        self._is_closed = False
        self.records_everything = folder is not None
        self.recorder = None if folder is None else Recorder(folder, provenance)
        self.next_number = 0
        self.scripted_until = 0
        self.is_quiet = False

    async def attached(self, settings: Settings, *, keep: bool = False) -> Link:
        """The stream, attached if it is not yet, running as `settings` say; with `keep`, as it runs already.

        A stream that has ended is given once more, to say why; only then is another one attached.

        Raises:
            ServerError: it could not be attached.
        """
        if self._is_closed:
            raise UnavailableError("the session has been closed", code="SESSION_CLOSED")
        if self._link is not None and self._link.is_spent:
            await self._link.close()
            self._link = None
        if self._link is None:
            self._link = await self._attach(settings)
        elif not keep and settings != self._settings:
            config, pace = settings.config_message(), settings.pace_message()
            self._link.send("config", world_service_pb2.StreamSessionRequest(config=config))
            self._link.send("pace", world_service_pb2.StreamSessionRequest(pace=pace))
            self.is_quiet = self.is_quiet and settings.only_scripted
            self._settings = settings
        return self._link

    async def _attach(self, settings: Settings) -> Link:
        link = await Link.attach(
            self._stub,
            wire.attach(self._session_id, self._token, settings),
            read_frame=self._read_frame,
            deadline_s=self._deadline_s,
        )
        self._settings = settings
        self._partial.clear()
        self.next_number = link.next_number
        self.is_quiet = settings.only_scripted and link.next_number == self._first_number
        return link

    def _read_frame(self, message: frame_pb2.Frame) -> Frame:
        size = (self._provenance.width, self._provenance.height)
        frame = wire.frame(message, size=size, units=self._capabilities.units)
        due = self._capabilities.first_frame_of(frame.chunk) + frame.index
        if frame.number != due:
            raise ProtocolError(f"frame {frame.index} of chunk {frame.chunk} is number {due}, not {frame.number}")
        return frame

    async def take(self, link: Link, *, record_from: int | None) -> Frame | Chunk:
        """The next frame, or the chunk that the last frames make up; recorded from frame `record_from` on.

        Raises:
            ServerError: the stream ended.
            CaptureError, OSError: it could not be recorded.
        """
        while isinstance(item := await link.take(), wire.ChunkEnd):
            frames, self._partial = self._partial, []
            self.next_number = self._capabilities.first_frame_of(item.index + 1)
            if frames and frames[0].index > 0:
                link.send("ack", wire.acknowledge(self.next_number - 1))
                continue  # its beginning was lost with an earlier stream
            chunk = _chunk(item, frames)
            if self.records_everything or (record_from is not None and frames[-1].number >= record_from):
                await self._record(chunk)
            link.send("ack", wire.acknowledge(frames[-1].number))
            self._progress.count(chunk)
            return chunk
        self._partial.append(item)
        return item

    async def queue(self, link: Link, portion: Portion) -> int:
        """Queue a portion of a plan; gives the number of its first frame.

        Raises:
            InvalidRequestError: it was refused.
        """
        request_id = new_id()
        receipt = await link.ask(request_id, portion.request(request_id))
        # Behind what is queued already, which may end in the middle of a chunk.
        first = max(self.scripted_until, self._capabilities.first_frame_of(receipt.applies_to_chunk))
        self.scripted_until = first + portion.frames
        self.is_quiet = False
        return first

    async def close(self) -> None:
        """Let the stream go and finish what is being recorded."""
        self._is_closed = True
        self._progress.end()
        if self._link is not None:
            await self._link.close()
        if self.recorder is not None:
            await self.recorder.close()

    async def _record(self, chunk: Chunk) -> None:
        if any(frame.encoding is Encoding.JPEG for frame in chunk.frames):
            return  # left from a lossy walk before this one
        if self.recorder is None:
            self.recorder = Recorder(None, self._provenance)
        await self.recorder.put(chunk)


def new_id() -> str:
    """A fresh request id."""
    return str(uuid.uuid4())


def _chunk(end: wire.ChunkEnd, frames: list[Frame]) -> Chunk:
    if len(frames) != end.frames or any(frame.chunk != end.index for frame in frames):
        raise ProtocolError(f"chunk {end.index} has {end.frames} frames, the server sent {len(frames)}")
    return Chunk(index=end.index, frames=frames, controls=end.controls, events=end.events, latency=end.latency)
