"""A real server behind a network that breaks: the walk is the one that an unbroken network would have given."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from keepworld import AsyncClient, AsyncSession, PlannedEvent

from tests.families import HEIGHT, WIDTH
from tests.proxy import Proxy

ROOT = Path(__file__).parents[2]
SIZE = (WIDTH, HEIGHT)


@contextlib.contextmanager
def server(*options: str) -> Iterator[str]:
    """A server process; gives its address. It is killed in the end."""
    command = [sys.executable, "-m", "keepworld_runtime", "--family", "gradient=tests.families", *options]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        [*command, "--exit-with-stdin", "--log-level", "WARNING"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout
        said = json.loads(process.stdout.readline())
        assert json.loads(process.stdout.readline())["ready"]
        yield said["listening"]
        process.kill()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server("--port", "0") as address:
        yield address


@contextlib.asynccontextmanager
async def opened(address: str, **options: object) -> AsyncIterator[AsyncSession]:
    async with (
        AsyncClient(address, deadline_s=5) as client,
        client.sessions.open("meadow", model="gradient", size=SIZE, mode="fly", seed=5, **options) as session,
    ):
        yield session


async def walked(session: AsyncSession, words: str) -> list[np.ndarray]:
    await session.steer(words)
    return [frame.image() for frame in (await session.capture()).frames]


async def test_a_walk_over_a_network_that_is_cut_is_byte_equal_to_one_over_a_whole_one(address: str) -> None:
    words, events = "forward 4s, look left 90deg, forward 4s", [PlannedEvent("rain", at=2.0), (5.0, "rain")]
    async with opened(address, events=events) as session:
        whole = await walked(session, words)

    async def cut(proxy: Proxy) -> None:
        for num_bytes in (5_000, 20_000, 20_000, 60_000):
            await proxy.after(num_bytes).wait()
            await proxy.cut(0.2)

    async with Proxy(address) as proxy, opened(proxy.address, events=events) as session:
        cutting = asyncio.create_task(cut(proxy))
        broken = await walked(session, words)
        cutting.cancel()
        assert proxy.connections > 2
    assert len(broken) == len(whole)
    assert all((one == other).all() for one, other in zip(broken, whole, strict=True))


@pytest.mark.parametrize("seconds", [1.0, *(pytest.param(cut, marks=pytest.mark.slow) for cut in (10.0, 60.0))])
async def test_however_long_a_cut_no_frame_is_lost(address: str, seconds: float) -> None:
    numbers = []
    async with (
        Proxy(address) as proxy,
        AsyncClient(proxy.address, deadline_s=5, resume_s=2 * seconds + 10) as client,
        client.sessions.open("meadow", model="gradient", size=SIZE, mode="fly", seed=5) as session,
    ):
        async for chunk in session.stream(pace="pause"):
            numbers += [frame.number for frame in chunk.frames]
            if chunk.index == 2:
                await proxy.cut(seconds)
            if chunk.index == 6:
                break
    assert numbers == list(range(13 + 6 * 16))


async def test_what_was_undone_never_happened(address: str) -> None:
    async with opened(address) as session:
        await session.steer("forward 2s")
        await session.event("rain")
        await session.steer("look left 90deg")
        undone = len((await session.capture()).frames)
        await session.undo((undone - 61) // 16)
        after = await walked(session, "forward 2s")
    async with opened(address) as session:
        await session.steer("forward 2s")
        plain = await walked(session, "forward 2s")
    assert len(after) == len(plain)
    assert all((one == other).all() for one, other in zip(after, plain, strict=True))


async def test_a_branch_goes_its_own_way_from_where_it_left(address: str) -> None:
    async with opened(address) as session:
        await session.steer("forward 2s")
        async with await session.branch() as branch:
            assert branch.id != session.id
            there = await branch.steer("look left 45deg, forward 2s")
            here = await session.steer("look left 45deg, forward 2s")
            assert there.first_frame == here.first_frame
            mine, theirs = await session.capture(), await branch.capture()
            for frame in theirs.frames:
                own = next(each for each in mine.frames if each.number == frame.number)
                assert (own.image() == frame.image()).all()
                np.testing.assert_array_equal(own.camera.c2w, frame.camera.c2w)


async def test_snapshots_have_names_are_listed_and_can_be_dropped(address: str) -> None:
    async with AsyncClient(address) as client, opened(address) as session:
        await session.steer("forward 1s")
        kept = await session.snapshot("before the storm")
        listed = next(each for each in await client.snapshots() if each.id == kept.id)
        assert (listed.name, listed.chunks, listed.seed) == ("before the storm", kept.chunks, 5)
        async with client.sessions.open(snapshot=listed) as again:
            assert (await anext(again.stream(pace="fast"))).index == kept.chunks
        async with client.sessions.open(snapshot=kept.id) as again:
            assert (await anext(again.stream(pace="fast"))).index == kept.chunks
        await client.delete_snapshot(listed)
        assert kept.id not in [each.id for each in await client.snapshots()]


async def test_a_timeline_can_be_changed_while_it_runs(address: str) -> None:
    events = [PlannedEvent("rain", chunk=3), PlannedEvent("rain", chunk=5, ramp=1.0, duration=2.0)]
    async with opened(address, events=events) as session:
        await anext(session.stream(pace="pause"))
        first, second = await session.waiting_events()
        assert (first.chunk, second.chunk, second.ramp, second.duration) == (3, 5, 1.0, 2.0)
        assert (await session.cancel_event(first)).applies_to_chunk == 3
        receipt = await session.event("rain", chunk=4)
        assert [each.chunk for each in await session.waiting_events()] == [4, 5]
        await session.cancel_event(receipt)
        seen = {}
        async for chunk in session.stream(pace="fast"):
            seen[chunk.index] = [each.text for each in chunk.events]
            if chunk.index == 6:
                break
    assert [index for index, texts in seen.items() if texts] == [5]


async def test_a_ticket_takes_up_the_walk_of_a_program_that_has_gone(address: str) -> None:
    async with opened(address) as session:
        walk = await session.steer("forward 2s")
        async with AsyncClient(address) as other, other.sessions.resume(session.ticket, after=20) as again:
            chunk = await anext(again.stream("forward 1s", pace="fast"))
            assert [frame.number for frame in chunk.frames] == list(range(13, 29))
            assert (await again.steer("forward 1s")).first_frame > walk.last_frame


async def test_a_killed_server_that_is_started_again_goes_on_with_the_walk(tmp_path: Path) -> None:
    words = "forward 4s, look left 90deg, forward 6s"
    with server("--port", "0", "--journal", str(tmp_path / "a")) as address:
        async with opened(address) as session:
            whole = await walked(session, words)
    with contextlib.ExitStack() as servers:
        first = servers.enter_context(contextlib.ExitStack())
        address = first.enter_context(server("--port", "0", "--journal", str(tmp_path / "b")))
        port = address.rpartition(":")[2]
        async with Proxy(address) as proxy, opened(proxy.address) as session:
            passed = proxy.after(60_000)
            walking = asyncio.create_task(walked(session, words))
            await passed.wait()
            await asyncio.to_thread(first.close)
            await asyncio.to_thread(servers.enter_context, server("--port", port, "--journal", str(tmp_path / "b")))
            broken = await walking
    assert len(broken) == len(whole)
    assert all((one == other).all() for one, other in zip(broken, whole, strict=True))
