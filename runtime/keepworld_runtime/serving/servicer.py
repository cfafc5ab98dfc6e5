"""WorldService: each call checked, handed to the engine, and answered."""

from __future__ import annotations

import asyncio
import tempfile
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
from keepworld_runtime.serving.exports import job
from keepworld_runtime.serving.exports.limits import ExportLimits
from keepworld_runtime.serving.idempotency import Once
from keepworld_runtime.serving.sources import source_of
from keepworld_runtime.serving.stream import Context, Means, Request, Stream

_ATTACH_WITHIN_S = 30.0
_WARMING_RETRY_S = 2.0
_SPOOLED_BYTES = 8 << 20  # of a journal that comes in; beyond that it goes to a temporary file
_BEFORE_DEADLINE_S = 0.2  # so that the answer still gets there


class WorldServicer(world_service_pb2_grpc.WorldServiceServicer):
    """Serves worlds, some from `assets`; `threads` encode their frames. It tells what `exports` may take."""

    def __init__(self, engine: Engine, assets: AssetStore, exports: ExportLimits, threads: Executor) -> None:
        self._engine = engine
        self._assets = assets
        self._exports = exports
        self._means = Means(engine=engine, assets=assets, threads=threads)
        self._created: Once[world_service_pb2.CreateSessionResponse] = Once()
        self._snapshots: Once[world_service_pb2.CreateSnapshotResponse] = Once()
        self._branched: Once[world_service_pb2.BranchSessionResponse] = Once()
        self._rewound: Once[world_service_pb2.RewindSessionResponse] = Once()

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
            encodings=wire.encodings(),
            exports=None if job.missing() else wire.export_limits(self._exports),
        )

    async def CreateSession(  # noqa: N802
        self,
        request: world_service_pb2.CreateSessionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.CreateSessionResponse:
        """Opens a world."""
        engine = self._engine

        async def create() -> world_service_pb2.CreateSessionResponse:
            start = await engine.archive.start(request.snapshot_id) if request.snapshot_id else None
            if start:
                validate.same_world(request, start)
                family, spec = start.family, start.spec
            else:
                family = engine.family(request.family)
                spec = validate.world_spec(request, family.capabilities, self._assets)
            events = validate.events(request.events, family, engine.limits)
            await self._until_ready(context)
            reading = family.read_prompt(spec.prompt)
            session = await engine.create(family, spec, start, events=events)
            return world_service_pb2.CreateSessionResponse(
                session=wire.session(session), token=session.token, used=reading.used, ignored=reading.ignored
            )

        return await self._created.once(request, create)

    async def StreamSession(  # type: ignore[override]  # noqa: N802 - reads and writes as it likes, instead of yielding
        self,
        request_iterator: AsyncIterator[Request],
        context: Context,
    ) -> None:
        """The walk: controls and events in, frames out."""
        attach = await _first_message(request_iterator)
        session = self._engine.session(attach.session_id, attach.token)
        wanted = validate.picture_format(attach.config, session.spec, "attach.config")
        last_seq = attach.last_seq if attach.HasField("last_seq") else None
        pace = validate.pace(attach.pace, "attach.pace")
        attachment = await self._engine.attach(session, pace, last_seq, attach.line)
        try:
            await Stream(self._means, session, attachment, wanted).run(request_iterator, context)
        finally:
            session.detach(attachment)

    async def GetSession(  # noqa: N802
        self,
        request: world_service_pb2.GetSessionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.GetSessionResponse:
        """How far a session is, on which of its lines."""
        session = self._engine.session(request.session_id, request.token)
        lines = [wire.line(line, session.capabilities) for line in await self._engine.lines(session)]
        return world_service_pb2.GetSessionResponse(session=wire.session(session), lines=lines)

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
            snapshot = await self._engine.archive.keep(session, validate.name(request.name))
            return world_service_pb2.CreateSnapshotResponse(snapshot=wire.snapshot(snapshot))

        return await self._snapshots.once(request, create)

    async def ListSnapshots(  # noqa: N802
        self,
        request: world_service_pb2.ListSnapshotsRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.ListSnapshotsResponse:
        """The snapshots that are kept."""
        return world_service_pb2.ListSnapshotsResponse(
            snapshots=[wire.snapshot(each) for each in await self._engine.archive.all()]
        )

    async def DeleteSnapshot(  # noqa: N802
        self,
        request: world_service_pb2.DeleteSnapshotRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.DeleteSnapshotResponse:
        """Forgets a snapshot."""
        await self._engine.archive.delete(request.snapshot_id)
        return world_service_pb2.DeleteSnapshotResponse()

    async def ListEvents(  # noqa: N802
        self,
        request: world_service_pb2.ListEventsRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.ListEventsResponse:
        """The events that wait for their chunk."""
        session = self._engine.session(request.session_id, request.token)
        return world_service_pb2.ListEventsResponse(events=[wire.waiting(each) for each in session.waiting])

    async def BranchSession(  # noqa: N802
        self,
        request: world_service_pb2.BranchSessionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.BranchSessionResponse:
        """Opens a second session that goes on from a chunk of this one."""

        async def branch() -> world_service_pb2.BranchSessionResponse:
            session = self._engine.session(request.session_id, request.token)
            chunks = request.chunks if request.HasField("chunks") else None
            other = await self._engine.branch(session, chunks, request.line)
            return world_service_pb2.BranchSessionResponse(session=wire.session(other), token=other.token)

        return await self._branched.once(request, branch)

    async def RewindSession(  # noqa: N802
        self,
        request: world_service_pb2.RewindSessionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.RewindSessionResponse:
        """Goes back, on this line or another."""

        async def rewind() -> world_service_pb2.RewindSessionResponse:
            session = self._engine.session(request.session_id, request.token)
            await self._engine.rewind(session, request.chunks, request.line)
            return world_service_pb2.RewindSessionResponse(session=wire.session(session))

        return await self._rewound.once(request, rewind)

    async def GetJournal(  # noqa: N802
        self,
        request: world_service_pb2.GetJournalRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[world_service_pb2.GetJournalResponse]:
        """All that it takes to make a walk again."""
        source = await source_of(self._engine, request)
        async for data in self._engine.archive.written(source):
            yield world_service_pb2.GetJournalResponse(data=data)

    async def ImportJournal(  # noqa: N802
        self,
        request_iterator: AsyncIterator[world_service_pb2.ImportJournalRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> world_service_pb2.ImportJournalResponse:
        """Takes a walk, as a snapshot."""
        name, num_bytes, limit = None, 0, self._engine.limits.max_journal_bytes
        with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as spooled:
            async for request in request_iterator:
                name = validate.name(request.name) if name is None else name
                num_bytes += len(request.data)
                if num_bytes > limit:
                    raise InvalidFieldError(f"a journal has at most {limit} bytes", field="data")
                await asyncio.to_thread(spooled.write, request.data)
            spooled.seek(0)
            taken = await self._engine.archive.take(spooled, name or "")
        return world_service_pb2.ImportJournalResponse(snapshot=wire.snapshot(taken))

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
