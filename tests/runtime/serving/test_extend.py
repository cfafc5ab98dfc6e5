"""Sessions that are given something to go on from in their middle: taken in once, with its chunk, and never lost."""

import asyncio
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from keepworld import png
from keepworld.v1 import control_pb2, geometry_pb2, session_pb2, world_service_pb2
from keepworld_runtime.families.family import FamilyOptions
from keepworld_runtime.journal.blobs import name_of
from keepworld_runtime.replay import replay

from tests import families
from tests.runtime.serving.callers import Keys, calling, guarded
from tests.runtime.serving.client import WITHIN_S, connect, eventually, pixels, script, serving, spec
from tests.runtime.serving.test_assets import CLIP, frame, grey, header, upload
from tests.runtime.serving.test_journal import imported, written
from tests.runtime.serving.test_process import said, started
from tests.runtime.serving.walks import GRADIENT, attached, chunk, first_chunk, named, opened

RED, Z = 60, 5.0  # of the last frame that is given, and where its camera was
NO_CLIPS = FamilyOptions(memory="takes=recording")


async def uploaded(server, *, cameras: bool = False) -> str:
    """Two frames to go on from."""
    pieces = [frame(png.encode(grey(value)), z=z if cameras else None) for value, z in ((9, Z - 1), (RED, Z))]
    return (await upload(server, header(CLIP, 2, has_cameras=cameras), *pieces)).asset_id


async def asked(walk, request_id: str = "x", **fields):
    """What is answered to an Extend: a receipt or a refusal."""
    await walk.send(extend={"request_id": request_id, **fields})
    async with asyncio.timeout(WITHIN_S):
        while True:
            message = await walk.read()
            kind = message.WhichOneof("message")
            if kind in ("receipt", "refusal"):
                answer = getattr(message, kind)
                assert answer.request_id == request_id
                return answer


async def begun(stub, prompt: str = ""):
    """A session after its first chunk, walked by 0.5 a frame."""
    created = await opened(stub, **GRADIENT, prompt=prompt)
    walk = await attached(stub, created)
    await first_chunk(walk, 0.5)
    return created, walk


def check(made, number: int, walked: float, red: int = RED, step: float = 0.25, events: int = 0) -> None:
    """Chunk `number` shows that it went on from frames whose last one has this red, from how far had been walked."""
    frames = made[:-1]
    assert [each.seq for each in frames] == list(range(13 + 16 * (number - 1), 13 + 16 * number))
    for each in frames:
        walked += step
        wanted = families.picture(spec(), each.seq, walked, events)
        wanted[..., 0] += np.uint8(red)
        np.testing.assert_array_equal(pixels(each), wanted)


@pytest.fixture
async def served():
    async with serving() as (server, stub):
        yield SimpleNamespace(server=server, stub=stub)


async def test_the_next_chunk_goes_on_from_what_was_given_and_says_so(served):
    _, walk = await begun(served.stub)
    receipt = await asked(walk, clip_asset_id=await uploaded(served.server))
    assert receipt.applies_to_chunk == 1
    first, second = await chunk(walk, 0.25), await chunk(walk, 0.25)
    check(first, 1, 6.0)
    check(second, 2, 10.0)
    assert [end.extend_request_id for end in (first[-1], second[-1])] == ["x", ""]
    assert first[-1].HasField("extend_request_id") and not second[-1].HasField("extend_request_id")


@pytest.mark.parametrize("where", ["the asset", "the request", "here"])
async def test_cameras_come_with_the_frames_or_with_the_request(served, where):
    _, walk = await begun(served.stub)
    fields = {"clip_asset_id": await uploaded(served.server, cameras=where != "the request")}
    if where == "the request":
        fields["world_from_camera"] = [
            geometry_pb2.RigidTransform(rotation=geometry_pb2.Quaternion(w=1), translation=geometry_pb2.Vector3(z=z))
            for z in (Z - 1, Z)
        ]
    await asked(walk, from_here=where == "here", **fields)
    check(await chunk(walk, 0.25), 1, 7.0 if where == "here" else Z)


async def test_what_cannot_be_gone_on_from_is_refused_by_name_and_the_stream_goes_on(served):
    _, walk = await begun(served.stub)
    asset, nowhere = await uploaded(served.server), geometry_pb2.RigidTransform()
    picture = (await upload(served.server, header(), frame(png.encode(grey(1))))).asset_id
    for fields, reason, field in [
        ({}, "INVALID_FIELD", "extend.source"),
        ({"clip_asset_id": "0" * 32}, "ASSET_NOT_FOUND", "extend.clip_asset_id"),
        ({"clip_asset_id": picture}, "ASSET_NOT_FOUND", "extend.clip_asset_id"),
        ({"clip_asset_id": asset, "world_from_camera": [nowhere]}, "INVALID_FIELD", "extend.world_from_camera"),
        (
            {"clip_asset_id": asset, "world_from_camera": [nowhere] * 2},
            "INVALID_FIELD",
            "extend.world_from_camera[0].rotation",
        ),
        ({"request_id": "y" * 65, "clip_asset_id": asset}, "INVALID_FIELD", "extend.request_id"),
    ]:
        await walk.send(extend={"request_id": "x", **fields})
        refusal = await walk.until("refusal")
        assert (refusal.reason, refusal.field) == (reason, field)
    check(await chunk(walk, 0.25), 1, 6.0, red=0)
    new = await attached(served.stub, await opened(served.stub, **GRADIENT))
    assert (await asked(new, clip_asset_id=asset)).reason == "WORLD_NOT_BEGUN"
    await asked(walk, clip_asset_id=asset)
    assert (await asked(walk, "other", clip_asset_id=asset)).reason == "QUEUE_FULL"
    check(await chunk(walk, 0.25), 2, 10.0)
    assert (await asked(walk, "other", clip_asset_id=asset)).applies_to_chunk == 3
    check(await chunk(walk, 0.25), 3, 14.0, red=2 * RED)


async def test_the_same_request_is_taken_in_once_however_often_it_comes(served):
    created, walk = await begun(served.stub)
    asset = await uploaded(served.server)
    for _ in range(2):  # while it waits
        assert (await asked(walk, clip_asset_id=asset)).applies_to_chunk == 1
    again = await attached(served.stub, created)  # after a resume
    assert (await asked(again, clip_asset_id=asset)).applies_to_chunk == 1
    check(await chunk(again, 0.25), 1, 6.0)
    assert (await asked(again, clip_asset_id=asset)).applies_to_chunk == 1  # when it has been made
    served.server.assets._kept.clear()  # when what was uploaded has gone
    assert (await asked(again, clip_asset_id=asset)).applies_to_chunk == 1
    refusal = await asked(again, clip_asset_id=asset, from_here=True)
    assert (refusal.reason, refusal.field) == ("REQUEST_ID_REUSED", "extend.request_id")
    check(await chunk(again, 0.25), 2, 10.0)


async def test_requests_without_an_id_are_each_their_own(served):
    _, walk = await begun(served.stub)
    asset = await uploaded(served.server)
    for number in (1, 2):
        assert (await asked(walk, "", clip_asset_id=asset)).applies_to_chunk == number
        check(await chunk(walk, 0.25), number, 2.0 + 4.0 * number, red=number * RED)


@pytest.mark.parametrize("when", ["waiting", "begun"])
async def test_a_killed_server_goes_on_from_what_it_was_given(tmp_path, when):
    """Killed while it waits for its chunk, or while that is drawn: after `slow` frames have been seen."""
    async with started("--journal", str(tmp_path)) as process:
        port = int((await said(process))["listening"].rpartition(":")[2])
        async with connect(port) as stub:
            created, walk = await begun(stub, "slow=0.01")
            asset = await uploaded(SimpleNamespace(port=port))
            assert (await asked(walk, clip_asset_id=asset)).applies_to_chunk == 1
            if when == "begun":
                await walk.send(script=script((0.25, 16)))
                for _ in range(3):
                    await walk.until("frame")
            process.kill()
            await process.wait()
    async with started("--journal", str(tmp_path)) as process:
        port = int((await said(process))["listening"].rpartition(":")[2])
        async with connect(port) as stub:
            walk = await attached(stub, created, last_seq=12)
            await walk.chunk()  # the end of the one before, once more
            assert (await asked(walk, clip_asset_id=asset)).applies_to_chunk == 1
            check(await chunk(walk, 0.25 if when == "waiting" else None), 1, 6.0)
            assert (await asked(walk, clip_asset_id=asset)).applies_to_chunk == 1
            check(await chunk(walk, 0.25), 2, 10.0)


async def test_a_worker_that_dies_over_it_makes_the_chunk_again(served, tmp_path):
    _, walk = await begun(served.stub, f"crash=1 at=5 once={tmp_path}/done")
    await asked(walk, clip_asset_id=await uploaded(served.server))
    check(await chunk(walk, 0.25), 1, 6.0)
    assert walk.notices() == [session_pb2.NOTICE_KIND_WORKER_RESTARTED]


async def test_going_back_before_it_undoes_it_and_going_back_behind_it_keeps_it(served):
    created, walk = await begun(served.stub)
    asset = await uploaded(served.server)
    await asked(walk, clip_asset_id=asset)
    extended = [await chunk(walk, 0.25) for _ in range(2)]
    branched = await served.stub.BranchSession(world_service_pb2.BranchSessionRequest(**named(created), chunks=2))
    assert await chunk(await attached(served.stub, branched), 0.25) == extended[1]
    for chunks, wanted in ((2, 10.0), (1, 6.0)):
        await asked(
            await attached(served.stub, created), "dropped", clip_asset_id=asset
        )  # waits, and goes with the line
        await served.stub.RewindSession(world_service_pb2.RewindSessionRequest(**named(created), chunks=chunks))
        walk = await attached(served.stub, created)
        check(await chunk(walk, 0.25), chunks, wanted, red=RED if chunks == 2 else 0)
    assert (await asked(walk, clip_asset_id=asset)).applies_to_chunk == 2  # on this line it has not been taken in
    check(await chunk(walk, 0.25), 2, 10.0)


async def test_a_reader_who_lost_frames_gets_the_same_again(served):
    created, walk = await begun(served.stub)
    await asked(walk, clip_asset_id=await uploaded(served.server))
    done = [await chunk(walk, 0.25) for _ in range(2)]
    again = await attached(served.stub, created, last_seq=20)
    assert await chunk(again) == done[0][8:]
    assert await chunk(again) == done[1]


async def test_a_journal_takes_it_along_and_makes_it_again(tmp_path):
    async with serving() as (server, stub):
        created, walk = await begun(stub)
        asset = await uploaded(server)
        for number in (1, 2):  # the same frames twice: once in the file
            await asked(walk, f"x{number}", clip_asset_id=asset)
            await chunk(walk, 0.25)
        data = await written(stub, **named(created))
        after = await chunk(walk, 0.5)
    assert data.count(grey(RED).tobytes()) == 1
    async with serving() as (_, stub):
        snapshot = await imported(stub, data)
        assert await written(stub, snapshot_id=snapshot.snapshot_id) == data
        walk = await attached(stub, await opened(stub, snapshot_id=snapshot.snapshot_id))
        assert await chunk(walk, 0.5) == after
    (tmp_path / "walk.kwj").write_bytes(data)
    again = replay(tmp_path / "walk.kwj", lambda _: families.GradientFamily(FamilyOptions()))
    assert (again.chunks, again.different) == (3, ())
    async with serving(options=NO_CLIPS) as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError, match="goes on from no frames"):
            await imported(stub, data)


async def test_frames_stay_for_as_long_as_a_line_or_a_snapshot_reaches_them(served):
    created, walk = await begun(served.stub)
    blobs, frames = served.server.engine._keeper.journal.blobs, name_of(grey(9).tobytes() + grey(RED).tobytes())

    def has_frames() -> bool:
        return frames in list(blobs.names())

    await asked(walk, clip_asset_id=await uploaded(served.server))
    assert has_frames()
    await chunk(walk, 0.25)
    snapshot = (await served.stub.CreateSnapshot(world_service_pb2.CreateSnapshotRequest(**named(created)))).snapshot
    await served.stub.CloseSession(world_service_pb2.CloseSessionRequest(**named(created)))
    other = await attached(served.stub, await opened(served.stub, snapshot_id=snapshot.snapshot_id))
    check(await chunk(other, 0.25), 2, 10.0)
    assert has_frames()
    await served.stub.DeleteSnapshot(world_service_pb2.DeleteSnapshotRequest(snapshot_id=snapshot.snapshot_id))
    assert has_frames()
    for session in served.server.engine.sessions():
        served.server.engine.close(session)
    await eventually(lambda: not has_frames())


async def test_what_waits_goes_with_its_session(served):
    created, walk = await begun(served.stub)
    blobs = served.server.engine._keeper.journal.blobs
    await asked(walk, clip_asset_id=await uploaded(served.server))
    await served.stub.CloseSession(world_service_pb2.CloseSessionRequest(**named(created)))
    await eventually(lambda: not list(blobs.names()))


async def test_a_walk_is_drawn_again_though_its_session_has_gone_meanwhile(served):
    created, walk = await begun(served.stub)
    await asked(walk, clip_asset_id=await uploaded(served.server))
    done = await chunk(walk, 0.25)
    engine, (session,) = served.server.engine, served.server.engine.sessions()
    walked = await engine.walked(session)
    await served.stub.CloseSession(world_service_pb2.CloseSessionRequest(**named(created)))
    remade = engine.remake(walked, "inner")
    drawn = []
    async with asyncio.timeout(WITHIN_S):
        async for item in remade.session.outbox.follow():
            drawn += [item.data.image] if hasattr(item, "data") else []
            remade.session.mark_sent()
            if len(drawn) == 29:
                break
    for mine, theirs in zip(drawn[13:], done[:-1], strict=True):
        np.testing.assert_array_equal(mine, pixels(theirs))
    engine.close(remade.session)
    del remade, walked, session, item
    await eventually(lambda: not list(engine._keeper.journal.blobs.names()))


async def test_another_tenants_frames_were_never_there(tmp_path):
    keys = Keys(tmp_path)
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["rival"]) as rival:
        pieces = [header(CLIP, 1), frame(png.encode(grey(RED)))]
        theirs = (await rival.assets.UploadAsset(iter(pieces))).asset_id
        async with calling(server, keys.shown["acme"]) as acme:
            mine = (await acme.assets.UploadAsset(iter(pieces))).asset_id
            _, walk = await begun(acme.worlds)
            assert (await asked(walk, clip_asset_id=theirs)).reason == "ASSET_NOT_FOUND"
            assert (await asked(walk, clip_asset_id=mine)).applies_to_chunk == 1
    keys.file.close()


# Recordings of a walk


def recording(count: int = 13, mode: str = "fly", **fields) -> control_pb2.Recording:
    identity = geometry_pb2.RigidTransform(rotation=geometry_pb2.Quaternion(w=1))
    control = control_pb2.Control(move=control_pb2.Control.Move(forward=0.5))
    steps = [control_pb2.RecordedFrame(control=control, world_from_camera=identity)] * count
    told = {"family": "gradient", "family_version": "1", "seed": 7, "mode": mode, "frames": steps, **fields}
    return control_pb2.Recording(**told)


async def test_a_session_goes_on_from_a_recording_from_its_first_chunk_on():
    async with serving(options=NO_CLIPS) as (server, stub):
        asset = await uploaded(server)
        walk = await attached(stub, await opened(stub, **GRADIENT))
        told = (await stub.GetCapabilities(world_service_pb2.GetCapabilitiesRequest())).families[0]
        assert (told.takes_clip, told.takes_recording) == (False, True)
        refusal = await asked(walk, clip_asset_id=asset)
        assert refusal.reason == "INPUT_NOT_SUPPORTED" and "recording" in refusal.message
        events = [control_pb2.RecordedEvent(chunk=1, text="rain", ramp_s=1.0)]
        receipt = await asked(walk, "r", recording=recording(29, events=events))
        assert receipt.applies_to_chunk == 0
        frames = (await first_chunk(walk, 0.25))[:-1]
        for each in frames:
            wanted = families.picture(spec(), each.seq, 14.5 + 0.25 * each.seq, 1)
            np.testing.assert_array_equal(pixels(each), wanted)


BAD = [
    (recording(family="diorama"), "extend.recording.family"),
    (recording(family_version="2"), "extend.recording.family_version"),
    (recording(seed=8), "extend.recording.seed"),
    (recording(prompt="elsewhere"), "extend.recording.prompt"),
    (recording(mode="dig"), "extend.recording.mode"),
    (recording(0), "extend.recording.frames"),
    (recording(4097), "extend.recording.frames"),
    (recording(14), "extend.recording"),
    (recording(events=[control_pb2.RecordedEvent(chunk=1, text="rain")]), "extend.recording"),
    (recording(events=[control_pb2.RecordedEvent(text="a dragon")]), "extend.recording.events[0].text"),
    (recording(events=[control_pb2.RecordedEvent(text="rain", ramp_s=float("nan"))]), "extend.recording"),
    (recording(frames=[control_pb2.RecordedFrame()] * 13), "extend.recording.frames[0].rotation"),
    (
        recording(frames=[control_pb2.RecordedFrame(control={"move": {"down": 1}})] * 13),
        "extend.recording.frames[0].control.move.down",
    ),
]


async def test_a_recording_of_something_else_or_none_at_all_is_refused_by_name(served):
    _, walk = await begun(served.stub)
    for bad, field in BAD:
        refusal = await asked(walk, recording=bad)
        assert refusal.field == field, refusal
    refusal = await asked(walk, recording=recording(), from_here=True)
    assert refusal.field == "extend.world_from_camera"
    check(await chunk(walk, 0.25), 1, 6.0, red=0)
