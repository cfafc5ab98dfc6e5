"""WorldService: each call checked, handed to the engine, and answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from importlib.metadata import version
from typing import Any

import grpc
from keepworld.v1 import session_pb2, world_service_pb2, world_service_pb2_grpc

from keepworld_runtime.engine.engine import Engine
from keepworld_runtime.engine.errors import InvalidFieldError, WarmingError
from keepworld_runtime.serving import validate, wire
from keepworld_runtime.serving.assets import AssetStore
from keepworld_runtime.serving.idempotency import AnswerStore
from keepworld_runtime.serving.stream import Context, Request, Stream

_ATTACH_WITHIN_S = 30.0
_WARMING_RETRY_S = 2.0
_BEFORE_DEADLINE_S = 0.2  # so that the answer still gets there


class WorldServicer(world_service_pb2_grpc.WorldServiceServicer):
    """Serves worlds, some from `assets`; `threads` encode their frames."""

    def __init__(self, engine: Engine, assets: AssetStore, threads: Executor) -> None:
        self._engine = engine
        self._assets = assets
        self._threads = threads
        self._snapshots: AnswerStore[world_service_pb2.CreateSnapshotResponse] = AnswerStore(time.monotonic)
        self._created: AnswerStore[world_service_pb2.CreateSessionResponse] = AnswerStore(time.monotonic)

    async def GetCapabilities(  # noqa: N802 - gRPC's names
        self,
        request: world_service_pb2.GetCapabilitiesRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.GetCapabilitiesResponse:
        """What this server can do."""
        engine = self._engine
        return world_service_pb2.GetCapabilitiesResponse(
            server_version=version("keepworld"),
            families=[
                wire.capabilities(family.capabilities, engine.chunk_s(name)) for name, family in engine.families.items()
            ],
            limits=wire.limits(engine.limits, self._assets.limits),
        )

    async def CreateSession(  # noqa: N802
        self,
        request: world_service_pb2.CreateSessionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.CreateSessionResponse:
        """Opens a world."""
        engine = self._engine

        async def create() -> world_service_pb2.CreateSessionResponse:
            start = engine.snapshot(request.snapshot_id) if request.snapshot_id else None
            if start:
                validate.same_world(request, start)
                family, spec = start.family, start.spec
            else:
                family = engine.family(request.family)
                spec = validate.world_spec(request, family.capabilities, self._assets)
            await self._until_ready(context)
            reading = family.read_prompt(spec.prompt)
            session = engine.create(family, spec, start)
            return world_service_pb2.CreateSessionResponse(
                session=wire.session(session), token=session.token, used=reading.used, ignored=reading.ignored
            )

        if not validate.request_id(request.request_id):
            return await create()
        return await self._created.once(request.request_id, request.SerializeToString(deterministic=True), create)

    async def StreamSession(  # type: ignore[override]  # noqa: N802 - reads and writes as it likes, instead of yielding
        self,
        request_iterator: AsyncIterator[Request],
        context: Context,
    ) -> None:
        """The walk: controls and events in, frames out."""
        attach = await _first_message(request_iterator)
        session = self._engine.session(attach.session_id, attach.token)
        wanted = validate.picture_format(attach.config, "attach.config")
        attachment = self._engine.attach(session, validate.pace(attach.pace, "attach.pace"))
        try:
            await Stream(self._engine, session, attachment, wanted, self._threads).run(request_iterator, context)
        finally:
            session.detach(attachment)

    async def GetSession(  # noqa: N802
        self,
        request: world_service_pb2.GetSessionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.GetSessionResponse:
        """How far a session is."""
        session = self._engine.session(request.session_id, request.token)
        return world_service_pb2.GetSessionResponse(session=wire.session(session))

    async def ListSessions(  # noqa: N802
        self,
        request: world_service_pb2.ListSessionsRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.ListSessionsResponse:
        """The sessions that have not ended."""
        return world_service_pb2.ListSessionsResponse(
            sessions=[wire.session(session) for session in self._engine.sessions()]
        )

    async def CreateSnapshot(  # noqa: N802
        self,
        request: world_service_pb2.CreateSnapshotRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.CreateSnapshotResponse:
        """Keeps a session's world as it is after its last whole chunk."""

        async def create() -> world_service_pb2.CreateSnapshotResponse:
            session = self._engine.session(request.session_id, request.token)
            snapshot = self._engine.take_snapshot(session)
            return world_service_pb2.CreateSnapshotResponse(snapshot=wire.snapshot(snapshot, session.frames))

        if not validate.request_id(request.request_id):
            return await create()
        return await self._snapshots.once(request.request_id, request.SerializeToString(deterministic=True), create)

    async def CloseSession(  # noqa: N802
        self,
        request: world_service_pb2.CloseSessionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.CloseSessionResponse:
        """Ends a session and frees what it holds."""
        session = self._engine.session(request.session_id, request.token)
        self._engine.close(session)
        return world_service_pb2.CloseSessionResponse(session=wire.session(session))

    async def _until_ready(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Wait while the families are loaded, as long as the caller does."""
        remaining_s = context.time_remaining()
        try:
            async with asyncio.timeout(None if remaining_s is None else max(0.0, remaining_s - _BEFORE_DEADLINE_S)):
                await self._engine.ready.wait()
        except TimeoutError:
            raise WarmingError("the families are still being loaded", retry_s=_WARMING_RETRY_S) from None


async def _first_message(requests: AsyncIterator[Request]) -> session_pb2.Attach:
    try:
        async with asyncio.timeout(_ATTACH_WITHIN_S):
            request = await anext(requests, None)
    except TimeoutError:
        request = None
    if request is None or request.WhichOneof("message") != "attach":
        raise InvalidFieldError("the first message of a stream must be attach", field="attach")
    return request.attach
