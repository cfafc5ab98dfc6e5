"""What goes on from a snapshot is what would have been, to the byte; and a snapshot opens nothing else."""

import os
import signal
import uuid

import grpc
import pytest
from keepworld.v1 import world_service_pb2

from tests.runtime.serving.client import Walk, create, error_info, script, serving, violation

GRADIENT = {"family": "gradient", "seed": 7}
DIORAMA = {
    "family": "diorama",
    "seed": 3,
    "prompt": "a foggy forest",
    "size": world_service_pb2.Size(width=128, height=72),
}
INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def opened(stub, **fields):
    created = await stub.CreateSession(world_service_pb2.CreateSessionRequest(**fields), timeout=20)
    walk = Walk(stub, created)
    await walk.attach(only_scripted=True)
    return created, walk


async def taken(stub, created, request_id: str = ""):
    request = world_service_pb2.CreateSnapshotRequest(
        request_id=request_id, session_id=created.session.session_id, token=created.token
    )
    return (await stub.CreateSnapshot(request)).snapshot


async def next_chunk(walk) -> list:
    """The next chunk, walked and with an event; what was measured of it left out."""
    await walk.send(event={"request_id": "e", "text": "snow", "ramp_s": 0.5})
    await walk.send(script=script((0.75, 16)))
    frames, end = await walk.chunk()
    for frame in frames:
        frame.ClearField("timing")
    end.ClearField("timing")
    return [*frames, end]


@pytest.mark.parametrize(
    ("world", "module"), [(GRADIENT, "gradient=tests.families"), (DIORAMA, "diorama")], ids=["gradient", "diorama"]
)
async def test_the_next_chunk_is_what_it_would_have_been(world, module):
    async with serving(families=(module,)) as (server, stub):
        created, walk = await opened(stub, **world)
        await walk.send(script=script((0.5, 12), (0.25, 16)))
        for _ in range(2):
            await walk.chunk()
        snapshot = await taken(stub, created)
        assert (snapshot.chunks, snapshot.frames) == (2, 29)
        uninterrupted = await next_chunk(walk)
        for is_killed in (False, True):
            if is_killed:
                os.kill(server.group.pids[0], signal.SIGKILL)
            again, other = await opened(stub, snapshot_id=snapshot.snapshot_id)
            assert (again.session.chunks, again.session.frames) == (2, 29)
            assert (again.session.family, again.session.seed) == (world["family"], world["seed"])
            assert again.session.size == created.session.size
            restored = await next_chunk(other)
            assert restored == uninterrupted
            assert [frame.seq for frame in restored[:-1]] == list(range(29, 45))
        assert await next_chunk(other) == await next_chunk(walk)  # and from there on


async def test_a_snapshot_of_a_world_that_has_not_begun_begins():
    async with serving() as (_, stub):
        created, walk = await opened(stub, **GRADIENT)
        snapshot = await taken(stub, created)
        assert (snapshot.chunks, snapshot.frames) == (0, 0)
        _, other = await opened(stub, snapshot_id=snapshot.snapshot_id)
        assert await next_chunk(other) == await next_chunk(walk)


async def test_what_is_said_beside_a_snapshot_must_be_as_it_was():
    async with serving(families=("gradient=tests.families", "other=tests.families")) as (_, stub):
        created, _ = await opened(stub, **GRADIENT, prompt="slow=0", mode="fly")
        snapshot_id = (await taken(stub, created)).snapshot_id
        for fields, field in [
            ({"family": "other"}, "family"),
            ({"prompt": "slow=1"}, "prompt"),
            ({"seed": 8}, "seed"),
            ({"mode": "ride"}, "mode"),
            ({"size": world_service_pb2.Size(width=64, height=64)}, "size"),
            ({"image_asset_id": "x"}, "image_asset_id"),
            ({"clip_asset_id": "x"}, "clip_asset_id"),
        ]:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await opened(stub, snapshot_id=snapshot_id, **fields)
            assert (refused.value.code(), violation(refused.value.trailing_metadata())) == (INVALID, field)
        same = {"family": "gradient", "seed": 7, "prompt": "slow=0", "mode": "fly", "size": created.session.size}
        assert (await opened(stub, snapshot_id=snapshot_id, **same))[0].token


async def test_snapshots_are_asked_for_once_and_only_by_their_session():
    async with serving() as (_, stub):
        created = await create(stub)
        request_id = str(uuid.uuid4())
        first, second = await taken(stub, created, request_id), await taken(stub, created, request_id)
        assert first == second
        assert first.snapshot_id != (await taken(stub, created)).snapshot_id
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await opened(stub, snapshot_id="0" * 32)
        trailing = unknown.value.trailing_metadata()
        assert (error_info(trailing).reason, violation(trailing)) == ("SNAPSHOT_NOT_FOUND", "snapshot_id")
        created.token = "x" * 32
        with pytest.raises(grpc.aio.AioRpcError) as stranger:
            await taken(stub, created)
        assert error_info(stranger.value.trailing_metadata()).reason == "SESSION_NOT_FOUND"
