"""Tenants share the worker, however many sessions each has."""

import asyncio
from contextlib import AsyncExitStack

from tests.runtime.serving.callers import Keys, calling, guarded
from tests.runtime.serving.client import Walk, create

GREEDY = 6  # sessions


async def test_a_tenant_with_one_session_has_its_share_beside_one_with_many(tmp_path):
    keys = Keys(tmp_path)
    async with guarded(tmp_path, keys) as server, AsyncExitStack() as stack:
        walks: list[Walk] = []
        for tenant in ("rival",) + ("acme",) * GREEDY:
            caller = await stack.enter_async_context(calling(server, keys.shown[tenant]))
            walks.append(Walk(caller.worlds, await create(caller.worlds, "slow=0.003")))
        for walk in walks:
            await walk.attach()
            await walk.chunk()

        async def read(walk: Walk) -> None:
            while True:
                await walk.chunk()

        readers = [asyncio.create_task(read(walk)) for walk in walks[1:]]
        before = [session.chunks for session in server.engine.sessions()]
        for _ in range(20):
            await walks[0].chunk()
        made = [session.chunks - first for session, first in zip(server.engine.sessions(), before, strict=True)]
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    assert made[0] >= 0.8 * sum(made) / 2
    assert max(made[1:]) - min(made[1:]) <= 2
