"""Workers that die, hang or raise: the walk goes on, byte for byte, or ends with a reason."""

import asyncio
import os
import signal

import grpc
import numpy as np
import pytest
from keepworld.v1 import session_pb2, world_service_pb2
from keepworld_runtime.engine.group import Patience
from keepworld_runtime.families.family import FamilyOptions

from tests import families
from tests.runtime.serving.client import Walk, create, eventually, pixels, script, serving, spec


async def _walk(walk: Walk, num_chunks: int) -> list:
    return [frame for _ in range(num_chunks) for frame in (await walk.chunk())[0]]


def _is_uninterrupted(frames: list, num_chunks: int, walked: float = 0.0) -> bool:
    assert [frame.seq for frame in frames] == list(range(13 + 16 * (num_chunks - 1)))
    for frame in frames:
        np.testing.assert_array_equal(pixels(frame), families.picture(spec(), frame.seq, walked * frame.seq, 0))
    return True


@pytest.mark.parametrize(("chunk", "at"), [(0, 0), (0, 12), (2, 0), (2, 7), (2, 15)])
async def test_a_worker_killed_mid_chunk_costs_no_frame(tmp_path, chunk, at):
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub, f"crash={chunk} at={at} once={tmp_path}/done"))
        await walk.attach()
        frames = await _walk(walk, 5)
    assert _is_uninterrupted(frames, 5)
    assert walk.notices() == [session_pb2.NOTICE_KIND_WORKER_RESTARTED]


async def test_a_world_that_walked_goes_on_where_it_was(tmp_path):
    async with serving() as (server, stub):
        walk = Walk(stub, await create(stub, "slow=0.005"))
        await walk.attach(only_scripted=True)
        await walk.send(script=script((0.25, 12 + 16 * 7)))
        frames = []
        for _ in range(4):  # killed from outside, wherever it happens to be
            frames += await _walk(walk, 1)
            os.kill(server.group.pids[0], signal.SIGKILL)
            frames += await _walk(walk, 1)
    assert _is_uninterrupted(frames, 8, walked=0.25)


async def test_sessions_beside_the_one_that_crashes_go_on(tmp_path):
    async with serving() as (_, stub):
        crashing = Walk(stub, await create(stub, f"crash=2 at=3 once={tmp_path}/done"))
        calm = Walk(stub, await create(stub, "slow=0.002"))
        await asyncio.gather(crashing.attach(), calm.attach())
        both = await asyncio.gather(_walk(crashing, 6), _walk(calm, 6))
    assert all(_is_uninterrupted(frames, 6) for frames in both)


async def test_a_chunk_that_hangs_is_made_again(tmp_path):
    async with serving(chunk_floor_s=0.5) as (_, stub):
        walk = Walk(stub, await create(stub, f"hang=1 at=5 once={tmp_path}/done"))
        await walk.attach()
        frames = await _walk(walk, 3)
    assert _is_uninterrupted(frames, 3)
    assert walk.notices() == [session_pb2.NOTICE_KIND_WORKER_RESTARTED]


async def test_a_worker_that_falls_silent_is_replaced():
    async with serving(patience=Patience(silence_s=1.0)) as (server, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach()
        frames = await _walk(walk, 1)
        os.kill(server.group.pids[0], signal.SIGSTOP)
        frames += await _walk(walk, 5)
    assert _is_uninterrupted(frames, 6)


@pytest.mark.parametrize("how", ["crash", "raise"])
async def test_a_chunk_that_fails_again_and_again_ends_its_session_and_no_other(how):
    async with serving() as (_, stub):
        created = await create(stub, f"{how}=1 at=4")
        doomed, calm = Walk(stub, created), Walk(stub, await create(stub))
        await asyncio.gather(doomed.attach(), calm.attach())
        code, info = await doomed.status()
        assert (code, info.reason) == (grpc.StatusCode.INTERNAL, "WORKER_FAILED")
        assert "secret" not in await doomed.call.details()
        again = Walk(stub, created)
        with pytest.raises(grpc.aio.AioRpcError, match="could not be brought back"):
            await again.attach()
        assert _is_uninterrupted(await _walk(calm, 5), 5)
        listed = (await stub.ListSessions(world_service_pb2.ListSessionsRequest())).sessions
    assert created.session.session_id not in [session.session_id for session in listed]


async def test_a_broken_chunk_ends_its_session_after_all_that_was_made_and_no_other(tmp_path):
    async with serving() as (server, stub):
        created = await create(stub, "break=2 at=4")
        doomed, calm = Walk(stub, created), Walk(stub, await create(stub))
        await asyncio.gather(doomed.attach(), calm.attach())
        frames = await _walk(doomed, 2)
        assert _is_uninterrupted(frames, 2)
        begun = [(await doomed.until("frame")).seq for _ in range(4)]
        code, info = await doomed.status()
        assert begun == [29, 30, 31, 32]
        assert (code, info.reason, info.metadata["chunk"]) == (grpc.StatusCode.INTERNAL, "CHUNK_BROKEN", "2")
        assert "chunk 2" in await doomed.call.details()
        assert "secret" not in await doomed.call.details()
        assert server.group.generation == 1  # nothing was tried again
        with pytest.raises(grpc.aio.AioRpcError, match="chunk 2"):
            await Walk(stub, created).attach()
        assert _is_uninterrupted(await _walk(calm, 5), 5)


async def test_an_event_that_waits_is_prepared_again_by_a_new_worker(tmp_path):
    prepared = tmp_path / "prepared"
    async with serving() as (server, stub):
        walk = Walk(stub, await create(stub, f"prepared={prepared}"))
        await walk.attach(only_scripted=True)
        await walk.send(script=script((0.0, 12)))
        await walk.chunk()
        await walk.send(event={"request_id": "e", "text": "rain", "chunk": 2})
        await walk.until("receipt")
        await eventually(prepared.exists)
        os.kill(server.group.pids[0], signal.SIGKILL)
        await walk.send(script=script((0.0, 32)))
        await _walk(walk, 1)
        await eventually(lambda: prepared.read_text().splitlines() == ["rain", "rain"])
        frames, end = await walk.chunk()
    assert [event.text for event in end.events] == ["rain"]
    np.testing.assert_array_equal(pixels(frames[0]), families.picture(spec(), 29, 0.0, 1))


async def test_a_family_too_slow_to_warm_up_is_served_all_the_same(tmp_path):
    options = FamilyOptions(memory=f"hang=0 once={tmp_path}/done")
    async with serving(options=options, patience=Patience(warm_s=0.3)) as (server, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach()
        assert _is_uninterrupted(await _walk(walk, 2), 2)
    assert server.group.generation == 2


async def test_ranks_of_which_one_dies_go_on_together():
    async with serving(ranks=2) as (server, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        await walk.send(script=script((0.25, 12)))
        frames = await _walk(walk, 1)
        os.kill(server.group.pids[1], signal.SIGKILL)
        await walk.send(script=script((0.25, 32)))
        frames += await _walk(walk, 2)
    assert [frame.seq for frame in frames] == list(range(45))
    for frame in frames:
        wanted = families.picture(spec(), frame.seq, 0.25 * frame.seq, 0)
        wanted[..., 1] = 20  # two ranks, and this is the first
        np.testing.assert_array_equal(pixels(frame), wanted)
    assert session_pb2.NOTICE_KIND_WORKER_RESTARTED in walk.notices()
