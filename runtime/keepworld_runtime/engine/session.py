"""One session: what was asked of it, how far its world has come, and who reads it."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from keepworld.motion import Control, Segment

from keepworld_runtime.engine.admission import ChunkCosts
from keepworld_runtime.engine.errors import RequestError, SessionClosedError, StreamReplacedError
from keepworld_runtime.engine.events import Asked, EventTimeline
from keepworld_runtime.engine.limits import Limits
from keepworld_runtime.engine.outbox import Failure, MadeChunk, MadeFrame, Notice, NoticeKind, Outbox
from keepworld_runtime.engine.pace import Pace, PaceMode, PlayoutClock
from keepworld_runtime.engine.scheduler import Turn
from keepworld_runtime.engine.snapshot import Snapshot
from keepworld_runtime.engine.track import ControlTrack, Pose, Steering
from keepworld_runtime.families.family import ChunkRequest, Event, Family, FrameData, WorldSpec
from keepworld_runtime.journal.state import StateChange

MAX_WAITING_CHUNKS = 2


class SessionStatus(StrEnum):
    """What becomes of a session."""

    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"


class Attachment:
    """A stream's hold on a session, until another attaches, the session ends or the server stops.

    Attributes:
        epoch: counts the attachments of the session.
        over: set when the hold has ended; `reason` says why.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.over = asyncio.Event()
        self.reason: RequestError | None = None

    def end(self, reason: RequestError) -> None:
        """Take the hold away; the first reason counts."""
        if not self.over.is_set():
            self.reason = reason
            self.over.set()


@dataclass(kw_only=True, slots=True)
class Work:
    """A chunk in the making: sampled once, drawn as often as it takes.

    Attributes:
        request: what to draw.
        given: how many of its frames have been put in the outbox.
        first_s: when the first of them was drawn.
    """

    request: ChunkRequest
    steering: Steering
    events: tuple[Asked, ...]
    begun_s: float
    given: int = 0
    first_s: float = field(default=0.0)


class Session:
    """A world, the track and timeline that steer it, and the outbox its reader empties.

    Args:
        family: what draws it.
        spec: what it was opened with.
        start: where it goes on from; None: it begins.
        limits: bounds on what it may hold.
        clock: monotonic seconds.
        wake: called when the engine should look at the session again.

    Attributes:
        capabilities: its family's; with the length of its own chunk 0.
        chunks: how many whole ones its world has, those before it was opened included.
    """

    def __init__(
        self,
        family: Family,
        spec: WorldSpec,
        start: Snapshot | None = None,
        *,
        limits: Limits,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self.id = secrets.token_hex(16)
        self.token = secrets.token_urlsafe(24)
        told = family.capabilities
        self.family = family
        self.capabilities = replace(told, first_chunk_frames=told.chunk_frames) if spec.clip else told
        self.spec = spec
        self.status = SessionStatus.OPEN
        self.attachment: Attachment | None = None
        self.pace = Pace(mode=PaceMode.PAUSE_ON_SLOW_READER)
        self.world_state = start.state if start else None
        self.generation: int | None = None  # of the worker group that holds the world; None: the world is not open
        self.begun = self.chunks = start.chunks if start else 0
        self.outbox = Outbox()
        self.idle_since_s = clock()
        self._frames = self._acked = self.frames
        self._epoch = 0
        self._ready_since_s: float | None = clock()
        self._announce_script_done = False
        self._clock = clock
        self._wake = wake
        self._reason: RequestError = SessionClosedError("this session has been closed")  # once it has ended
        self._playout = PlayoutClock(told.fps)
        self._timeline = EventTimeline(self.capabilities, max_pending=limits.max_pending_events)
        self._track = ControlTrack(dead_man_s=limits.dead_man_s, max_queued=limits.max_queued_frames)

    # Who reads it

    def has_token(self, token: str) -> bool:
        """Whether this is the session's token; takes the same time for every wrong one."""
        return secrets.compare_digest(_digest(token), _digest(self.token))

    def attach(self, pace: Pace) -> Attachment:
        """Give the session to a new stream; an older one loses it."""
        self.check_open()
        if self.attachment:
            self.attachment.end(StreamReplacedError("another stream has attached to this session"))
        self._epoch += 1
        self.attachment = Attachment(self._epoch)
        self.set_pace(pace)
        return self.attachment

    def detach(self, attachment: Attachment) -> None:
        """Let go of the session, if it has not been taken already."""
        if self.attachment is attachment:
            self.attachment = None
            self._ready_since_s = None
            self.idle_since_s = self._clock()
            if self.status is not SessionStatus.OPEN:
                self.outbox = Outbox()  # nobody else will read it
            self._wake()

    def check_open(self) -> None:
        """Refuse a session that has ended.

        Raises:
            SessionClosedError, WorkerFailedError, ChunkBrokenError: it has.
        """
        if self.status is not SessionStatus.OPEN:
            raise self._reason.with_traceback(None)

    @property
    def frames(self) -> int:
        """Frames of whole chunks made so far."""
        return self.capabilities.first_frame_of(self.chunks)

    @property
    def next_seq(self) -> int:
        """The number of the next frame that a reader gets."""
        frame = self.outbox.next_frame
        return frame.seq if frame else self._frames

    # What it is asked

    def touch(self, control: Control, client_time_us: int) -> None:
        """Steer live, from the next chunk on."""
        self._track.touch(control, client_time_us, self._clock())

    def queue_segments(self, segments: Sequence[Segment]) -> int:
        """Queue a scripted walk; gives the chunk that its first frame falls in."""
        return self._queued_behind(self._track.queue_segments(segments))

    def queue_poses(self, poses: Sequence[Pose]) -> int:
        """Queue cameras, one a frame; gives the chunk that the first falls in."""
        return self._queued_behind(self._track.queue_poses(poses))

    def add_event(self, asked: Asked) -> int:
        """Keep an event; gives the chunk it starts with."""
        return self._timeline.add(asked, next_chunk=self.begun)

    @property
    def events(self) -> list[Event]:
        """Those that wait for their chunk."""
        return self._timeline.waiting

    def set_pace(self, pace: Pace) -> None:
        """Change how fast chunks are made."""
        if pace.mode is not self.pace.mode:
            self._playout.restart(self._clock())
        self.pace = pace
        self._ready_since_s = None
        self._wake()

    def acknowledge(self, seq: int) -> None:
        """All frames up to `seq` are done with; what was never made cannot be."""
        self._acked = max(self._acked, min(seq + 1, self._frames))
        self._wake()

    # How it is made

    def turn(self, now_s: float, costs: ChunkCosts) -> Turn[Session] | None:
        """Its place in the queue for the worker; None if it wants no chunk now."""
        if not self._wants_work():
            self._ready_since_s = None
            return None
        if self._ready_since_s is None:
            self._ready_since_s = now_s
        capabilities, is_realtime = self.capabilities, self.pace.mode is PaceMode.REALTIME
        frames = capabilities.frames_in(self.begun)
        return Turn(
            key=self,
            deadline_s=self._playout.next_s if is_realtime else self._ready_since_s + frames / capabilities.fps,
            chunk_s=costs.expected_s(capabilities.name, self.spec, frames),
            is_realtime=is_realtime,
        )

    def begin(self) -> Work:
        """Sample what steers the next chunk. Whatever comes from here on is for a later one."""
        now_s, chunk = self._clock(), self.begun
        num_frames = self.capabilities.frames_in(chunk)
        self._announce_script_done = self.pace.only_scripted and self._track.queued > 0
        steering = self._track.sample(num_frames, now_s, live=not self.pace.only_scripted, opens=self._opens)
        events = self._timeline.take(chunk)
        self.begun += 1
        self._ready_since_s = None
        self.outbox.begin_chunk()
        request = ChunkRequest(
            chunk=chunk,
            controls=steering.controls,
            poses=steering.poses,
            events=tuple(asked.event for asked in events),
        )
        return Work(request=request, steering=steering, events=events, begun_s=now_s)

    def give(self, work: Work, data: FrameData, drawn_s: float) -> None:
        """Put a frame in the outbox."""
        if self.status is not SessionStatus.OPEN:
            return
        capabilities, chunk = self.capabilities, work.request.chunk
        seq = capabilities.first_frame_of(chunk) + data.index
        assert seq == self._frames
        frame = MadeFrame(seq=seq, chunk=chunk, time_s=seq / capabilities.fps, drawn_s=drawn_s, data=data)
        self.outbox.put(frame)
        if work.given == 0:
            work.first_s = drawn_s
        work.given += 1
        self._frames += 1

    def finish(self, work: Work, change: StateChange, draw_s: float) -> None:
        """Count a chunk as made."""
        if self.status is not SessionStatus.OPEN:
            return
        self.world_state = change.onto(self.world_state)
        self.chunks += 1
        self._playout.show_chunk(work.first_s, work.given)
        self.outbox.put(
            MadeChunk(
                chunk=work.request.chunk,
                controls=work.request.controls,
                events=work.events,
                touch=work.steering.touch,
                begun_s=work.begun_s,
                draw_s=draw_s,
            )
        )
        if self._announce_script_done and self._track.queued == 0 and self.pace.only_scripted:
            self.notify(NoticeKind.SCRIPT_DONE, "every scripted frame has been made")

    def notify(self, kind: NoticeKind, message: str) -> None:
        """Tell the reader."""
        self.outbox.put(Notice(kind=kind, message=message))

    def mark_sent(self) -> None:
        """The oldest item of the outbox is on its way: there may be room for another chunk."""
        self.outbox.mark_sent()
        self._wake()

    def close(self) -> None:
        """End the session now, and free what it holds."""
        self._end(SessionStatus.CLOSED, self._reason)
        self.outbox = Outbox()
        if self.attachment:
            self.attachment.end(self._reason)
            self.attachment = None

    def fail(self, reason: RequestError) -> None:
        """End the session; who reads it is told why, after everything that was made."""
        self._end(SessionStatus.FAILED, reason)
        if self.attachment:
            self.outbox.put(Failure(reason=reason))
        else:
            self.outbox = Outbox()

    def _end(self, status: SessionStatus, reason: RequestError) -> None:
        self.status, self._reason = status, reason
        self.spec = replace(self.spec, image=None, clip=None)
        self.world_state = None
        self._track.clear()
        self._timeline.clear()

    @property
    def _opens(self) -> bool:
        """Whether the next frame is the first of a world, which shows where it begins."""
        return self.begun == 0 and self.spec.clip is None

    def _wants_work(self) -> bool:
        if self.status is not SessionStatus.OPEN:
            return False
        if self.attachment is None:
            return self.generation is None  # nobody reads yet, but the world can be opened
        if self.outbox.chunks >= MAX_WAITING_CHUNKS or (self.pace.only_scripted and not self._track.queued):
            return False
        # Every chunk but the last must be done with: those before number `begun - 1`.
        must_be_acked = self.capabilities.first_frame_of(max(0, self.begun - 1))
        return self.pace.mode is not PaceMode.PAUSE_ON_SLOW_READER or self._acked >= must_be_acked

    def _queued_behind(self, frames_before: int) -> int:
        """The chunk that a frame behind so many queued ones falls in."""
        self._wake()
        capabilities, chunk = self.capabilities, self.begun
        frame = capabilities.first_frame_of(chunk) + frames_before + (self._track.opening_frames if self._opens else 0)
        while capabilities.first_frame_of(chunk + 1) <= frame:
            chunk += 1
        return chunk


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
