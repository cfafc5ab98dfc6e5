"""The stream: frames in order, controls and events from the chunk that their receipts name."""

import zlib

import grpc
import numpy as np
from keepworld.v1 import control_pb2, frame_pb2, geometry_pb2, session_pb2, world_service_pb2

from tests import families
from tests.runtime.serving.client import AS_FAST, PAUSE, Walk, create, eventually, live, pixels, script, serving, spec


async def test_the_first_chunk_has_13_frames_and_the_next_16():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        attached = await walk.attach()
        assert (attached.epoch, attached.next_seq) == (1, 0)
        chunks = [await walk.chunk() for _ in range(3)]
    assert [len(frames) for frames, _ in chunks] == [13, 16, 16]
    assert [end.frames for _, end in chunks] == [13, 16, 16]
    frames = [frame for frames, _ in chunks for frame in frames]
    assert [frame.seq for frame in frames] == list(range(45))
    assert [frame.index for frame in frames] == [*range(13), *range(16), *range(16)]
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(45) / 24)
    for frame in frames:
        np.testing.assert_array_equal(pixels(frame), families.picture(spec(), frame.seq, 0.0, 0))


async def test_a_frame_carries_its_camera():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        await walk.send(script=script((0.5, 12)))
        frames, _ = await walk.chunk()
    assert frames[0].camera.world_from_camera.translation.z == 0.0  # a walk's first frame shows where it begins
    camera = frames[3].camera
    assert camera.world_from_camera.translation.z == 1.5
    assert camera.world_from_camera.rotation.w == 1.0
    assert (camera.intrinsics.width, camera.intrinsics.height, camera.intrinsics.cx) == (64, 48, 32.0)
    assert camera.intrinsics.fx == 32 / np.tan(np.radians(35))
    assert camera.units == geometry_pb2.UNITS_METRES
    assert camera.pose_source == geometry_pb2.POSE_SOURCE_RENDERED


async def test_a_script_is_used_frame_by_frame_and_its_receipt_names_the_chunk():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        await walk.send(script=script((1.0, 20), request_id="a"))
        await walk.send(script=script((-1.0, 9), (0.25, 7), request_id="b"))
        chunks = [await walk.chunk() for _ in range(3)]
        receipts = [m.receipt for m in walk.others if m.WhichOneof("message") == "receipt"]
        assert await walk.until("notice")
    controls = [control.move.forward for _, end in chunks for control in end.controls]
    assert controls == [0.0] + [1.0] * 20 + [-1.0] * 9 + [0.25] * 7 + [0.0] * 8
    assert [(receipt.request_id, receipt.applies_to_chunk) for receipt in receipts] == [("a", 0), ("b", 1)]
    walked = np.cumsum(controls)
    for frames, _ in chunks:
        for frame in frames:
            np.testing.assert_array_equal(pixels(frame), families.picture(spec(), frame.seq, walked[frame.seq], 0))


async def test_a_used_up_script_is_told_once_after_its_chunk():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        await walk.send(script=script((1.0, 12)))
        _, end = await walk.chunk()
        assert (await walk.read()).notice.kind == session_pb2.NOTICE_KIND_SCRIPT_DONE
        assert (await walk.read()).WhichOneof("message") == "heartbeat"
        await walk.send(script=script((1.0, 16)))
        await walk.chunk()
        assert (await walk.read()).notice.kind == session_pb2.NOTICE_KIND_SCRIPT_DONE
    assert end.chunk == 0
    assert walk.kinds() == ["receipt", "receipt"]


async def test_a_live_control_steers_every_frame_of_the_next_chunk():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(PAUSE)
        await walk.chunk()
        await walk.chunk()  # a third is not begun: the first has not been acknowledged
        await walk.send(control=live(0.25, 41))
        await walk.send(control=live(0.5, 42))
        await walk.send(ack=session_pb2.Ack(seq=28))
        _, steered = await walk.chunk()
        _, held = await walk.chunk()
    assert [control.move.forward for control in steered.controls] == [0.5] * 16
    assert steered.client_time_us == 42
    assert steered.timing.HasField("control_us")
    assert [control.move.forward for control in held.controls] == [0.5] * 16
    assert not held.HasField("client_time_us")


async def test_a_live_control_ends_with_its_dead_man_time():
    async with serving(dead_man_s=0.8) as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(PAUSE)
        await walk.chunk()
        await walk.chunk()
        await walk.send(control=live(1.0))
        await walk.send(ack=session_pb2.Ack(seq=12))
        _, steered = await walk.chunk()
        await walk.until("heartbeat")  # nothing else for a second
        await walk.send(ack=session_pb2.Ack(seq=28))
        _, left = await walk.chunk()
    assert {each.move.forward for each in steered.controls} == {1.0}
    assert {each.move.forward for each in left.controls} == {0.0}


async def test_an_event_begins_with_the_chunk_that_its_receipt_names():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        for event in (
            control_pb2.Event(request_id="next", text="rain"),
            control_pb2.Event(request_id="third", text="snow", chunk=2, ramp_s=1.5, duration_s=4),
            control_pb2.Event(request_id="later", text="rain", seconds=13 / 24),
            control_pb2.Event(request_id="latest", text="rain", seconds=13 / 24 + 0.01),
        ):
            await walk.send(event=event)
        receipts = {receipt.request_id: receipt for receipt in [await walk.until("receipt") for _ in range(4)]}
        await walk.send(script=script((0.0, 44)))
        chunks = [await walk.chunk() for _ in range(3)]
    named = {request_id: receipt.applies_to_chunk for request_id, receipt in receipts.items()}
    assert named == {"next": 0, "third": 2, "later": 1, "latest": 2}
    assert list(receipts["next"].used) == ["weather: rain"]
    began = [[event.request_id for event in end.events] for _, end in chunks]
    assert began == [["next"], ["later"], ["third", "latest"]]
    assert (chunks[2][1].events[0].ramp_s, chunks[2][1].events[0].duration_s) == (1.5, 4)
    for (frames, _), events in zip(chunks, (1, 2, 4), strict=True):
        np.testing.assert_array_equal(pixels(frames[0]), families.picture(spec(), frames[0].seq, 0.0, events))


async def test_a_camera_path_is_followed_to_the_digit():
    angle = 0.3
    transforms = [
        geometry_pb2.RigidTransform(
            rotation=geometry_pb2.Quaternion(w=np.cos(angle / 2), y=np.sin(angle / 2)),
            translation=geometry_pb2.Vector3(x=1.0, y=-2.0, z=0.1 * i),
        )
        for i in range(13)
    ]
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        await walk.send(path=control_pb2.CameraPath(request_id="p", world_from_camera=transforms))
        frames, end = await walk.chunk()
    for frame, asked in zip(frames, transforms, strict=True):
        there = frame.camera.world_from_camera
        np.testing.assert_allclose(
            [there.rotation.w, there.rotation.y], [asked.rotation.w, asked.rotation.y], atol=1e-12
        )
        assert there.translation == asked.translation
    assert not any(control.move.forward for control in end.controls)


async def test_frames_leave_while_the_rest_of_their_chunk_is_drawn():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub, "hang=0 at=8"))
        await walk.attach()
        frames = [await walk.until("frame") for _ in range(8)]
    assert [frame.index for frame in frames] == list(range(8))


async def test_chunk_timing_adds_up():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub, "slow=0.004"))
        await walk.attach()
        chunks = [await walk.chunk() for _ in range(4)]
    for frames, end in chunks:
        assert end.timing.draw_us >= 4000 * len(frames)
        assert end.timing.chunk_us >= end.timing.draw_us
        assert all(frame.timing.sent_us >= frame.timing.drawn_us > 0 for frame in frames)


async def test_a_new_config_holds_from_frames_not_yet_encoded():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        await walk.send(config=session_pb2.StreamConfig(encoding=frame_pb2.IMAGE_ENCODING_PNG, pixel_data=True))
        await walk.send(script=script((0.0, 13)))
        frames, _ = await walk.chunk()
    assert {frame.image.encoding for frame in frames} == {frame_pb2.IMAGE_ENCODING_PNG}
    assert all(frame.pixels.depth for frame in frames)


async def test_the_largest_frame_with_all_its_pixel_data_is_one_message():
    async with serving() as (_, stub):
        size = world_service_pb2.Size(width=1600, height=1248)
        walk = Walk(stub, await create(stub, size=size))
        await walk.attach(pixel_data=True)
        frame = await walk.until("frame")
    assert len(frame.image.data) == 1600 * 1248 * 3
    assert len(zlib.decompress(frame.pixels.depth)) == 1600 * 1248 * 4


async def test_a_silent_stream_has_heartbeats():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        attached = await walk.attach(only_scripted=True)
        first, second = await walk.until("heartbeat"), await walk.until("heartbeat")
    assert attached.heartbeat_s == 1.0
    assert 0.9e6 < second.server_time_us - first.server_time_us < 2.5e6


async def test_another_attach_fences_the_first_and_gets_the_frames_it_was_not_sent():
    async with serving() as (_, stub):
        created = await create(stub)
        first, second = Walk(stub, created), Walk(stub, created)
        await first.attach(PAUSE)
        await first.chunk()
        attached = await second.attach(AS_FAST)
        code, info = await first.status()
        assert (code, info.reason, info.domain) == (grpc.StatusCode.ABORTED, "STREAM_REPLACED", "keepworld")
        more = [frame for _ in range(3) for frame in (await second.chunk())[0]]
    assert attached.epoch == 2
    assert attached.next_seq == more[0].seq <= 13 + 16
    assert [frame.seq for frame in more] == list(range(more[0].seq, more[0].seq + len(more)))


async def test_a_client_that_vanishes_leaves_its_unsent_frames_to_the_next():
    async with serving() as (server, stub):
        created = await create(stub, "slow=0.01")
        first = Walk(stub, created)
        await first.attach()
        frame = await first.until("frame")
        first.call.cancel()
        await eventually(lambda: server.engine.sessions()[0].attachment is None)
        second = Walk(stub, created)
        attached = await second.attach()
        frames, end = await second.chunk()
    assert frame.seq == 0
    assert 1 <= attached.next_seq <= 13 + 16
    assert [frame.seq for frame in frames] == list(range(attached.next_seq, frames[-1].seq + 1))
    assert frames[-1].index == end.frames - 1


async def test_a_receipt_counts_the_frame_that_shows_where_a_walk_begins():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        await walk.send(event=control_pb2.Event(request_id="hold", text="rain"))
        await walk.send(script=script((0.0, 12), request_id="fills chunk 0"))
        chunks = [(await walk.until("receipt")).applies_to_chunk for _ in range(2)]
        await walk.chunk()
        await walk.send(script=script((0.5, 16), (1.0, 16), request_id="fills two"))
        await walk.send(script=script((0.25, 1), request_id="behind them"))
        chunks += [(await walk.until("receipt")).applies_to_chunk]
        behind = [(await walk.until("receipt")).applies_to_chunk]
        ends = [(await walk.chunk())[1] for _ in range(3)]
    assert chunks == [0, 0, 1]
    assert behind == [3]
    assert [end.controls[0].move.forward for end in ends] == [0.5, 1.0, 0.25]
