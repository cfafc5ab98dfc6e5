"""A server that does what a test tells it to, honest if not told otherwise: receipts go out behind the frames before them."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import grpc
import grpc.aio
import numpy as np
from keepworld.v1 import frame_pb2, geometry_pb2, session_pb2, status_pb2, world_service_pb2, world_service_pb2_grpc

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
    """`failures` are raised by unary calls, one a call, oldest first; `stream` replaces the honest walk."""

    failures: list[tuple[grpc.StatusCode, bytes]] = field(default_factory=list)
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
    attached: int = 0
    calls: int = 0
    made: int = 0
    next_seq: int = 0

    async def _maybe_fail(self, context: grpc.aio.ServicerContext) -> None:
        self.calls += 1
        if self.failures:
            code, data = self.failures.pop(0)
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

    async def StreamSession(self, request_iterator, context):  # noqa: N802
        self.attached += 1
        stream = self.stream or self.walk
        async for response in stream(request_iterator):
            yield response

    async def walk(self, requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        """Keep to the protocol, with nothing but the connection's flow control to hold it back."""
        attach = (await anext(requests)).attach
        size = (self.opened[-1].size.width, self.opened[-1].size.height)
        walk = _Walk(self, pace=attach.pace, depth=attach.config.pixel_data, chunk=self.made)
        reader = asyncio.create_task(walk.read(requests))
        try:
            yield Response(attached=session_pb2.Attached(epoch=1, next_seq=self.next_seq, heartbeat_s=self.heartbeat_s))
            while True:
                while walk.answers:
                    yield walk.answers.pop(0)
                if not walk.wants_chunk():
                    walk.news.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(walk.news.wait(), self.heartbeat_s)
                    yield Response(heartbeat=session_pb2.Heartbeat())
                    continue
                chunk = walk.begin()
                self.made += 1
                for index in range(FIRST if chunk == 0 else CHUNK):
                    seq = first_frame_of(chunk) + index
                    yield Response(frame=frame(seq, chunk, index, size, depth=walk.depth))
                    self.next_seq = seq + 1
                    await asyncio.sleep(0)
                yield Response(chunk_end=chunk_end(chunk))
        finally:
            reader.cancel()


@dataclass
class _Walk:
    """What an honest stream knows."""

    world: ScriptedWorld
    pace: session_pb2.Pace
    depth: bool
    chunk: int
    queued: int = 0
    acked: int = 0
    answers: list[Response] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def wants_chunk(self) -> bool:
        if self.pace.only_scripted and not self.queued:
            return False
        if self.pace.mode == session_pb2.PACE_MODE_PAUSE_ON_SLOW_READER:
            return self.acked >= first_frame_of(max(0, self.chunk - 1))
        return True

    def begin(self) -> int:
        self.queued = max(0, self.queued - (FIRST if self.chunk == 0 else CHUNK))
        self.chunk += 1
        return self.chunk - 1

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
                    self._queue(request.script.request_id, sum(step.frames for step in request.script.steps))
                case "path":
                    self._queue(request.path.request_id, len(request.path.world_from_camera))
                case "event" if request.event.text == "nonsense":
                    refusal = session_pb2.Refusal(
                        request_id=request.event.request_id, reason="EVENT_UNKNOWN", field="event.text", message="no"
                    )
                    self.answers.append(Response(refusal=refusal))
                case "event":
                    receipt = session_pb2.Receipt(request_id=request.event.request_id, applies_to_chunk=self.chunk)
                    self.answers.append(Response(receipt=receipt))
            self.news.set()

    def _queue(self, request_id: str, frames: int) -> None:
        at, chunk = first_frame_of(self.chunk) + self.queued, self.chunk
        while first_frame_of(chunk + 1) <= at:
            chunk += 1
        self.queued += frames
        self.world.queued.append(frames)
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
