"""A walk that goes on and on: the hour is by hand (`tests.faults.soak`), a minute of it is here."""

import pytest

from tests.faults.harness import Held, server_process, until_back_at
from tests.faults.soak import soak

SESSIONS = 2


@pytest.mark.parametrize("chunks", [60, pytest.param(5200, marks=pytest.mark.slow)])
async def test_memory_and_all_else_stay_where_they_were(tmp_path, chunks):
    async with server_process("--journal", str(tmp_path / "journal")) as (port, server):
        await soak(port, server, sessions=SESSIONS, chunks=20, pace="fast")
        before = Held.by(server)
        found = await soak(port, server, sessions=SESSIONS, chunks=chunks, pace="fast")
        held = await until_back_at(server, before)
    assert found.frames == SESSIONS * (13 + 16 * (chunks - 1))  # each compared with what it must show
    assert held.rss < before.rss + (8 << 20)
    half, last = found.samples[len(found.samples) // 2].rss, found.samples[-1].rss
    assert all(after < early + (8 << 20) for early, after in zip(half, last, strict=True))
    if chunks > 5000:
        early, late = found.per_chunk(150), found.per_chunk(5000)
        assert late["writes"] <= 1.1 * early["writes"]
        assert late["written"] <= 1.1 * early["written"]
