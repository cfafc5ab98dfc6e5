"""Readers that are slow or stop: they cost two chunks of memory, and nobody else anything."""

from keepworld.v1 import frame_pb2, world_service_pb2

from tests.faults.harness import Held, check_walk, server_process, until_back_at
from tests.runtime.serving.client import Walk, connect, create

SIZE = world_service_pb2.Size(width=1024, height=576)
FRAME_BYTES = 1024 * 576 * (3 + 4 + 1)  # as it is drawn: colour, depth, labels
CHUNK_BYTES = 16 * FRAME_BYTES


async def _stopped(stub, created):
    """A walk that was read for a while, so that everything is warm, and then no more."""
    walk = Walk(stub, created)
    await walk.attach(encoding=frame_pb2.IMAGE_ENCODING_JPEG)
    for _ in range(3):
        await walk.chunk()
    return walk


async def _come_and_gone(stub):
    created = await create(stub, size=SIZE)
    stopped = await _stopped(stub, created)
    stopped.call.cancel()
    closing = world_service_pb2.CloseSessionRequest(session_id=created.session.session_id, token=created.token)
    await stub.CloseSession(closing)


async def test_a_reader_that_stops_costs_two_chunks():
    async with server_process() as (port, server), connect(port) as stub, connect(port) as beside:
        other = Walk(beside, await create(beside))
        await other.attach()
        frames = [frame for _ in range(10) for frame in (await other.chunk())[0]]
        await _come_and_gone(stub)
        before = Held.by(server)
        stopped = await _stopped(stub, await create(stub, size=SIZE))
        for _ in range(100):
            frames += (await other.chunk())[0]
        grown = Held.by(server).rss - before.rss
        check_walk(frames, 13 + 16 * 109)
        late = [frame.seq for _ in range(4) for frame in (await stopped.chunk())[0]]
    assert late == list(range(45, 45 + 64))
    assert grown < 2 * CHUNK_BYTES + (16 << 20)


async def test_a_slow_reader_misses_nothing_and_slows_nobody():
    async with server_process() as (port, _), connect(port) as stub, connect(port) as beside:
        slow, other = Walk(stub, await create(stub, seed=3)), Walk(beside, await create(beside))
        await slow.attach()
        await other.attach()
        slowly, frames = [], []
        for _ in range(40):  # one frame to every chunk of the other
            slowly.append(await slow.until("frame"))
            frames += (await other.chunk())[0]
    check_walk(slowly, 40, seed=3)
    check_walk(frames, 13 + 16 * 39)


async def test_readers_that_stop_and_go_leave_nothing_behind():
    async with server_process() as (port, server):
        helds = []
        for _ in range(6):
            async with connect(port) as stub:
                await _come_and_gone(stub)
            helds.append(await until_back_at(server, helds[0]) if helds else Held.by(server))
    rss = [held.rss for held in helds]
    assert max(rss[3:]) < max(rss[:3]) + CHUNK_BYTES  # what was used is used again
