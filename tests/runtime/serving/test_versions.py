"""A client that is newer than its server: what the server does not know it passes over, what it would have to know it refuses."""

import asyncio

import grpc
import pytest
from keepworld.v1 import session_pb2, world_service_pb2

from tests.faults.harness import check_walk
from tests.runtime.serving.client import AS_FAST, RAW, WITHIN_S, error_info, script, serving, violation

NEWER = bytes([0x80, 0x7D, 0x01]) + bytes([0x82, 0x7D, 0x03]) + b"new"  # field 2000, a number and then a text


def newer(message) -> bytes:
    """A message and, of its own and in whatever it holds, fields of a later version."""
    copy = type(message)()
    copy.CopyFrom(message)
    for field, value in message.ListFields():
        if field.message_type is not None and not field.is_repeated:
            getattr(copy, field.name).ParseFromString(newer(value))
    return copy.SerializeToString() + NEWER


async def asked(channel, method: str, message, answer):
    call = channel.unary_unary(f"/keepworld.v1.WorldService/{method}")
    return answer.FromString(await call(newer(message), timeout=WITHIN_S))


async def test_fields_of_a_later_version_change_nothing():
    async with serving() as (server, _), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        request = world_service_pb2.CreateSessionRequest(
            family="gradient", seed=7, size=world_service_pb2.Size(width=64, height=48)
        )
        created = await asked(channel, "CreateSession", request, world_service_pb2.CreateSessionResponse)
        call = channel.stream_stream("/keepworld.v1.WorldService/StreamSession")()
        attach = session_pb2.Attach(
            session_id=created.session.session_id,
            token=created.token,
            config=session_pb2.StreamConfig(encoding=RAW),
            pace=session_pb2.Pace(mode=AS_FAST, only_scripted=True),
        )
        for message in ({"attach": attach}, {"script": script((0.5, 28))}):
            await call.write(newer(world_service_pb2.StreamSessionRequest(**message)))
        frames = []
        async with asyncio.timeout(WITHIN_S):
            while len(frames) < 29:
                response = world_service_pb2.StreamSessionResponse.FromString(await call.read())
                frames += [response.frame] if response.HasField("frame") else []
        listed = await asked(
            channel, "ListSessions", world_service_pb2.ListSessionsRequest(), world_service_pb2.ListSessionsResponse
        )
        call.cancel()
    check_walk(frames, 29, step=0.5)
    assert len(listed.sessions) == 1


async def test_choices_of_a_later_version_are_refused_by_their_field():
    async with serving() as (server, _), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        request = world_service_pb2.CreateSessionRequest(family="gradient")
        created = await asked(channel, "CreateSession", request, world_service_pb2.CreateSessionResponse)
        named = {"session_id": created.session.session_id, "token": created.token}
        for attach, field in (
            (session_pb2.Attach(**named, config={"encoding": RAW}, pace={"mode": 99}), "attach.pace.mode"),
            (session_pb2.Attach(**named, config={"encoding": 99}, pace={"mode": AS_FAST}), "attach.config.encoding"),
        ):
            call = channel.stream_stream("/keepworld.v1.WorldService/StreamSession")()
            await call.write(newer(world_service_pb2.StreamSessionRequest(attach=attach)))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asyncio.wait_for(call.read(), WITHIN_S)
            assert error_info(refused.value.trailing_metadata()).reason == "INVALID_FIELD"
            assert violation(refused.value.trailing_metadata()) == field
