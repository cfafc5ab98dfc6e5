"""A server that does what a test tells it to, honest if not told otherwise: receipts go out behind the frames before them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import grpc
import grpc.aio
import numpy as np
from keepworld.v1 import (
    control_pb2,
    frame_pb2,
    geometry_pb2,
    session_pb2,
    status_pb2,
    world_service_pb2,
    world_service_pb2_grpc,
)

Request = world_service_pb2.StreamSessionRequest
Response = world_service_pb2.StreamSessionResponse
SIZE = (64, 48)
FIRST, CHUNK, FPS = 13, 16, 24.0


def first_frame_of(chunk: int) -> int:
    return 0 if chunk == 0 else FIRST + (chunk - 1) * CHUNK


def packed(values: np.ndarray) -> bytes:
    """float32 as its four byte planes, uint8 as it is; zlib."""
    if values.dtype == np.float32:
        values = np.frombuffer(values.tobytes(), np.uint8).reshape(-1, 4).T
    return zlib.compress(np.ascontiguousarray(values).tobytes())


def frame(seq: int, chunk: int, index: int, size: tuple[int, int] = SIZE, *, depth: bool = False) -> frame_pb2.Frame:
    width, height = size
    message = frame_pb2.Frame(
        seq=seq,
        chunk=chunk,
        index=index,
        time_s=seq / FPS,
        camera=geometry_pb2.Camera(
            world_from_camera=geometry_pb2.RigidTransform(
                rotation=geometry_pb2.Quaternion(w=1), translation=geometry_pb2.Vector3(z=seq / FPS)
            ),
            intrinsics=geometry_pb2.Intrinsics(fx=50, fy=50, cx=width / 2, cy=height / 2, width=width, height=height),
            units=geometry_pb2.UNITS_METRES,
            pose_source=geometry_pb2.POSE_SOURCE_RENDERED,
        ),
        image=frame_pb2.Image(
            encoding=frame_pb2.IMAGE_ENCODING_RAW_RGB8, data=bytes([seq % 256]) * (width * height * 3)
        ),
        timing=frame_pb2.FrameTiming(drawn_us=1, sent_us=2),
    )
    if depth:
        message.pixels.depth = packed(np.full((height, width), seq + 0.5, np.float32))
        message.pixels.labels = packed(np.full((height, width), 1, np.uint8))
    return message


def chunk_end(chunk: int) -> frame_pb2.ChunkEnd:
    frames = FIRST if chunk == 0 else CHUNK
    return frame_pb2.ChunkEnd(
        chunk=chunk,
        frames=frames,
        controls=[{} for _ in range(frames)],
        timing=frame_pb2.ChunkTiming(draw_us=1000, chunk_us=2000),
    )


def details(*parts: tuple[str, object]) -> bytes:
    status = status_pb2.ErrorStatus()
    for kind, message in parts:
        status.details.add(type_url=f"type.googleapis.com/google.rpc.{kind}", value=message.SerializeToString())
    return status.SerializeToString()


@dataclass
class ScriptedWorld(world_service_pb2_grpc.WorldServiceServicer):
    """`failures` are raised by calls, one a call, oldest first; `stream` replaces the honest walk."""

    failures: list[tuple[grpc.StatusCode, bytes]] = field(default_factory=list)
    stream_failures: list[tuple[grpc.StatusCode, bytes]] = field(default_factory=list)
    stream: Callable[[AsyncIterator[Request]], AsyncIterator[Response]] | None = None
    session_size: tuple[int, int] | None = None
    heartbeat_s: float = 0.2
    max_queued_frames: int = 100_000
    max_steps: int = 4096
    opened: list[world_service_pb2.CreateSessionRequest] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    controls: list[object] = field(default_factory=list)
    queued: list[int] = field(default_factory=list)
    acked: list[int] = field(default_factory=list)
    attaches: list[session_pb2.Attach] = field(default_factory=list)
    events: list[control_pb2.Event] = field(default_factory=list)
    snapshots: list[world_service_pb2.Snapshot] = field(default_factory=list)
    asked: list[object] = field(default_factory=list)
    calls: int = 0
    made: int = 0
    next_seq: int = 0
    waiting: int = 0  # frames of scripts and paths
    line: int = 1
    latest: _Walk | None = None  # the stream that has the session

    @property
    def attached(self) -> int:
        return len(self.attaches)

    async def _maybe_fail(self, context: grpc.aio.ServicerContext) -> None:
        self.calls += 1
        await self._fail(context, self.failures)

    async def _fail(self, context: grpc.aio.ServicerContext, failures: list[tuple[grpc.StatusCode, bytes]]) -> None:
        if failures:
            code, data = failures.pop(0)
            if data:
                context.set_trailing_metadata((("grpc-status-details-bin", data),))
            await context.abort(code, "as told")

    async def GetCapabilities(self, request, context):  # noqa: N802
        await self._maybe_fail(context)
        family = world_service_pb2.FamilyCapabilities(
            name="diorama", version="1", summary="a script", licence="none", units=geometry_pb2.UNITS_METRES,
            pose_source=geometry_pb2.POSE_SOURCE_RENDERED, accepts_paths=True, move_rate=2, turn_rate=1, fov_x=1.2,
            modes=[world_service_pb2.Mode(name="walk", axes=["move_right", "move_forward", "turn_yaw", "speed"])],
            fps=FPS, first_chunk_frames=FIRST, chunk_frames=CHUNK, has_depth=True, max_prompt_chars=100,
            sizes=[world_service_pb2.Size(width=SIZE[0], height=SIZE[1])],
        )  # fmt: skip
        limits = world_service_pb2.Limits(max_steps=self.max_steps, max_queued_frames=self.max_queued_frames)
        return world_service_pb2.GetCapabilitiesResponse(server_version="0", families=[family], limits=limits)

    async def CreateSession(self, request, context):  # noqa: N802
        await self._maybe_fail(context)
        self.opened.append(request)
        size = self.session_size or (request.size.width or SIZE[0], request.size.height or SIZE[1])
        session = world_service_pb2.Session(
            session_id=f"s{len(self.opened)}", family="diorama", family_version="1", seed=request.seed, mode="walk",
            size=world_service_pb2.Size(width=size[0], height=size[1]),
        )  # fmt: skip
        return world_service_pb2.CreateSessionResponse(
            session=session, token="t", used=["biome: meadow"], ignored=["frobnicate"]
        )

    async def ListSessions(self, request, context):  # noqa: N802
        await self._maybe_fail(context)
        return world_service_pb2.ListSessionsResponse(
            sessions=[world_service_pb2.Session(session_id=f"s{i + 1}") for i in range(len(self.opened))]
        )

    async def CloseSession(self, request, context):  # noqa: N802
        self.closed.append(request.session_id)
        return world_service_pb2.CloseSessionResponse()

    async def GetSession(self, request, context):  # noqa: N802
        await self._maybe_fail(context)
        return world_service_pb2.GetSessionResponse(session=self._session(request.session_id))

    async def RewindSession(self, request, context):  # noqa: N802
        await self._maybe_fail(context)
        self.asked.append(request)
        self._go_to(request.chunks)
        return world_service_pb2.RewindSessionResponse(session=self._session(request.session_id))

    async def BranchSession(self, request, context):  # noqa: N802
        await self._maybe_fail(context)
        self.asked.append(request)
        self._go_to(request.chunks)
        return world_service_pb2.BranchSessionResponse(session=self._session("branch"), token="b")

    def _go_to(self, chunk: int) -> None:
        self.made, self.next_seq, self.waiting = chunk, first_frame_of(chunk), 0
        self.line += 1

    def _session(self, session_id: str) -> world_service_pb2.Session:
        return world_service_pb2.Session(
            session_id=session_id, family="diorama", family_version="1", seed=3, mode="walk",
            size=world_service_pb2.Size(width=SIZE[0], height=SIZE[1]), chunks=self.made, frames=self.next_seq,
            line=self.line,
        )  # fmt: skip

    async def ListEvents(self, request, context):  # noqa: N802
        await self._maybe_fail(context)
        return world_service_pb2.ListEventsResponse(
            events=[control_pb2.WaitingEvent(event=event, chunk=event.chunk) for event in self.events]
        )

    async def CreateSnapshot(self, request, context):  # noqa: N802
        await self._maybe_fail(context)
        self.snapshots.insert(
            0,
            world_service_pb2.Snapshot(
                snapshot_id=f"k{len(self.snapshots)}", chunks=self.made, frames=first_frame_of(self.made),
                name=request.name, family="diorama", created_s=1.0, mode="walk",
                size=world_service_pb2.Size(width=SIZE[0], height=SIZE[1]),
            ),
        )  # fmt: skip
        return world_service_pb2.CreateSnapshotResponse(snapshot=self.snapshots[0])

    async def ListSnapshots(self, request, context):  # noqa: N802
        await self._maybe_fail(context)
        return world_service_pb2.ListSnapshotsResponse(snapshots=self.snapshots)

    async def DeleteSnapshot(self, request, context):  # noqa: N802
        await self._maybe_fail(context)
        left = [snapshot for snapshot in self.snapshots if snapshot.snapshot_id != request.snapshot_id]
        if len(left) == len(self.snapshots):
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such snapshot")
        self.snapshots = left
        return world_service_pb2.DeleteSnapshotResponse()

    async def StreamSession(self, request_iterator, context):  # noqa: N802
        await self._fail(context, self.stream_failures)
        stream = self.stream or self.walk
        async for response in stream(request_iterator):
            yield response

    async def walk(self, requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        """Keep to the protocol, with nothing but the connection's flow control to hold it back."""
        attach = (await anext(requests)).attach
        self.attaches.append(attach)
        size = (self.opened[-1].size.width, self.opened[-1].size.height) if self.opened else SIZE
        first = (attach.last_seq + 1) % 2**64 if attach.HasField("last_seq") else self.next_seq
        walk = _Walk(self, pace=attach.pace, depth=attach.config.pixel_data, acked=first)  # who has it, is done with it
        reader = asyncio.create_task(walk.read(requests))
        self.latest = walk
        try:
            taken = session_pb2.Attached(
                epoch=len(self.attaches), next_seq=first, heartbeat_s=self.heartbeat_s, line=self.line,
                queued_frames=self.waiting, next_chunk=self.made,
            )  # fmt: skip
            yield Response(attached=taken)
            for chunk in range(self.made):  # what was made before and has to be sent again
                due = range(first_frame_of(chunk), first_frame_of(chunk + 1))
                if due[-1] >= first - 1:
                    for seq in range(max(first, due[0]), due.stop):
                        yield Response(frame=frame(seq, chunk, seq - due[0], size, depth=walk.depth))
                        self.next_seq = max(self.next_seq, seq + 1)
                    if attach.HasField("last_seq") or due.stop > first:
                        yield Response(chunk_end=chunk_end(chunk))
            while True:
                while walk.answers:
                    yield walk.answers.pop(0)
                if self.latest is not walk:
                    return  # what this made now, nobody would be given
                if not walk.wants_chunk():
                    walk.news.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(walk.news.wait(), self.heartbeat_s)
                    yield Response(heartbeat=session_pb2.Heartbeat())
                    continue
                chunk = self._begin()
                for index in range(FIRST if chunk == 0 else CHUNK):
                    seq = first_frame_of(chunk) + index
                    yield Response(frame=frame(seq, chunk, index, size, depth=walk.depth))
                    self.next_seq = seq + 1
                    await asyncio.sleep(0)
                yield Response(chunk_end=chunk_end(chunk))
        finally:
            reader.cancel()

    def _begin(self) -> int:
        used = FIRST - self._opening if self.made == 0 else CHUNK
        self.waiting = max(0, self.waiting - used)
        self.made += 1
        return self.made - 1

    _opening: int = 0  # frames that are shown before a script's first step

    def queue(self, frames: int, *, is_script: bool) -> int:
        """Gives the chunk that the first of them falls in."""
        if self.made == 0 and not self.waiting:
            self._opening = 1 if is_script else 0
        at = first_frame_of(self.made) + self.waiting + (self._opening if self.made == 0 else 0)
        chunk = self.made
        while first_frame_of(chunk + 1) <= at:
            chunk += 1
        self.waiting += frames
        self.queued.append(frames)
        return chunk


@dataclass
class _Walk:
    """What an honest stream knows."""

    world: ScriptedWorld
    pace: session_pb2.Pace
    depth: bool
    acked: int = 0
    answers: list[Response] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def wants_chunk(self) -> bool:
        world = self.world
        if self.pace.only_scripted and not world.waiting:
            return False
        if self.pace.mode == session_pb2.PACE_MODE_PAUSE_ON_SLOW_READER:
            return self.acked >= first_frame_of(max(0, world.made - 1))
        return True

    async def read(self, requests: AsyncIterator[Request]) -> None:
        async for request in requests:
            match request.WhichOneof("message"):
                case "control":
                    self.world.controls.append(request.control)
                case "pace":
                    self.pace = request.pace
                case "config":
                    self.depth = request.config.pixel_data
                case "ack":
                    self.acked = request.ack.seq + 1
                    self.world.acked.append(request.ack.seq)
                case "script":
                    frames = sum(step.frames for step in request.script.steps)
                    self._answer(request.script.request_id, self.world.queue(frames, is_script=True))
                case "path":
                    frames = len(request.path.world_from_camera)
                    self._answer(request.path.request_id, self.world.queue(frames, is_script=False))
                case "cancel_event":
                    gone = request.cancel_event.event_request_id
                    self.world.events = [event for event in self.world.events if event.request_id != gone]
                    self._answer(request.cancel_event.request_id, self.world.made)
                case "event" if request.event.text == "nonsense":
                    refusal = session_pb2.Refusal(
                        request_id=request.event.request_id, reason="EVENT_UNKNOWN", field="event.text", message="no"
                    )
                    self.answers.append(Response(refusal=refusal))
                case "event":
                    self.world.events.append(request.event)
                    self._answer(request.event.request_id, self.world.made)
            self.news.set()

    def _answer(self, request_id: str, chunk: int) -> None:
        self.answers.append(Response(receipt=session_pb2.Receipt(request_id=request_id, applies_to_chunk=chunk)))


@contextlib.asynccontextmanager
async def serving(world: ScriptedWorld) -> AsyncIterator[str]:
    """Serve it on loopback; gives the address."""
    server = grpc.aio.server(options=[("grpc.max_send_message_length", 64 * 2**20)])
    world_service_pb2_grpc.add_WorldServiceServicer_to_server(world, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@contextlib.contextmanager
def served_apart() -> Iterator[str]:
    """Serve one on a loop of its own, for callers without; gives the address."""
    loop = asyncio.new_event_loop()
    context = serving(ScriptedWorld())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
