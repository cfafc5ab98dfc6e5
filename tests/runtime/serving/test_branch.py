"""What is undone was never done; what branches off shares what came before; nothing of it is lost."""

import uuid

import grpc
import pytest
from keepworld.v1 import world_service_pb2

from tests.runtime.serving.client import serving
from tests.runtime.serving.walks import DIORAMA, GRADIENT, attached, chunk, first_chunk, named, opened, refused

Rewind = world_service_pb2.RewindSessionRequest
Branch = world_service_pb2.BranchSessionRequest
WORLDS = pytest.mark.parametrize(
    ("world", "module"), [(GRADIENT, "gradient=tests.families"), (DIORAMA, "diorama")], ids=["gradient", "diorama"]
)


async def lines(stub, created) -> list[tuple[int, int, int, int]]:
    answer = await stub.GetSession(world_service_pb2.GetSessionRequest(**named(created)))
    assert answer.session.line in {line.line for line in answer.lines}
    return [(line.line, line.chunks, line.parent, line.shared_chunks) for line in answer.lines]


@WORLDS
async def test_what_is_undone_was_never_done(world, module):
    async with serving(families=(module,)) as (_, stub):
        created = await opened(stub, **world)
        walk = await attached(stub, created)
        done = [await first_chunk(walk, 0.5), await chunk(walk, 0.25)]
        undone = [await chunk(walk, 1.0, event="snow"), await chunk(walk, 0.75)]
        session = (await stub.RewindSession(Rewind(**named(created), chunks=2))).session
        assert (session.chunks, session.frames, session.line) == (2, 29, 2)
        assert (await walk.status())[1].reason == "SESSION_REWOUND"
        walk = await attached(stub, created)
        assert (walk.attached.line, walk.attached.next_seq, walk.attached.next_chunk) == (2, 29, 2)
        after = [await chunk(walk, 0.25), await chunk(walk, 0.0, event="rain")]

        never = await attached(stub, await opened(stub, **world))
        assert [await first_chunk(never, 0.5), await chunk(never, 0.25)] == done
        assert [await chunk(never, 0.25), await chunk(never, 0.0, event="rain")] == after

        assert await lines(stub, created) == [(1, 4, 0, 0), (2, 4, 1, 2)]
        await stub.RewindSession(Rewind(**named(created), line=1, chunks=3))  # what was undone can be gone back to
        walk = await attached(stub, created)
        assert walk.attached.line == 3
        assert await chunk(walk, 0.75) == undone[1]


@WORLDS
async def test_a_branch_goes_on_as_its_parent_does_and_leaves_it_alone(world, module):
    async with serving(families=(module,)) as (_, stub):
        created = await opened(stub, **world)
        walk = await attached(stub, created)
        walked = [await first_chunk(walk, 0.5), *[await chunk(walk, 0.25) for _ in range(3)]]
        branch = await stub.BranchSession(Branch(**named(created), chunks=2))
        assert (branch.session.chunks, branch.session.frames) == (2, 29)
        assert branch.session.session_id != created.session.session_id
        other = await attached(stub, branch)
        assert await chunk(other, 0.25) == walked[2]
        elsewhere = await chunk(other, 1.0, event="snow")
        assert elsewhere != walked[3]
        assert (await stub.BranchSession(Branch(**named(created)))).session.chunks == 4
        branched_again = await attached(stub, await stub.BranchSession(Branch(**named(branch), chunks=3)))
        await stub.CloseSession(world_service_pb2.CloseSessionRequest(**named(created)))
        assert await chunk(branched_again, 0.25) == walked[3]  # though who made its chunks is closed


async def test_what_is_on_the_way_is_undone_too():
    async with serving() as (_, stub):
        created = await opened(stub, **GRADIENT, prompt="slow=0.01")
        walk = await attached(stub, created)
        await first_chunk(walk, 0.5)
        for forward in (1.0, 1.0, 1.0):
            await walk.send(
                script={"request_id": "s", "steps": [{"control": {"move": {"forward": forward}}, "frames": 16}]}
            )
        await walk.until("frame")  # the next chunk is in the making, two more wait
        await stub.RewindSession(Rewind(**named(created), chunks=1))
        walk = await attached(stub, created)
        assert (walk.attached.next_seq, walk.attached.queued_frames) == (13, 0)
        after = await chunk(walk, 0.25)
        never = await attached(stub, await opened(stub, **GRADIENT, prompt="slow=0.01"))
        await first_chunk(never, 0.5)
        assert await chunk(never, 0.25) == after


async def test_events_of_the_timeline_wait_again_and_others_do_not():
    events = [{"request_id": f"at {at}", "text": "rain", "chunk": at} for at in (1, 3)]
    async with serving() as (_, stub):
        created = await opened(stub, **GRADIENT, events=events)
        walk = await attached(stub, created)
        walked = [await first_chunk(walk, 0.5), await chunk(walk, 0.5, event="snow")]
        assert [event.request_id for event in walked[1][-1].events] == ["at 1", "e"]
        await stub.RewindSession(Rewind(**named(created), chunks=0))
        listed = await stub.ListEvents(world_service_pb2.ListEventsRequest(**named(created)))
        assert [(each.event.request_id, each.chunk) for each in listed.events] == [("at 1", 1), ("at 3", 3)]
        walk = await attached(stub, created)
        again = [await first_chunk(walk, 0.5), await chunk(walk, 0.5)]
        assert again[0] == walked[0]
        assert [event.request_id for event in again[1][-1].events] == ["at 1"]
        branch = await stub.BranchSession(Branch(**named(created), chunks=1))
        listed = await stub.ListEvents(world_service_pb2.ListEventsRequest(**named(branch)))
        assert [each.event.request_id for each in listed.events] == ["at 1", "at 3"]


async def test_what_was_never_made_cannot_be_gone_back_to():
    async with serving() as (_, stub):
        created = await opened(stub, **GRADIENT)
        walk = await attached(stub, created)
        await first_chunk(walk, 0.5)
        for call in (
            stub.RewindSession(Rewind(**named(created), chunks=2)),
            stub.RewindSession(Rewind(**named(created), chunks=0, line=2)),
            stub.BranchSession(Branch(**named(created), chunks=2)),
            stub.BranchSession(Branch(**named(created), line=7)),
        ):
            assert await refused(call) == "CHUNK_NOT_MADE"
        assert (await chunk(walk, 0.5))[-1].chunk == 1  # and the walk goes on
        await stub.CloseSession(world_service_pb2.CloseSessionRequest(**named(created)))
        for call in (stub.RewindSession(Rewind(**named(created))), stub.BranchSession(Branch(**named(created)))):
            assert await refused(call) == "SESSION_CLOSED"


async def test_the_same_request_goes_back_once():
    request_id = str(uuid.uuid4())
    async with serving() as (_, stub):
        created = await opened(stub, **GRADIENT)
        walk = await attached(stub, created)
        await first_chunk(walk, 0.5)
        for _ in range(2):
            await stub.RewindSession(Rewind(**named(created), chunks=0, request_id=request_id))
        assert len(await lines(stub, created)) == 2
        branches = [await stub.BranchSession(Branch(**named(created), request_id=request_id)) for _ in range(2)]
        assert branches[0] == branches[1]
        assert await refused(stub.BranchSession(Branch(**named(created), line=1, request_id=request_id)))


async def test_a_broken_chunk_can_be_gone_round_by_a_branch():
    async with serving() as (_, stub):
        created = await opened(stub, **GRADIENT, prompt="break=2")
        walk = await attached(stub, created)
        await first_chunk(walk, 0.5)
        whole = await chunk(walk, 0.5)
        await walk.send(script={"steps": [{"frames": 16}]})
        assert (await walk.status())[1].reason == "CHUNK_BROKEN"
        other = await attached(stub, await stub.BranchSession(Branch(**named(created), chunks=1)))
        assert await chunk(other, 0.5) == whole


async def test_a_strangers_session_cannot_be_touched():
    async with serving() as (_, stub):
        created = await opened(stub, **GRADIENT)
        created.token = "x" * 32
        for call in (
            stub.RewindSession(Rewind(**named(created))),
            stub.BranchSession(Branch(**named(created))),
            stub.ListEvents(world_service_pb2.ListEventsRequest(**named(created))),
        ):
            assert await refused(call) == "SESSION_NOT_FOUND"


async def test_named_snapshots_are_listed_and_deleted():
    async with serving() as (_, stub):
        created = await opened(stub, **GRADIENT)
        walk = await attached(stub, created)
        await first_chunk(walk, 0.5)
        made = [
            (await stub.CreateSnapshot(world_service_pb2.CreateSnapshotRequest(**named(created), name=name))).snapshot
            for name in ("gate", "tower")
        ]
        listed = (await stub.ListSnapshots(world_service_pb2.ListSnapshotsRequest())).snapshots
        assert [*listed] == made[::-1]
        assert (made[0].name, made[0].family, made[0].seed, made[0].chunks, made[0].frames) == (
            "gate",
            "gradient",
            7,
            1,
            13,
        )
        delete = world_service_pb2.DeleteSnapshotRequest(snapshot_id=made[0].snapshot_id)
        await stub.DeleteSnapshot(delete)
        assert await refused(stub.DeleteSnapshot(delete)) == "SNAPSHOT_NOT_FOUND"
        assert [*(await stub.ListSnapshots(world_service_pb2.ListSnapshotsRequest())).snapshots] == made[1:]
        long = world_service_pb2.CreateSnapshotRequest(**named(created), name="x" * 65)
        with pytest.raises(grpc.aio.AioRpcError, match="64 characters"):
            await stub.CreateSnapshot(long)
