"""The table of bad input: each row is refused with a status or a Refusal that names the field, and the server goes on."""

import asyncio
import math
import uuid

import grpc
import pytest
from keepworld.v1 import control_pb2, frame_pb2, geometry_pb2, session_pb2, world_service_pb2

from tests.runtime.serving.client import AS_FAST, RAW, WITHIN_S, Walk, create, error_info, script, serving, violation

NAN, INF = math.nan, math.inf
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


def _size(width, height):
    return {"size": world_service_pb2.Size(width=width, height=height)}


CREATE = [
    ({"family": "nothing"}, NOT_FOUND, "UNKNOWN_FAMILY", "family"),
    ({"family": ""}, NOT_FOUND, "UNKNOWN_FAMILY", "family"),
    ({"prompt": "x" * 2001}, INVALID, "INVALID_FIELD", "prompt"),
    ({"prompt": "a\0b"}, INVALID, "INVALID_FIELD", "prompt"),
    ({"mode": "swim"}, INVALID, "INVALID_FIELD", "mode"),
    ({"request_id": "not a uuid"}, INVALID, "INVALID_FIELD", "request_id"),
    (_size(0, 0), INVALID, "INVALID_FIELD", "size.width"),
    (_size(64, 0), INVALID, "INVALID_FIELD", "size.height"),
    (_size(8, 64), INVALID, "INVALID_FIELD", "size.width"),
    (_size(65, 64), INVALID, "INVALID_FIELD", "size.width"),
    (_size(64, 60), INVALID, "INVALID_FIELD", "size.height"),
    (_size(1_000_000, 16), INVALID, "INVALID_FIELD", "size.width"),
    (_size(2**32 - 8, 2**32 - 8), INVALID, "INVALID_FIELD", "size.width"),
    (_size(16, 2**20), INVALID, "INVALID_FIELD", "size.height"),
]


async def test_every_bad_creation_is_refused_with_its_field():
    async with serving() as (server, stub):
        for fields, code, reason, field in CREATE:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await create(stub, **fields)
            trailing = refused.value.trailing_metadata()
            found = (refused.value.code(), error_info(trailing).reason, violation(trailing))
            assert found == (code, reason, field), fields
            assert error_info(trailing).domain == "keepworld"
        assert server.engine.sessions() == []
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await create(stub, family="nothing")
        assert error_info(unknown.value.trailing_metadata()).metadata["known"] == "gradient"


def _attach(**changes):
    fields = {
        "config": session_pb2.StreamConfig(encoding=RAW),
        "pace": session_pb2.Pace(mode=AS_FAST),
        **changes,
    }
    return {"attach": session_pb2.Attach(**fields)}


FIRST = [
    ({"control": control_pb2.LiveControl()}, "attach"),
    ({}, "attach"),
    (_attach(config=session_pb2.StreamConfig()), "attach.config.encoding"),
    (_attach(config=session_pb2.StreamConfig(encoding=RAW, quality=101)), "attach.config.quality"),
    (_attach(config=session_pb2.StreamConfig(encoding=99)), "attach.config.encoding"),
    (_attach(pace=session_pb2.Pace()), "attach.pace.mode"),
    (_attach(pace=session_pb2.Pace(mode=99)), "attach.pace.mode"),
]


async def test_a_bad_first_message_ends_the_stream():
    async with serving() as (_, stub):
        created = await create(stub)
        for message, field in FIRST:
            if "attach" in message:
                message["attach"].session_id = created.session.session_id
                message["attach"].token = created.token
            walk = Walk(stub, created)
            await walk.send(**message)
            code, info = await walk.status()
            found = (code, info.reason, violation(await walk.call.trailing_metadata()))
            assert found == (INVALID, "INVALID_FIELD", field)


def _live(**fields):
    return {"control": control_pb2.LiveControl(control=control_pb2.Control(**fields))}


def _path(*transforms):
    return {"path": control_pb2.CameraPath(request_id="r", world_from_camera=transforms)}


def _pose(w=1.0, x=0.0, tx=0.0):
    return geometry_pb2.RigidTransform(
        rotation=geometry_pb2.Quaternion(w=w, x=x), translation=geometry_pb2.Vector3(x=tx)
    )


def _event(**fields):
    return {"event": control_pb2.Event(**{"request_id": "r", "text": "rain", **fields})}


MOVE, TURN = control_pb2.Control.Move, control_pb2.Control.Turn
FIELD = "INVALID_FIELD"
STREAM = [
    (_live(move=MOVE(forward=1.5)), FIELD, "control.move.forward"),
    (_live(move=MOVE(forward=NAN)), FIELD, "control.move.forward"),
    (_live(move=MOVE(right=-INF)), FIELD, "control.move.right"),
    (_live(turn=TURN(yaw=-1.01)), FIELD, "control.turn.yaw"),
    (_live(speed=NAN), FIELD, "control.speed"),
    (_live(speed=-1), FIELD, "control.speed"),
    (_live(speed=8.1), FIELD, "control.speed"),
    (_live(move=MOVE(down=0.5)), "AXIS_NOT_SUPPORTED", "control.move.down"),
    (_live(turn=TURN(roll=0.5)), "AXIS_NOT_SUPPORTED", "control.turn.roll"),
    (_live(buttons=1), "AXIS_NOT_SUPPORTED", "control.buttons"),
    ({"script": script()}, FIELD, "script.steps"),
    ({"script": script(*[(0.0, 1)] * 4097)}, FIELD, "script.steps"),
    ({"script": script((0.0, 3), (0.0, 0))}, FIELD, "script.steps[1].frames"),
    ({"script": script((0.0, 2**32 - 1))}, FIELD, "script.steps[0].frames"),
    ({"script": script((0.0, 3), (2.0, 3))}, FIELD, "script.steps[1].control.move.forward"),
    ({"script": script((0.0, 60_000), (0.0, 60_000))}, "QUEUE_FULL", ""),
    ({"script": script((0.0, 3), request_id="x" * 65)}, FIELD, "script.request_id"),
    (_path(), FIELD, "path.world_from_camera"),
    (_path(*[_pose()] * 4097), FIELD, "path.world_from_camera"),
    (_path(_pose(), _pose(), _pose(), _pose(w=0.0)), FIELD, "path.world_from_camera[3].rotation"),
    (_path(_pose(w=1.01)), FIELD, "path.world_from_camera[0].rotation"),
    (_path(_pose(x=NAN)), FIELD, "path.world_from_camera[0].rotation"),
    (_path(_pose(w=INF)), FIELD, "path.world_from_camera[0].rotation"),
    (_path(geometry_pb2.RigidTransform()), FIELD, "path.world_from_camera[0].rotation"),
    (_path(_pose(), _pose(tx=NAN)), FIELD, "path.world_from_camera[1].translation"),
    (_path(_pose(tx=1e300)), FIELD, "path.world_from_camera[0].translation"),
    (_event(text=""), FIELD, "event.text"),
    (_event(text=" \n"), FIELD, "event.text"),
    (_event(text="x" * 501), FIELD, "event.text"),
    (_event(text="the moon falls"), "EVENT_NOT_UNDERSTOOD", "event.text"),
    (_event(ramp_s=NAN), FIELD, "event.ramp_s"),
    (_event(ramp_s=601), FIELD, "event.ramp_s"),
    (_event(ramp_s=-1), FIELD, "event.ramp_s"),
    (_event(duration_s=INF), FIELD, "event.duration_s"),
    (_event(seconds=NAN), FIELD, "event.seconds"),
    (_event(seconds=-1), FIELD, "event.seconds"),
    (_event(chunk=0), "EVENT_PAST", "event.chunk"),
    (_event(seconds=0.0), "EVENT_PAST", "event.seconds"),
    ({"pace": session_pb2.Pace()}, FIELD, "pace.mode"),
    ({"config": session_pb2.StreamConfig()}, FIELD, "config.encoding"),
    ({"config": session_pb2.StreamConfig(encoding=frame_pb2.IMAGE_ENCODING_JPEG, quality=2**32 - 1)}, FIELD, "config.quality"),
    (_attach(), FIELD, "attach"),
    ({}, FIELD, "message"),
]  # fmt: skip


async def test_every_bad_message_is_refused_and_the_stream_goes_on():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        await walk.send(script=script((0.0, 12)))
        await walk.chunk()
        for message, reason, field in STREAM:
            await walk.send(**message)
            refusal = await walk.until("refusal")
            assert (refusal.reason, refusal.field) == (reason, field)
            assert refusal.message
            if "event" in message:
                assert refusal.request_id == "r"
        await walk.send(script=script((0.5, 16)))
        frames, end = await walk.chunk()
    assert [frame.seq for frame in frames] == list(range(13, 29))
    assert {each.move.forward for each in end.controls} == {0.5}


async def test_a_mode_refuses_the_axes_it_does_not_honour():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub, mode="ride"))
        await walk.attach(only_scripted=True)
        await walk.send(**_live(turn=TURN(yaw=0.5)))
        refusal = await walk.until("refusal")
    assert (refusal.reason, refusal.field) == ("AXIS_NOT_SUPPORTED", "control.turn.yaw")
    assert "move_forward" in refusal.message


async def test_pending_events_are_bounded():
    async with serving() as (server, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        for i in range(server.engine.limits.max_pending_events + 1):
            await walk.send(**_event(request_id=str(i), chunk=i + 1))
        refusal = await walk.until("refusal")
    assert (refusal.request_id, refusal.reason) == ("256", "QUEUE_FULL")


async def test_almost_unit_quaternions_are_made_unit():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        await walk.send(**_path(*[_pose(w=1.0009)] * 13))
        frames, _ = await walk.chunk()
    assert frames[0].camera.world_from_camera.rotation.w == 1.0


async def test_a_message_of_more_than_4_mb_is_refused():
    async with serving() as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await create(stub, "x" * (5 << 20), request_id=str(uuid.uuid4()))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await create(stub)).token


async def test_a_stream_that_is_refused_while_its_first_answer_is_on_its_way_ends_all_the_same():
    """gRPC cannot end a call whose first write was cut off half way: the stream would stand open for ever."""
    async with serving() as (server, stub), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        for _ in range(60):
            created = await create(stub)
            attach = _attach(session_id=created.session.session_id, token=created.token)
            call = channel.stream_stream("/keepworld.v1.WorldService/StreamSession")()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                async with asyncio.timeout(WITHIN_S):
                    await call.write(world_service_pb2.StreamSessionRequest(**attach).SerializeToString())
                    await call.write(b"\xff\xff")
                    while await call.read() is not grpc.aio.EOF:
                        pass
            assert refused.value.code() == INVALID
            server.engine.close(server.engine.session(created.session.session_id, created.token))
