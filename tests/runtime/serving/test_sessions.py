"""Sessions: opened once, found only by their token, closed for good, and not for ever."""

import asyncio
import uuid

import grpc
import pytest
from keepworld.v1 import world_service_pb2

from tests.runtime.serving.client import (
    AS_FAST,
    PAUSE,
    Walk,
    create,
    error_info,
    eventually,
    rich_status,
    script,
    serving,
)

CLOSED = world_service_pb2.SESSION_STATE_CLOSED
IDLE = world_service_pb2.SESSION_STATE_IDLE


def _named(created, token=None):
    return {"session_id": created.session.session_id, "token": created.token if token is None else token}


async def _closed(stub, created):
    return (await stub.CloseSession(world_service_pb2.CloseSessionRequest(**_named(created)))).session


async def _got(stub, created):
    return (await stub.GetSession(world_service_pb2.GetSessionRequest(**_named(created)))).session


async def test_a_created_session_says_what_it_is():
    async with serving() as (_, stub):
        created = await create(stub, "slow=0 nonsense", size=world_service_pb2.Size(width=128, height=64), mode="ride")
        session = await _got(stub, created)
        listed = (await stub.ListSessions(world_service_pb2.ListSessionsRequest())).sessions
    assert (session.family, session.family_version, session.seed, session.mode) == ("gradient", "1", 7, "ride")
    assert (session.size.width, session.size.height, session.state) == (128, 64, IDLE)
    assert (list(created.used), list(created.ignored)) == (["slow=0"], ["nonsense"])
    assert len(created.token) >= 32
    assert [each.session_id for each in listed] == [session.session_id]


async def test_a_session_counts_its_whole_chunks():
    async with serving() as (_, stub):
        created = await create(stub)
        walk = Walk(stub, created)
        await walk.attach(only_scripted=True)
        await walk.send(script=script((0.0, 28)))
        await walk.chunk()
        await walk.chunk()
        session = await _got(stub, created)
    assert (session.chunks, session.frames, session.state) == (2, 29, world_service_pb2.SESSION_STATE_STREAMING)


async def test_the_same_request_twice_opens_one_session():
    async with serving() as (_, stub):
        request_id = str(uuid.uuid4())
        first, second = await asyncio.gather(*(create(stub, request_id=request_id) for _ in range(2)))
        listed = (await stub.ListSessions(world_service_pb2.ListSessionsRequest())).sessions
        with pytest.raises(grpc.aio.AioRpcError) as other:
            await create(stub, "another prompt", request_id=request_id)
    assert first == second
    assert len(listed) == 1
    assert other.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert error_info(other.value.trailing_metadata()).reason == "REQUEST_ID_REUSED"


async def test_a_refused_request_may_be_tried_again_with_its_id():
    async with serving(max_sessions=1) as (_, stub):
        first = await create(stub)
        request_id = str(uuid.uuid4())
        with pytest.raises(grpc.aio.AioRpcError) as full:
            await create(stub, request_id=request_id)
        await _closed(stub, first)
        assert (await create(stub, request_id=request_id)).token
    assert full.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_info(full.value.trailing_metadata()).reason == "TOO_MANY_SESSIONS"
    assert any(detail.type_url.endswith("RetryInfo") for detail in rich_status(full.value.trailing_metadata()).details)


async def test_without_its_token_a_session_does_not_exist():
    async with serving() as (_, stub):
        created, other = await create(stub), await create(stub)
        session_id, token = created.session.session_id, created.token
        almost = token[:-1] + ("A" if token[-1] != "A" else "B")
        for wrong in ((session_id, almost), (session_id, ""), (session_id, other.token), ("é" * 16, token), ("", "")):
            created.session.session_id, created.token = wrong
            calls = (
                stub.GetSession(world_service_pb2.GetSessionRequest(**_named(created))),
                stub.CloseSession(world_service_pb2.CloseSessionRequest(**_named(created))),
                Walk(stub, created).attach(),
            )
            for call in calls:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call
                assert refused.value.code() == grpc.StatusCode.NOT_FOUND
                assert error_info(refused.value.trailing_metadata()).reason == "SESSION_NOT_FOUND"


async def test_closing_twice_is_fine_and_ends_the_stream():
    async with serving() as (_, stub):
        created = await create(stub, "slow=0.02")
        walk = Walk(stub, created)
        await walk.attach()
        await walk.until("frame")
        assert (await _closed(stub, created)).state == CLOSED
        code, info = await walk.status()
        assert (await _closed(stub, created)).state == CLOSED
        assert (await _got(stub, created)).state == CLOSED
        with pytest.raises(grpc.aio.AioRpcError, match="closed"):
            await Walk(stub, created).attach()
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_CLOSED")


async def test_a_session_closed_mid_chunk_disturbs_no_other():
    async with serving() as (_, stub):
        closing, staying = await create(stub, "slow=0.01"), await create(stub)
        first, second = Walk(stub, closing), Walk(stub, staying)
        await first.attach()
        await first.until("frame")
        await second.attach()
        await _closed(stub, closing)
        frames = [frame for _ in range(4) for frame in (await second.chunk())[0]]
    assert [frame.seq for frame in frames] == list(range(61))
    assert second.notices() == []


async def test_a_session_nobody_reads_makes_nothing_and_is_closed_after_its_lease():
    async with serving(idle_s=0.4) as (server, stub):
        created = await create(stub)
        assert (await _got(stub, created)).state == IDLE
        await eventually(lambda: not server.engine.sessions())
        session = await _got(stub, created)
    assert (session.state, session.chunks) == (CLOSED, 0)


async def test_a_session_that_is_read_outlives_the_lease():
    async with serving(idle_s=0.3) as (_, stub):
        created = await create(stub)
        walk = Walk(stub, created)
        await walk.attach(only_scripted=True)
        await walk.until("heartbeat")
        assert (await _got(stub, created)).state == world_service_pb2.SESSION_STATE_STREAMING


async def test_only_as_many_chunks_as_acknowledged_and_one_more():
    async with serving() as (_, stub):
        created = await create(stub)
        walk = Walk(stub, created)
        await walk.attach(PAUSE)
        await walk.chunk()
        await walk.chunk()
        await walk.until("heartbeat")
        assert (await _got(stub, created)).chunks == 2
        await walk.send(ack={"seq": 12})
        await walk.chunk()
        await walk.until("heartbeat")
        assert (await _got(stub, created)).chunks == 3
        await walk.send(pace={"mode": AS_FAST})
        assert (await walk.chunk())[1].chunk == 3
