"""The wall clock jumps: nobody's lease ends, and no frame is late for it."""

import time

import pytest
from keepworld.v1 import world_service_pb2

from tests.faults.harness import check_walk
from tests.runtime.serving.client import REALTIME, Walk, create, serving

YEAR_S = 365 * 24 * 3600.0


@pytest.mark.parametrize("jump_s", [YEAR_S, -YEAR_S])
async def test_a_jump_of_a_year_ends_no_session_and_costs_no_frame(monkeypatch, jump_s):
    async with serving(idle_s=30.0) as (_, stub):
        walk, waiting = Walk(stub, await create(stub)), await create(stub, seed=3)
        await walk.attach(REALTIME)
        frames = (await walk.chunk())[0]
        true_time = time.time
        monkeypatch.setattr(time, "time", lambda: true_time() + jump_s)
        monkeypatch.setattr(time, "time_ns", lambda: int((true_time() + jump_s) * 1e9))
        for _ in range(3):
            frames += (await walk.chunk())[0]
        listed = (await stub.ListSessions(world_service_pb2.ListSessionsRequest())).sessions
        resumed = Walk(stub, waiting)
        await resumed.attach()
        others = [frame for _ in range(2) for frame in (await resumed.chunk())[0]]
    assert len(listed) == 2
    check_walk(frames, 13 + 16 * 3)
    check_walk(others, 29, seed=3)
