"""A small client for tests, straight on the protocol: nothing between a test and the messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2
from keepworld.v1 import control_pb2, frame_pb2, session_pb2, world_service_pb2, world_service_pb2_grpc
from keepworld_runtime.config import ServerConfig
from keepworld_runtime.families.family import WorldSpec
from keepworld_runtime.serving.server import Server

from tests import families

WITHIN_S = 20.0
LOADING_WITHIN_S = 120.0  # kernels may have to be compiled first
RAW = frame_pb2.IMAGE_ENCODING_RAW_RGB8
REALTIME = session_pb2.PACE_MODE_REALTIME
AS_FAST = session_pb2.PACE_MODE_AS_FAST_AS_POSSIBLE
PAUSE = session_pb2.PACE_MODE_PAUSE_ON_SLOW_READER


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[tuple[Server, Any]]:
    """A server with the gradient family, ready, and a stub for it."""
    config = ServerConfig(**{"port": 0, "families": ("gradient=tests.families",), "log_level": "WARNING", **settings})
    server = Server(config)
    await server.start()
    try:
        await asyncio.wait_for(server.ready(), LOADING_WITHIN_S)
        async with connect(server.port) as stub:
            yield server, stub
    finally:
        await server.stop(grace_s=0.5)


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[Any]:
    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield world_service_pb2_grpc.WorldServiceStub(channel)


async def eventually(is_so: Callable[[], Any]) -> None:
    """Wait until a condition holds that no event announces."""
    async with asyncio.timeout(WITHIN_S):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def create(stub: Any, prompt: str = "", **fields: Any) -> world_service_pb2.CreateSessionResponse:
    request = world_service_pb2.CreateSessionRequest(**{"family": "gradient", "seed": 7, "prompt": prompt, **fields})
    return await stub.CreateSession(request, timeout=WITHIN_S)


def control(forward: float = 0.0, **fields: Any) -> control_pb2.Control:
    return control_pb2.Control(move=control_pb2.Control.Move(forward=forward), **fields)


def live(forward: float, client_time_us: int = 0) -> control_pb2.LiveControl:
    return control_pb2.LiveControl(control=control(forward), client_time_us=client_time_us)


def script(*steps: tuple[float, int], request_id: str = "script") -> control_pb2.Script:
    listed = [control_pb2.ScriptStep(control=control(forward), frames=frames) for forward, frames in steps]
    return control_pb2.Script(request_id=request_id, steps=listed)


def spec(prompt: str = "", *, seed: int = 7, width: int = families.WIDTH, height: int = families.HEIGHT) -> WorldSpec:
    return WorldSpec(prompt=prompt, seed=seed, width=width, height=height, mode="fly")


def pixels(frame: frame_pb2.Frame) -> np.ndarray:
    size = frame.camera.intrinsics
    return np.frombuffer(frame.image.data, np.uint8).reshape(size.height, size.width, 3)


class Walk:
    """A stream of a session."""

    def __init__(self, stub: Any, created: world_service_pb2.CreateSessionResponse) -> None:
        self._created = created
        self.call = stub.StreamSession()
        self.others: list[Any] = []

    async def attach(
        self, mode: Any = AS_FAST, *, only_scripted: bool = False, encoding: Any = RAW, **config: Any
    ) -> session_pb2.Attached:
        await self.send(
            attach=session_pb2.Attach(
                session_id=self._created.session.session_id,
                token=self._created.token,
                config=session_pb2.StreamConfig(encoding=encoding, **config),
                pace=session_pb2.Pace(mode=mode, only_scripted=only_scripted),
            )
        )
        return (await asyncio.wait_for(self.read(), WITHIN_S)).attached

    async def send(self, **message: Any) -> None:
        await self.call.write(world_service_pb2.StreamSessionRequest(**message))

    async def read(self) -> Any:
        message = await self.call.read()
        if message is grpc.aio.EOF:
            raise AssertionError(f"the stream ended: {await self.call.code()} {await self.call.details()}")
        return message

    async def until(self, kind: str) -> Any:
        """Read up to a message of a kind; what came before goes to `others`."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                message = await self.read()
                if message.WhichOneof("message") == kind:
                    return getattr(message, kind)
                self.others.append(message)

    async def chunk(self) -> tuple[list[frame_pb2.Frame], frame_pb2.ChunkEnd]:
        """Read up to the end of a chunk; receipts, notices and the like go to `others`."""
        frames = []
        async with asyncio.timeout(WITHIN_S):
            while True:
                message = await self.read()
                match message.WhichOneof("message"):
                    case "frame":
                        frames.append(message.frame)
                    case "chunk_end":
                        return frames, message.chunk_end
                    case _:
                        self.others.append(message)

    async def status(self) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo]:
        """Read to the end of the stream; why it ended."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await asyncio.wait_for(self.call.read(), WITHIN_S) is not grpc.aio.EOF:
                pass
        return await self.call.code(), error_info(await self.call.trailing_metadata())

    def kinds(self) -> list[str]:
        return [message.WhichOneof("message") for message in self.others]

    def notices(self) -> list[int]:
        return [message.notice.kind for message in self.others if message.WhichOneof("message") == "notice"]


def rich_status(trailing: Any) -> status_pb2.Status:
    return status_pb2.Status.FromString(dict(trailing or ())["grpc-status-details-bin"])


def error_info(trailing: Any) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert rich_status(trailing).details[0].Unpack(info)
    return info


def violation(trailing: Any) -> str:
    """The field path of the BadRequest, or ""."""
    for detail in rich_status(trailing).details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            return bad.field_violations[0].field
    return ""
