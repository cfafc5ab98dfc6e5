"""One session: what was asked of it, how far its world has come, and who reads it."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import StrEnum

from keepworld.motion import Control, Segment

from keepworld_runtime.engine.admission import ChunkCosts
from keepworld_runtime.engine.attachment import Attachment
from keepworld_runtime.engine.errors import RequestError, SessionClosedError, StreamReplacedError
from keepworld_runtime.engine.events import EventTimeline
from keepworld_runtime.engine.limits import Limits
from keepworld_runtime.engine.outbox import Failure, MadeChunk, MadeFrame, Notice, NoticeKind, Outbox
from keepworld_runtime.engine.pace import Pace, PaceMode, PlayoutClock
from keepworld_runtime.engine.scheduler import Turn
from keepworld_runtime.engine.tokens import digest_of
from keepworld_runtime.engine.track import ControlTrack, Pose
from keepworld_runtime.engine.work import Work
from keepworld_runtime.families.family import Family, FrameData, WorldSpec, WorldState
from keepworld_runtime.journal.continuations import Given
from keepworld_runtime.journal.record import Asked, Begun
from keepworld_runtime.journal.state import StateChange
from keepworld_runtime.journal.tree import KeptSession, Waiting

MAX_WAITING_CHUNKS = 2


class SessionStatus(StrEnum):
    """What becomes of a session."""

    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"


class Session:
    """A world, the track and timeline that steer it, and the outbox its reader empties.

    Args:
        kept: what the journal has of it.
        family: what draws it.
        spec: what it was opened with.
        state: of its world; None: it begins.
        token: its secret; "" where only the digest is known.
        limits: bounds on what it may hold.
        clock: monotonic seconds.
        wake: called when the engine should look at the session again.

    Attributes:
        capabilities: its family's; with the length of its own chunk 0.
        chunks: how many whole ones its world has, those before it was opened included.
        line: the number of the line it is on.
        changing: held while it is attached to, or goes back.
        is_inner: whether it draws something again for a reader within the server: nobody else's business.
    """

    def __init__(
        self,
        kept: KeptSession,
        family: Family,
        spec: WorldSpec,
        state: WorldState | None,
        *,
        token: str = "",
        limits: Limits,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self.id, self.token = kept.id, token
        self._token_digest = kept.token_digest
        self.family = family
        self.capabilities = family.capabilities.of(spec)
        self.spec = spec
        self.status = SessionStatus.OPEN
        self.attachment: Attachment | None = None
        self.pace = Pace(mode=PaceMode.PAUSE_ON_SLOW_READER)
        self.idle_since_s = clock()
        self.changing = asyncio.Lock()
        self.is_inner = False
        self._epoch = 0
        self._ready_since_s: float | None = clock()
        self._announce_script_done = False
        self._clock = clock
        self._wake = wake
        self._reason: RequestError = SessionClosedError("this session has been closed")  # once it has ended
        self._playout = PlayoutClock(family.capabilities.fps)
        self._timeline = EventTimeline(self.capabilities, max_pending=limits.max_pending_events)
        self._track = ControlTrack(dead_man_s=limits.dead_man_s, max_queued=limits.max_queued_frames)
        self._again = deque[Work]()
        self._given: Given | None = None  # what the next chunk to be sampled goes on from
        self.go_to(kept.line.number, kept.line.point.chunks, state, kept.waiting)
        self._given = kept.continuation
        if kept.begun:
            self._again.append(Work(begun=kept.begun))
            self.begun += 1

    def go_to(self, line: int, chunks: int, state: WorldState | None, waiting: Iterable[Waiting]) -> None:
        """Be on a line, after so many of its chunks, and nothing else: what was queued or not yet read is dropped."""
        self.line = line
        self.begun = self.chunks = chunks
        self.world_state = state
        self.generation: int | None = None  # of the worker group that holds the world; None: the world is not open
        self.outbox = Outbox()
        self._frames = self._acked = self._deliver_from = self.frames
        self._making: Work | None = None
        self._again.clear()
        self._track.clear()
        self._timeline.reset(waiting)
        self._given = None
        self._playout.restart(self._clock())
        self._wake()

    # Who reads it

    def has_token(self, token: str) -> bool:
        """Whether this is the session's token; takes the same time for every wrong one."""
        return secrets.compare_digest(digest_of(token), self._token_digest)

    def attach(self, pace: Pace) -> Attachment:
        """Give the session to a new stream; an older one loses it."""
        self.check_open()
        self.fence(StreamReplacedError("another stream has attached to this session"))
        self._epoch += 1
        self.attachment = Attachment(self._epoch)
        self._acked = max(self._acked, self.next_seq)  # nobody can acknowledge what an earlier stream was sent
        self.set_pace(pace)
        return self.attachment

    def fence(self, reason: RequestError) -> None:
        """Take the session from the stream that has it, if one has."""
        if self.attachment:
            self.attachment.end(reason)
            self.attachment = None
            self.idle_since_s = self._clock()

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
        return frame.seq if frame else max(self._frames, self._deliver_from)

    @property
    def opens(self) -> bool:
        """Whether the next frame is the first of a world, which shows where it begins."""
        return self.begun == 0 and self.spec.clip is None

    @property
    def num_queued(self) -> int:
        """Frames of scripts and paths that wait."""
        return self._track.queued

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

    def cancel_event(self, request_id: str) -> int:
        """Take an event back; gives the chunk that goes without it."""
        return self._timeline.cancel(request_id)

    def go_on_from(self, given: Given) -> int:
        """Have the next chunk to be begun go on from something else than what is before it; gives its number."""
        assert self._given is None, "one waits at a time"
        self._given = given
        return self.begun

    @property
    def given(self) -> list[tuple[int, Given]]:
        """What was given to go on from and is not kept as a part of the walk yet, with its chunk."""
        begun = [(each.number, each.given) for each in self._unfinished]
        return [(chunk, given) for chunk, given in (*begun, (self.begun, self._given)) if given]

    @property
    def waiting(self) -> list[Waiting]:
        """The events that wait for their chunk."""
        return self._timeline.waiting

    @property
    def taken(self) -> list[Asked]:
        """The events of the chunk that is being made, or waits to be made again, and is not kept yet."""
        return [asked for begun in self._unfinished for asked in begun.events]

    @property
    def _unfinished(self) -> list[Begun]:
        """What is being made, or waits to be made again, and is not kept yet."""
        return [work.begun for work in (self._making, *self._again) if work and work.digest is None]

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

    def turn(self, now_s: float, costs: ChunkCosts, given_s: float) -> Turn[Session] | None:
        """Its place in the queue for the worker, where its tenant has been given so much; None if it wants no chunk now."""
        if not self._wants_work():
            self._ready_since_s = None
            return None
        if self._ready_since_s is None:
            self._ready_since_s = now_s
        capabilities, is_realtime = self.capabilities, self.pace.is_realtime
        frames = capabilities.frames_in(self._next_chunk)
        return Turn(
            key=self,
            deadline_s=self._playout.next_s if is_realtime else self._ready_since_s + frames / capabilities.fps,
            chunk_s=costs.expected_s(capabilities.name, self.spec, frames),
            is_realtime=is_realtime,
            given_s=given_s,
        )

    def begin(self) -> Work:
        """Sample what steers the next chunk. Whatever comes from here on is for a later one."""
        self._ready_since_s = None
        self.outbox.begin_chunk()
        self._making = self._again.popleft() if self._again else self._sample()
        self._making.begun_s = self._clock()
        return self._making

    def is_making(self, work: Work) -> bool:
        """Whether a chunk is still wanted: the session has neither ended nor gone elsewhere since it was begun."""
        return self.status is SessionStatus.OPEN and self._making is work

    def give(self, work: Work, data: FrameData, drawn_s: float) -> None:
        """Put a frame in the outbox, unless its reader has it."""
        if not self.is_making(work):
            return
        capabilities, chunk = self.capabilities, work.begun.number
        seq = capabilities.first_frame_of(chunk) + data.index
        assert seq == self._frames
        if not work.frames:
            work.first_s = drawn_s
        work.frames.append(data)
        self._frames += 1
        if seq >= self._deliver_from:
            self.outbox.put(MadeFrame(seq=seq, chunk=chunk, time_s=seq / capabilities.fps, drawn_s=drawn_s, data=data))

    def finish(self, work: Work, change: StateChange, draw_s: float, digest: asyncio.Future[bytes]) -> None:
        """Count a chunk as made; its end leaves when `digest` is there."""
        assert self.is_making(work)
        self._making = None
        self.world_state = change.onto(self.world_state)
        if work.digest is None:
            self.chunks += 1
        self._playout.show_chunk(work.first_s, len(work.frames))
        self.outbox.put(self._end_of(work, draw_s, digest))
        is_done = self._announce_script_done and not self._again and self._track.queued == 0
        if is_done and self.pace.only_scripted:
            self.notify(NoticeKind.SCRIPT_DONE, "every scripted frame has been made")

    def give_end_again(self, work: Work) -> None:
        """Put the end of a chunk in the outbox, of which its reader has the frames."""
        assert work.digest is not None
        digest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        digest.set_result(work.digest)
        work.begun_s = self._clock()
        self.outbox.put_end_again(self._end_of(work, 0.0, digest))

    def drop_work(self, reason: RequestError) -> None:
        """Make nothing more until `go_to`: what is being drawn is not wanted, and who reads is sent away."""
        self.fence(reason)
        self._making = None
        self._again.clear()

    def make_again(self, made: Sequence[Work], state: WorldState | None, next_seq: int) -> None:
        """Make chunks again that have been made before, from `state` on, for a reader who has the frames before `next_seq`."""
        unfinished = [work for work in (self._making, *self._again) if work and work.digest is None]
        self._making, self._announce_script_done = None, False
        self._again = deque([*made, *(Work(begun=work.begun, touch=work.touch) for work in unfinished)])
        self.world_state, self.generation = state, None
        self.outbox = Outbox()
        self._frames = self.capabilities.first_frame_of(self._next_chunk)
        self.deliver_from(next_seq)

    def deliver_from(self, next_seq: int) -> None:
        """Give nothing before this frame: its reader has that."""
        self._deliver_from = self._acked = next_seq
        self._wake()

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
        self.fence(self._reason)

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
        self.world_state = self._making = None
        self._again.clear()
        self._track.clear()
        self._timeline.reset(())

    @property
    def _next_chunk(self) -> int:
        """The number of the one to be drawn next."""
        return self._again[0].begun.number if self._again else self.begun

    def _end_of(self, work: Work, draw_s: float, digest: asyncio.Future[bytes]) -> MadeChunk:
        return MadeChunk(
            begun=work.begun, line=self.line, digest=digest, touch=work.touch, begun_s=work.begun_s, draw_s=draw_s
        )

    def _sample(self) -> Work:
        chunk = self.begun
        self._announce_script_done = self.pace.only_scripted and self._track.queued > 0
        steering = self._track.sample(
            self.capabilities.frames_in(chunk), self._clock(), live=not self.pace.only_scripted, opens=self.opens
        )
        events, given, self._given = self._timeline.take(chunk), self._given, None
        self.begun += 1
        begun = Begun(number=chunk, controls=steering.controls, poses=steering.poses, events=events, given=given)
        return Work(begun=begun, touch=steering.touch)

    def _wants_work(self) -> bool:
        if self.status is not SessionStatus.OPEN:
            return False
        if self.attachment is None:
            return self.generation is None  # nobody reads yet, but the world can be opened
        has_steps = self._track.queued or self._again
        if self.outbox.chunks >= MAX_WAITING_CHUNKS or (self.pace.only_scripted and not has_steps):
            return False
        # Every chunk but the last must be done with.
        must_be_acked = self.capabilities.first_frame_of(max(0, self._next_chunk - 1))
        return self.pace.mode is not PaceMode.PAUSE_ON_SLOW_READER or self._acked >= must_be_acked

    def _queued_behind(self, frames_before: int) -> int:
        """The chunk that a frame behind so many queued ones falls in."""
        self._wake()
        opening_frames = self._track.opening_frames if self.opens else 0
        return self.capabilities.chunk_of(self.capabilities.first_frame_of(self.begun) + frames_before + opening_frames)
