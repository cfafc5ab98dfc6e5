"""Sessions opened and dropped by the thousand leave nothing behind."""

import asyncio

import numpy as np
import pytest
from keepworld.v1 import world_service_pb2

from tests.faults.harness import Held, check_walk, server_process, until_back_at
from tests.runtime.serving.client import Walk, connect, create

WARM = 20


async def _cycle(port: int, stage: int) -> None:
    """Open a session, drop it at one of several stages, close it."""
    async with connect(port) as stub:
        created = await create(stub)
        walk = Walk(stub, created)
        if stage > 0:
            await walk.attach()
        if stage > 1:
            await walk.until("frame")
        if stage > 2:
            await walk.chunk()
        walk.call.cancel()
        closing = world_service_pb2.CloseSessionRequest(session_id=created.session.session_id, token=created.token)
        await stub.CloseSession(closing)


@pytest.mark.parametrize("cycles", [50, pytest.param(5000, marks=pytest.mark.slow)])
async def test_open_and_cancel_leaves_nothing_behind(cycles):
    rng = np.random.default_rng(0)
    async with server_process() as (port, server):
        for cycle in range(WARM):
            await _cycle(port, cycle % 4)
        before = Held.by(server)
        for _ in range(cycles // 5):
            await asyncio.gather(*(_cycle(port, int(stage)) for stage in rng.integers(0, 4, 5)))
        held = await until_back_at(server, before)
        async with connect(port) as stub:
            listed = (await stub.ListSessions(world_service_pb2.ListSessionsRequest())).sessions
            walk = Walk(stub, await create(stub))
            await walk.attach()
            check_walk([frame for _ in range(3) for frame in (await walk.chunk())[0]], 45)
    assert not listed
    assert held.rss < before.rss + (10 << 20)
