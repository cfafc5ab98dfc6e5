"""Paces: the clock is kept, promised only as far as it can be, and a slow reader slows nobody else."""

import asyncio
import time

import grpc
import numpy as np
import psutil
import pytest
from keepworld.v1 import session_pb2, world_service_pb2

from tests import families
from tests.runtime.serving.client import (
    AS_FAST,
    PAUSE,
    REALTIME,
    Walk,
    create,
    error_info,
    eventually,
    live,
    pixels,
    serving,
    spec,
)


async def test_realtime_keeps_to_the_clock():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub, "slow=0.002"))
        await walk.attach(REALTIME)
        drawn_us = [(await walk.chunk())[0][0].timing.drawn_us for _ in range(5)]
    between_s = np.diff(drawn_us) / 1e6
    assert np.median(between_s[1:]) == pytest.approx(16 / 24, abs=0.1)
    assert sum(between_s) == pytest.approx((13 + 3 * 16) / 24, abs=0.3)  # on a busy machine some are late


async def test_realtime_takes_controls_as_late_as_the_clock_allows():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub, "slow=0.002"))
        await walk.attach(REALTIME)
        await walk.chunk()
        await walk.chunk()
        await asyncio.sleep(0.3)  # hands move in the middle of a chunk that is being shown
        await walk.send(control=live(0.5, 1))
        _, end = await walk.chunk()
    assert end.client_time_us == 1
    assert end.timing.control_us < 0.45e6  # what was left of the 0.667 s, not a chunk more


async def test_a_clock_that_cannot_be_kept_is_not_promised():
    async with serving() as (_, stub):
        slow = await create(stub, "slow=0.06", size=world_service_pb2.Size(width=512, height=288))
        walk = Walk(stub, slow)
        await walk.attach(AS_FAST)
        await walk.chunk()  # measured: 16 frames take a second and last two thirds of one
        await walk.chunk()
        await walk.send(pace=session_pb2.Pace(mode=REALTIME))
        refusal = await walk.until("refusal")
        again = Walk(stub, slow)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await again.attach(REALTIME)
        code, info = refused.value.code(), error_info(refused.value.trailing_metadata())
        await walk.chunk()  # the refused did not take the stream
    assert (refusal.reason, refusal.field) == ("REALTIME_CAPACITY", "pace.mode")
    assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REALTIME_CAPACITY")
    assert float(info.metadata["needed"]) > float(info.metadata["available"]) == 0.95
    assert info.metadata["fitting_sizes"] == "64x48"


async def test_two_busy_sessions_share_the_worker_evenly():
    async with serving() as (_, stub):
        walks = [Walk(stub, await create(stub, "slow=0.003")) for _ in range(2)]
        await asyncio.gather(*(walk.attach() for walk in walks))
        order = []

        async def follow(name: int) -> None:
            for _ in range(8):
                await walks[name].chunk()
                order.append(name)

        await asyncio.gather(*map(follow, range(2)))
    ahead = np.cumsum(np.where(np.array(order) == 0, 1, -1))
    assert np.abs(ahead).max() <= 2  # one chunk apart when drawn; reading may see one more


async def test_eight_sessions_at_once_lose_and_mix_up_nothing():
    async with serving() as (_, stub):
        sessions = [await create(stub, seed=seed) for seed in range(8)]
        walks = [Walk(stub, created) for created in sessions]
        await asyncio.gather(*(walk.attach() for walk in walks))

        async def read(walk: Walk) -> list:
            return [frame for _ in range(6) for frame in (await walk.chunk())[0]]

        for seed, frames in enumerate(await asyncio.gather(*map(read, walks))):
            assert [frame.seq for frame in frames] == list(range(13 + 16 * 5))
            for frame in frames:
                np.testing.assert_array_equal(pixels(frame), families.picture(spec(seed=seed), frame.seq, 0.0, 0))


async def test_a_reader_that_stops_costs_two_chunks_and_holds_up_nobody():
    async with serving() as (server, stub):
        size = world_service_pb2.Size(width=1024, height=576)
        stuck = Walk(stub, await create(stub, size=size))
        other = Walk(stub, await create(stub))
        await stuck.attach()
        await stuck.until("frame")
        session = server.engine.sessions()[0]
        await eventually(lambda: session.outbox.chunks == 2 and session.begun == session.chunks)
        made, held_bytes = session.chunks, psutil.Process().memory_info().rss
        await other.attach()
        for _ in range(30):
            await other.chunk()
        grown_bytes = psutil.Process().memory_info().rss - held_bytes
        assert session.chunks == made
        assert len(session.outbox) <= 2 * 17
        assert grown_bytes < 20 << 20
        frame = await stuck.until("frame")  # and it can go on reading where it stopped
        assert frame.seq == 1


async def test_a_reader_that_stopped_can_be_replaced():
    async with serving() as (server, stub):
        created = await create(stub, size=world_service_pb2.Size(width=1024, height=576))
        stuck, fresh = Walk(stub, created), Walk(stub, created)
        await stuck.attach()
        await stuck.until("frame")
        session = server.engine.sessions()[0]
        await eventually(lambda: session.outbox.chunks == 2 and session.begun == session.chunks)
        attached = await fresh.attach()
        frames = [frame for _ in range(3) for frame in (await fresh.chunk())[0]]
    assert attached.next_seq < 29
    assert [frame.seq for frame in frames] == list(range(attached.next_seq, attached.next_seq + len(frames)))


async def test_many_attachments_leave_nothing_behind():
    async with serving() as (server, stub):
        created = await create(stub)
        counts = []
        for _ in range(3):
            for _ in range(30):
                walk = Walk(stub, created)
                await walk.attach()
                await walk.until("frame")
                walk.call.cancel()
            await eventually(lambda: server.engine.sessions()[0].attachment is None)
            process = psutil.Process()
            counts.append((len(asyncio.all_tasks()), process.num_threads(), process.num_fds()))
    assert np.ptp(np.array(counts[1:]), axis=0).max() <= 3


async def test_who_takes_over_a_paused_session_need_not_acknowledge_what_another_was_sent():
    async with serving() as (server, stub):
        created = await create(stub)
        walk = Walk(stub, created)
        await walk.attach(PAUSE)
        sent = [frame.seq for _ in range(2) for frame in (await walk.chunk())[0]]  # all that comes without an ack
        session = server.engine.sessions()[0]
        await eventually(lambda: len(session.outbox) == 0)
        other = Walk(stub, created)
        await other.attach(PAUSE)
        frames, _ = await other.chunk()
    assert frames[0].seq == sent[-1] + 1


async def test_a_flood_of_controls_is_coalesced():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(PAUSE)
        await walk.chunk()
        await walk.chunk()
        started_s = time.monotonic()
        for i in range(3000):
            await walk.send(control=live(i / 3000, i))
        await walk.send(ack=session_pb2.Ack(seq=12))
        _, end = await walk.chunk()
    assert end.client_time_us == 2999
    assert {control.move.forward for control in end.controls} == {2999 / 3000}
    assert time.monotonic() - started_s < 15


async def test_an_ack_of_what_was_never_sent_acknowledges_nothing_to_come():
    async with serving() as (server, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(PAUSE)
        await walk.send(ack=session_pb2.Ack(seq=2**64 - 1))
        await walk.chunk()
        await walk.chunk()
        await walk.until("heartbeat")
        assert server.engine.sessions()[0].begun <= 3  # what was there when the ack came may count, the rest may not
