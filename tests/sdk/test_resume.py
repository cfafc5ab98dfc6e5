"""A broken stream is taken up again: no frame is lost, none comes twice or out of order, and nothing is silent for ever."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from keepworld import AsyncClient, AsyncSession, SessionLostError
from keepworld.errors import FencedError, InvalidRequestError, NotFoundError, ServerError, StreamStalledError
from keepworld.patience import LONGEST_PAUSE_S, Patience, pause_s
from keepworld.v1 import session_pb2, status_pb2

from tests.proxy import Proxy
from tests.sdk.scripted_server import (
    CHUNK,
    SIZE,
    Request,
    Response,
    ScriptedWorld,
    chunk_end,
    details,
    first_frame_of,
    frame,
    serving,
)


@pytest.fixture
def world() -> ScriptedWorld:
    return ScriptedWorld()


@pytest.fixture
async def proxy(world: ScriptedWorld) -> AsyncIterator[Proxy]:
    async with serving(world) as address, Proxy(address) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def opened(proxy: Proxy, *, resume_s: float = 30, **options: object) -> AsyncIterator[AsyncSession]:
    async with (
        AsyncClient(proxy.address, deadline_s=3, resume_s=resume_s) as client,
        client.sessions.open("meadow", size=SIZE, seed=3, **options) as session,
    ):
        yield session


def breaking(world: ScriptedWorld, after: int, *, times: int = 1) -> None:
    """Have the server drop the stream after so many messages, so many times."""
    left = times

    async def stream(requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        nonlocal left
        sent, lasts = 0, left > 0
        left -= 1
        async for response in world.walk(requests):
            yield response
            sent += 1
            if lasts and sent == after:
                return

    world.stream = stream


# What a reader sees


@pytest.mark.parametrize("after", [1, 2, 13, 14, 15, 16, 29, 31, 32, 40])
async def test_wherever_a_stream_breaks_whole_chunks_come_once_and_in_order(
    proxy: Proxy, world: ScriptedWorld, after: int
) -> None:
    breaking(world, after)
    numbers = []
    async with opened(proxy) as session:
        async for chunk in session.stream(pace="fast"):
            numbers += [item.number for item in chunk.frames]
            if chunk.index == 4:
                break
    assert numbers == list(range(first_frame_of(5)))
    assert world.attached == 2


async def test_single_frames_come_once_and_in_order_too(proxy: Proxy, world: ScriptedWorld) -> None:
    breaking(world, 7, times=6)
    numbers = []
    async with opened(proxy) as session:
        async for item in session.frames(pace="fast"):
            numbers.append(item.number)
            if len(numbers) == 5:
                world.stream = None
            if item.number == 60:
                break
    assert numbers == list(range(61))


async def test_a_network_that_is_cut_again_and_again_is_invisible(proxy: Proxy, world: ScriptedWorld) -> None:
    numbers = []

    async def cut() -> None:
        for num_bytes in (50_000, 300_000, 500_000):
            await proxy.after(num_bytes).wait()
            await proxy.cut(0.2)

    async with opened(proxy) as session:
        cutting = asyncio.create_task(cut())
        async for chunk in session.stream(pace="pause"):
            for item in chunk.frames:
                numbers.append(item.number)
                assert (item.image == item.number % 256).all()
            if cutting.done() and len(numbers) > 200:
                break
        await cutting
    assert numbers == list(range(len(numbers)))
    assert proxy.connections >= 4


async def test_what_is_asked_for_is_what_is_behind_the_last_whole_chunk(proxy: Proxy, world: ScriptedWorld) -> None:
    breaking(world, 1 + 13 + 1 + 5)  # attached, chunk 0 and its end, five frames
    async with opened(proxy) as session:
        async for chunk in session.stream(pace="fast"):
            if chunk.index == 1:
                break
    first, second = world.attaches
    assert not first.HasField("last_seq")
    assert (second.last_seq, second.line) == (12, 1)


async def test_before_the_first_whole_chunk_everything_is_asked_for(proxy: Proxy, world: ScriptedWorld) -> None:
    breaking(world, 6)
    async with opened(proxy) as session:
        await anext(session.stream(pace="fast"))
    assert world.attaches[1].last_seq == 2**64 - 1


async def test_a_capture_being_recorded_does_not_notice(
    proxy: Proxy, world: ScriptedWorld, tmp_path_factory: pytest.TempPathFactory
) -> None:
    breaking(world, 22, times=3)
    folder = tmp_path_factory.mktemp("out") / "walk"
    async with opened(proxy, record=folder) as session:
        walk = await session.steer("forward 4s")
        capture = await session.capture()
    assert [item.number for item in capture.frames] == list(range(walk.last_frame + 1))
    assert all((item.image() == item.number % 256).all() for item in capture.frames)
    assert world.queued == [96]


async def test_a_server_that_has_forgotten_the_script_is_told_the_rest_of_it(
    proxy: Proxy, world: ScriptedWorld
) -> None:
    async def forgetting(requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        async for response in world.walk(requests):
            yield response
            if response.WhichOneof("message") == "chunk_end":
                world.waiting, world.stream = 0, None
                return

    world.stream = forgetting
    async with opened(proxy) as session:
        walk = await session.steer("forward 4s")
    # One frame shows where the world begins, twelve were walked in chunk 0, and chunk 1 was begun before the end.
    assert world.queued[0] == 96
    assert sum(world.queued[1:]) == 96 - 12
    assert walk.last_frame + 1 >= 97
    assert walk.chunks == world.made


async def test_an_answer_that_was_lost_does_not_queue_a_walk_twice(proxy: Proxy, world: ScriptedWorld) -> None:
    async def mute(requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        async for response in world.walk(requests):
            if response.WhichOneof("message") == "receipt":
                world.stream = None
                return
            yield response

    world.stream = mute
    async with opened(proxy) as session:
        walk = await session.steer("forward 4s")
    assert world.queued == [96]
    assert (walk.first_frame, walk.chunks) == (0, world.made)


async def test_an_event_whose_answer_was_lost_happens_once(proxy: Proxy, world: ScriptedWorld) -> None:
    async def mute(requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        async for response in world.walk(requests):
            if response.WhichOneof("message") == "receipt":
                world.stream = None
                return
            yield response

    world.stream = mute
    async with opened(proxy) as session:
        receipt = await session.event("rain", chunk=7)
    assert [item.text for item in world.events] == ["rain"]
    assert (receipt.id, receipt.applies_to_chunk) == (world.events[0].request_id, 7)


# When it ends


async def test_silence_is_a_break_within_three_seconds_and_its_reason_is_kept(
    proxy: Proxy, world: ScriptedWorld
) -> None:
    async def silent(requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        yield Response(attached=session_pb2.Attached(epoch=1, heartbeat_s=0.1, line=1))
        await asyncio.Event().wait()

    world.stream = silent
    async with opened(proxy, resume_s=0) as session:
        started = time.monotonic()
        with pytest.raises(SessionLostError) as lost:
            await anext(session.stream())
        assert 2.5 < time.monotonic() - started < 5
    assert isinstance(lost.value.__cause__, StreamStalledError)


async def test_a_cable_that_was_pulled_and_put_back_is_invisible(proxy: Proxy, world: ScriptedWorld) -> None:
    async with opened(proxy) as session:
        stream = session.stream(pace="pause")
        assert (await anext(stream)).index == 0
        proxy.stall()
        waiting = asyncio.create_task(anext(stream))
        while (chunk := waiting.done() and waiting.result()) and chunk.index < 4:  # what had come before
            waiting = asyncio.create_task(anext(stream))
        asyncio.get_running_loop().call_later(3.5, proxy.heal)
        seen = [(await waiting).index]
        while seen[-1] < 9:
            seen.append((await anext(stream)).index)
        await stream.aclose()
    assert seen == list(range(seen[0], 10))


async def test_a_heartbeat_is_no_silence(proxy: Proxy, world: ScriptedWorld) -> None:
    async def slow(requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        yield Response(attached=session_pb2.Attached(epoch=1, heartbeat_s=0.5, line=1))
        for _ in range(8):
            await asyncio.sleep(0.5)
            yield Response(heartbeat=session_pb2.Heartbeat())
        for index in range(13):
            yield Response(frame=frame(index, 0, index))
        yield Response(chunk_end=chunk_end(0))

    world.stream = slow
    async with opened(proxy, resume_s=0) as session:
        assert (await anext(session.stream())).index == 0


async def test_a_server_that_does_not_come_back_is_said_in_time(proxy: Proxy, world: ScriptedWorld) -> None:
    async with opened(proxy, resume_s=1) as session:
        stream = session.stream(pace="pause")
        await anext(stream)
        cutting = asyncio.create_task(proxy.cut(60))
        started = time.monotonic()
        with pytest.raises(SessionLostError, match="within 1 s"):
            async for _ in stream:
                pass
        assert time.monotonic() - started < 6
        cutting.cancel()
        proxy.heal()
        assert (await anext(session.stream(pace="pause"))).index > 0  # and it can be called again


async def test_a_stream_that_breaks_without_ever_getting_on_ends(proxy: Proxy, world: ScriptedWorld) -> None:
    breaking(world, 4, times=10_000)
    async with opened(proxy, resume_s=1) as session:
        with pytest.raises(SessionLostError):
            await anext(session.stream(pace="fast"))
    assert world.attached < 60


async def test_frames_that_a_server_does_not_send_again_are_missed_out_loud(proxy: Proxy, world: ScriptedWorld) -> None:
    async def forgetful(requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        await anext(requests)
        begins = 0 if world.line else 9
        world.line = 0
        yield Response(attached=session_pb2.Attached(epoch=1, next_seq=begins, heartbeat_s=0.5))
        for index in range(begins, 9):
            yield Response(frame=frame(index, 0, index))

    world.stream = forgetful
    async with opened(proxy) as session:
        with pytest.raises(SessionLostError, match="frame 0 was due"):
            await anext(session.stream())


async def test_a_session_that_is_gone_after_a_break_is_lost(proxy: Proxy, world: ScriptedWorld) -> None:
    async with opened(proxy) as session:
        stream = session.stream(pace="pause")
        await anext(stream)
        world.stream_failures = [(grpc.StatusCode.NOT_FOUND, b"")]
        await proxy.cut()
        with pytest.raises(SessionLostError) as lost:
            await _drain(stream)
    assert isinstance(lost.value.__cause__, NotFoundError)


async def test_a_refusal_is_no_break(proxy: Proxy, world: ScriptedWorld) -> None:
    async with opened(proxy) as session:
        with pytest.raises(InvalidRequestError):
            await session.event("nonsense")
    assert world.attached == 1


async def test_closing_while_it_is_being_resumed_ends_it(proxy: Proxy) -> None:
    async with opened(proxy) as session:
        stream = session.stream(pace="pause")
        await anext(stream)
        cutting = asyncio.create_task(proxy.cut(1.0))
        with pytest.raises(ServerError):
            async with asyncio.timeout(10):
                reading = asyncio.create_task(_drain(stream))
                await asyncio.sleep(0)
                await session.close()
                await reading
        await cutting


async def _drain(stream: AsyncIterator[object]) -> None:
    async for _ in stream:
        pass


async def test_a_walk_that_is_cancelled_while_it_is_being_resumed_can_be_called_again(proxy: Proxy) -> None:
    async with opened(proxy) as session:
        stream = session.stream(pace="pause")
        assert (await anext(stream)).index == 0
        cutting = asyncio.create_task(proxy.cut(0.5))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await _drain(stream)
        await cutting
        async for chunk in session.stream(pace="pause"):
            assert chunk.index <= 4
            if chunk.index == 4:
                break


async def test_where_another_program_has_gone_back_one_goes_on_after_being_told(
    proxy: Proxy, world: ScriptedWorld, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with opened(proxy, record=tmp_path_factory.mktemp("out") / "walk") as session:
        await session.steer("forward 3s")
        await proxy.cut()
        reason = status_pb2.ErrorReason(reason="SESSION_REWOUND")
        world.stream_failures = [(grpc.StatusCode.ABORTED, details(("ErrorInfo", reason)))]
        world._go_to(2)
        with pytest.raises(FencedError):
            await anext(session.stream(pace="fast"))
        chunk = await anext(session.stream(pace="fast"))
        assert chunk.index == 2
        numbers = [item.number for item in (await session.capture()).frames]
    assert numbers == list(range(chunk.frames[-1].number + 1))
    assert world.attaches[-1].line == 0


# How long is waited


def test_pauses_are_anything_up_to_a_bound_that_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = []
    monkeypatch.setattr("random.uniform", lambda low, high: bounds.append((low, high)) or high)
    pauses = [pause_s(attempt) for attempt in range(6)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert {low for low, _ in bounds} == {0.0}


def test_pauses_are_never_shorter_than_a_server_asks_for() -> None:
    assert all(3 <= pause_s(0, 3.0) <= 3.2 for _ in range(50))


def test_patience_counts_from_the_first_failure_without_success_between(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    patience, error = Patience(10), ServerError("gone")
    patience.next_pause_s(error)
    now = 107.0
    patience.next_pause_s(error)
    patience.renew()
    now = 116.0
    patience.next_pause_s(error)
    now = 127.0
    with pytest.raises(SessionLostError, match="within 10 s"):
        patience.next_pause_s(error)


# Tickets


async def test_a_ticket_takes_a_session_up_in_another_program(
    proxy: Proxy, world: ScriptedWorld, tmp_path: Path
) -> None:
    async with opened(proxy) as session:
        await anext(session.stream(pace="pause"))
        ticket = session.ticket
        assert ticket.isascii() and "\n" not in ticket
        async with (
            AsyncClient(proxy.address) as other,
            other.sessions.resume(ticket, after=first_frame_of(1) + 4, record=tmp_path / "walk") as again,
        ):
            assert (again.id, again.seed, again.reading) == (session.id, session.seed, session.reading)
            item = await anext(again.frames(pace="fast"))
            assert item.number == first_frame_of(1) + 5
            chunk = await anext(again.stream(pace="fast"))
            assert [item.number for item in chunk.frames] == list(range(first_frame_of(1), first_frame_of(1) + CHUNK))
            assert (await again.capture()).provenance.prompt == "meadow"


async def test_without_a_frame_a_ticket_goes_on_with_what_was_not_sent(proxy: Proxy, world: ScriptedWorld) -> None:
    async with opened(proxy) as session:
        await session.steer("forward 1s")
        async with AsyncClient(proxy.address) as other, other.sessions.resume(session.ticket) as again:
            chunk = await anext(again.stream(pace="fast"))
            assert chunk.frames[0].number == first_frame_of(2)
            await again.undo(1)
            assert world.asked[-1].chunks == 2


@pytest.mark.parametrize(
    "text", ["", "x", "keepworld-session-1.", "keepworld-session-1.e30", "keepworld-session-1.W10", 5]
)
async def test_what_is_no_ticket_is_refused(proxy: Proxy, text: str) -> None:
    async with AsyncClient(proxy.address) as client:
        with pytest.raises(ValueError, match="ticket must be"):
            client.sessions.resume(text)
