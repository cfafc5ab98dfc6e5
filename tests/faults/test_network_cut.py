"""The network breaks again and again: with the last frame it has, a reader goes on as if nothing had been."""

import asyncio

import grpc
import numpy as np
import psutil
import pytest
from keepworld.v1 import frame_pb2, session_pb2, world_service_pb2

from tests.faults.harness import Held, check_walk, until_back_at
from tests.proxy import Proxy
from tests.runtime.serving.client import AS_FAST, Walk, connect, create, script, serving

STEP = 0.25


async def attached(stub, created, last_seq: int | None) -> Walk:
    """A stream that goes on behind a frame, or begins."""
    walk = Walk(stub, created)
    await walk.send(
        attach=session_pb2.Attach(
            session_id=created.session.session_id,
            token=created.token,
            config=session_pb2.StreamConfig(encoding=frame_pb2.IMAGE_ENCODING_RAW_RGB8),
            pace=session_pb2.Pace(mode=AS_FAST, only_scripted=True),
            last_seq=last_seq,
        )
    )
    await walk.until("attached")
    return walk


@pytest.mark.parametrize(
    ("cuts", "seconds"), [(4, 0.0), *(pytest.param(3, s, marks=pytest.mark.slow) for s in (1.0, 10.0, 60.0))]
)
async def test_no_frame_is_lost_doubled_or_different(cuts, seconds):
    rng = np.random.default_rng(cuts)
    total, frames = 13 + 16 * 8 * cuts, []
    process = psutil.Process()
    async with serving() as (server, direct), Proxy(f"127.0.0.1:{server.port}") as proxy:
        created = await create(direct)
        before = None
        while len(frames) < total:
            async with connect(int(proxy.address.rpartition(":")[2])) as stub:
                walk = await attached(stub, created, frames[-1].seq if frames else None)
                if not frames:
                    await walk.send(script=script((STEP, total - 1)))
                is_last = proxy.connections > cuts
                wanted = total - len(frames) if is_last else int(rng.integers(1, 16 * 7))
                frames += [await walk.until("frame") for _ in range(wanted)]
                before = before or Held.by(process)
                if not is_last:
                    await proxy.cut(seconds)
                    with pytest.raises((grpc.aio.AioRpcError, AssertionError, asyncio.TimeoutError)):
                        while True:  # what had arrived before the cut is thrown away with the stream
                            await asyncio.wait_for(walk.read(), 20)
        held = await until_back_at(process, before)
        listed = (await direct.ListSessions(world_service_pb2.ListSessionsRequest())).sessions
    check_walk(frames, total, step=STEP)
    assert len(listed) == 1
    assert held.rss < before.rss + sum(frame.ByteSize() for frame in frames) + (20 << 20)
