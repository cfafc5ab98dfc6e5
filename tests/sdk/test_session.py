"""Streams against a server that does as told."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from keepworld import AsyncClient, AsyncSession, Control, paths
from keepworld.errors import (
    CaptureError,
    FencedError,
    InvalidRequestError,
    ProtocolError,
    UnavailableError,
)
from keepworld.v1 import session_pb2

from tests.sdk.scripted_server import (
    SIZE,
    Request,
    Response,
    ScriptedWorld,
    chunk_end,
    first_frame_of,
    frame,
    serving,
)


@pytest.fixture
def world() -> ScriptedWorld:
    return ScriptedWorld()


@pytest.fixture
async def client(world: ScriptedWorld) -> AsyncIterator[AsyncClient]:
    async with serving(world) as address, AsyncClient(address, deadline_s=5) as client:
        yield client


@pytest.fixture
async def session(client: AsyncClient) -> AsyncIterator[AsyncSession]:
    async with client.sessions.open("meadow", size=SIZE, seed=3) as session:
        yield session


async def test_an_opened_session_says_what_it_is(session: AsyncSession) -> None:
    assert (session.seed, session.size, session.mode, session.model) == (3, SIZE, "walk", "diorama")
    assert (session.reading.used, session.reading.ignored) == (("biome: meadow",), ("frobnicate",))


async def test_a_seed_that_is_not_given_is_drawn_and_reported(client: AsyncClient, world: ScriptedWorld) -> None:
    async with client.sessions.open("a", size=SIZE) as a, client.sessions.open("a", size=SIZE) as b:
        assert a.seed != b.seed
        assert [request.seed for request in world.opened] == [a.seed, b.seed]


async def test_chunks_come_whole_and_in_order(session: AsyncSession) -> None:
    numbers, lengths = [], []
    async for chunk in session.stream(pace="fast", depth=True):
        numbers += [frame.number for frame in chunk.frames]
        lengths.append(len(chunk.frames))
        assert (chunk.frames[0].image == chunk.frames[0].number).all()
        assert (chunk.frames[0].depth == chunk.frames[0].number + 0.5).all()
        if chunk.index == 3:
            break
    assert lengths == [13, 16, 16, 16]
    assert numbers == list(range(61))


@pytest.mark.parametrize("pace", ["fast", "realtime", "pause"])
async def test_asking_between_chunks_never_locks_up(client: AsyncClient, pace: str) -> None:
    async with client.sessions.open("meadow", size=(512, 288)) as session:
        async with asyncio.timeout(20):
            async for chunk in session.stream(pace=pace):
                receipt = await session.event("rain")
                assert receipt.applies_to_chunk > chunk.index
                if chunk.index == 5:
                    break


async def test_asking_while_nobody_reads_gets_an_answer(client: AsyncClient) -> None:
    async with client.sessions.open("meadow", size=(512, 288)) as session:
        async for _ in session.stream(pace="fast"):
            break
        async with asyncio.timeout(5):
            first = await session.event("rain")
            second = await session.event("rain")
        assert second.applies_to_chunk >= first.applies_to_chunk


async def test_a_slow_reader_holds_the_server_back(client: AsyncClient, world: ScriptedWorld) -> None:
    async with client.sessions.open("meadow", size=(512, 288)) as session:
        async for _ in session.stream(pace="fast"):
            break
        made = -1
        while made != world.made:  # until it makes no more
            made = world.made
            await asyncio.sleep(0.3)
        assert made <= 6  # one taken, two waiting, and what the connection holds


async def test_each_chunk_taken_is_acknowledged(session: AsyncSession, world: ScriptedWorld) -> None:
    async for chunk in session.stream(pace="pause"):
        if chunk.index == 4:
            break
    assert world.acked[-1] in (first_frame_of(4) - 1, first_frame_of(5) - 1)
    assert world.made <= 7


async def test_a_refused_event_is_an_error_and_the_stream_goes_on(session: AsyncSession) -> None:
    seen = []
    async for chunk in session.stream(pace="fast"):
        seen.append(chunk.index)
        if chunk.index == 1:
            with pytest.raises(InvalidRequestError) as refused:
                await session.event("nonsense")
            assert (refused.value.field, refused.value.code) == ("event.text", "EVENT_UNKNOWN")
            assert refused.value.request_id
        if chunk.index == 3:
            break
    assert seen == [0, 1, 2, 3]


async def test_after_breaking_out_a_stream_goes_on_where_it_was(session: AsyncSession) -> None:
    async for chunk in session.stream(pace="fast"):
        if chunk.index == 1:
            break
    async for chunk in session.stream(pace="fast"):
        assert chunk.index == 2
        break


async def test_an_iterator_kept_can_be_resumed_after_another_walk(session: AsyncSession) -> None:
    stream = session.stream(pace="fast")
    assert (await anext(stream)).index == 0
    walk = await session.steer("forward 1s")
    after = await anext(stream)
    assert after.frames[0].number == walk.last_frame + 1
    await stream.aclose()


async def test_frames_come_one_by_one_and_make_up_the_same_chunks(session: AsyncSession) -> None:
    numbers = []
    async for item in session.frames(pace="fast"):
        numbers.append(item.number)
        if item.number == 20:  # in the middle of chunk 1
            break
    assert numbers == list(range(21))
    async for chunk in session.stream(pace="fast"):
        assert (chunk.index, len(chunk.frames)) == (1, 16)
        break


async def test_steering_ends_with_its_last_step(session: AsyncSession, world: ScriptedWorld) -> None:
    walk = await session.steer("forward 6s, look left 90deg")
    frames = 144 + 38  # 90 degrees at one radian a second are 37.7 frames
    assert walk.first_frame == 0
    assert walk.last_frame + 1 >= frames > walk.last_frame + 1 - 16
    assert walk.chunks == world.made
    again = await session.steer("forward 1s")
    assert again.first_frame == walk.last_frame + 1


async def test_steering_after_breaking_out_of_a_stream_comes_after_what_was_made(session: AsyncSession) -> None:
    async for chunk in session.stream(pace="fast"):
        if chunk.index == 1:
            break
    walk = await session.steer("forward 2s")
    assert walk.first_frame >= first_frame_of(2)
    capture = await session.capture()
    assert [item.number for item in capture.frames] == list(range(walk.first_frame, walk.last_frame + 1))


async def test_a_walk_longer_than_the_servers_queue_is_sent_in_portions(
    client: AsyncClient, world: ScriptedWorld
) -> None:
    world.max_queued_frames, world.max_steps = 400, 3
    async with client.sessions.open("meadow", size=SIZE, record=False) as session:
        walk = await session.steer("forward 26s, wait 1s, forward 1s, wait 1s, forward 1s", pace="pause")
        assert sum(world.queued) == 24 * 30
        assert max(world.queued) <= 200
        assert 24 * 30 <= walk.frames < 24 * 30 + 16


async def test_following_a_path_takes_a_frame_a_camera(session: AsyncSession, world: ScriptedWorld) -> None:
    walk = await session.follow(paths.orbit([0, 0, 3], radius=2, frames=29), events=[(0.0, "rain"), (0.6, "rain")])
    assert world.queued == [29]
    assert (walk.first_frame, walk.frames) == (0, 29)


@pytest.mark.parametrize("broken", [np.eye(4), np.zeros((3, 4, 4)), np.full((2, 4, 4), np.nan), np.empty((0, 4, 4))])
async def test_a_path_that_is_none_is_refused_before_the_server_hears_of_it(
    session: AsyncSession, world: ScriptedWorld, broken: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="path"):
        await session.follow(broken)
    assert world.attached == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pace": "slow"}, "pace must be"),
        ({"encoding": "gif"}, "encoding must be"),
        ({"controls": "jump"}, "cannot read 'jump'"),
        ({"controls": "up 1s"}, "does not honour move_down"),
    ],
)
async def test_a_wrong_argument_is_named(session: AsyncSession, arguments: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        await anext(session.stream(**arguments))


async def test_controls_are_sent_when_they_change_and_again_before_the_dead_mans_time(
    session: AsyncSession, world: ScriptedWorld
) -> None:
    started = time.monotonic()

    def read() -> Control:
        return Control(move=(0, 0, 1)) if time.monotonic() - started < 0.3 else Control(turn=(0.5, 0, 0))

    async for _ in session.stream(controls=read, pace="pause"):
        if time.monotonic() - started > 1.2:
            break
        await asyncio.sleep(0.05)
    sent = [(item.control.move.forward, item.control.turn.yaw) for item in world.controls]
    assert sorted(set(sent)) == [(0.0, 0.5), (1.0, 0.0)]
    assert 3 <= len(sent) <= 5
    assert all(item.client_time_us > 0 for item in world.controls)


async def test_an_input_that_uses_a_dead_axis_or_fails_ends_the_stream_with_its_error(session: AsyncSession) -> None:
    with pytest.raises(ValueError, match="move_down"):
        async for _ in session.stream(controls=lambda: Control(move=(0, 1, 0)), pace="pause"):
            await asyncio.sleep(0.05)
    with pytest.raises(ZeroDivisionError):
        async for _ in session.stream(controls=lambda: Control(move=(0, 0, 1 / 0)), pace="pause"):
            await asyncio.sleep(0.05)
    assert (await session.steer("forward 1s")).frames > 0


def _ending(*items: Response) -> object:
    async def stream(requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        yield Response(attached=session_pb2.Attached(epoch=1, heartbeat_s=0.1))
        for item in items:
            yield item
        await asyncio.sleep(60)

    return stream


def _raw(seq: int, chunk: int, index: int, data: bytes) -> Response:
    message = frame(seq, chunk, index)
    message.image.data = data
    return Response(frame=message)


@pytest.mark.parametrize(
    "items",
    [
        [Response(frame=frame(1, 0, 0))],
        [Response(frame=frame(0, 0, 0)), Response(frame=frame(2, 0, 1))],
        [Response(frame=frame(0, 0, 0)), Response(frame=frame(1, 0, 2))],
        [Response(frame=frame(0, 0, 0, (32, 32)))],
        [Response(frame=frame(0, 0, 0)), Response(chunk_end=chunk_end(0))],
        [Response(frame=frame(seq, 0, seq)) for seq in range(300)],
        [_raw(0, 0, 0, b"short")],
    ],
    ids=["starts late", "gap", "index gap", "other size", "chunk too short", "endless chunk", "short picture"],
)
async def test_a_server_that_breaks_the_protocol_is_caught(
    client: AsyncClient, world: ScriptedWorld, items: list[Response]
) -> None:
    world.stream = _ending(*items)
    async with client.sessions.open("meadow", size=SIZE) as session:
        with pytest.raises(ProtocolError):
            async with asyncio.timeout(5):
                await anext(session.stream())


async def test_a_server_that_makes_larger_frames_than_asked_for_is_caught(
    client: AsyncClient, world: ScriptedWorld
) -> None:
    world.session_size = (16384, 16384)
    with pytest.raises(ProtocolError):
        await client.sessions.open("meadow", size=SIZE)
    assert world.closed == ["s1"]


async def test_another_client_taking_the_session_is_told_apart(client: AsyncClient, world: ScriptedWorld) -> None:
    async def fenced(requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        yield Response(attached=session_pb2.Attached(epoch=1, heartbeat_s=0.1))
        raise _AbortedError

    class _AbortedError(Exception):
        pass

    world.stream = fenced

    original = world.StreamSession

    async def stream_session(requests, context):
        import grpc

        try:
            async for response in original(requests, context):
                yield response
        except _AbortedError:
            await context.abort(grpc.StatusCode.ABORTED, "another stream")

    world.StreamSession = stream_session
    async with serving(world) as address, AsyncClient(address) as other, other.sessions.open("a", size=SIZE) as session:
        with pytest.raises(FencedError, match="another stream"):
            await anext(session.stream())


async def test_nothing_recorded_is_said_clearly(session: AsyncSession) -> None:
    with pytest.raises(CaptureError, match="nothing was recorded"):
        await session.capture()


async def test_a_temporary_recording_moves_where_it_is_wanted_and_goes_on_there(
    session: AsyncSession, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("out") / "new" / "walk"
    await session.steer("forward 1s")
    here = await session.capture()
    assert here.folder.exists()
    before = len(here)
    there = await session.capture(target)
    assert there.folder == target
    assert not here.folder.exists()
    await session.steer("forward 1s")
    assert len(await session.capture()) > before
    assert (await session.capture()).folder == target


async def test_a_session_with_a_folder_records_all_that_streams(
    client: AsyncClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("out") / "walk"
    streamed = []
    async with client.sessions.open("meadow", size=SIZE, record=folder) as session:
        async for chunk in session.stream(pace="fast"):
            streamed += chunk.frames
            if chunk.index == 2:
                break
        with pytest.raises(ValueError, match="lossless"):
            await anext(session.stream(encoding="jpeg"))
        capture = await session.capture()
    assert [item.number for item in capture.frames] == [item.number for item in streamed]
    for kept, seen in zip(capture.frames, streamed, strict=True):
        assert (kept.image() == seen.image).all()
        assert (kept.camera.c2w == seen.camera.c2w).all()
        np.testing.assert_allclose(kept.depth(), seen.depth, rtol=1e-6)


async def test_a_folder_in_use_opens_no_session(client: AsyncClient, world: ScriptedWorld, tmp_path: Path) -> None:
    (tmp_path / "something").write_text("mine")
    with pytest.raises(CaptureError):
        await client.sessions.open("meadow", size=SIZE, record=tmp_path)
    assert world.closed == ["s1"]


async def test_closing_ends_everything(client: AsyncClient, world: ScriptedWorld) -> None:
    session = await client.sessions.open("meadow", size=SIZE)
    await anext(session.stream(pace="fast"))
    await session.close()
    await session.close()
    assert world.closed == [session.id]
    with pytest.raises(UnavailableError, match="closed"):
        await session.event("rain")


@pytest.mark.parametrize("count", [100, pytest.param(5000, marks=pytest.mark.slow)])
async def test_cancelled_walks_leave_nothing_behind(world: ScriptedWorld, count: int) -> None:
    async with serving(world) as address, AsyncClient(address) as client:
        await _cancelled_walk(client, 0)
        before = _held()
        for turn in range(count):
            await _cancelled_walk(client, turn)
        after = _held()
    # The server's last calls may still be ending.
    assert all(now <= then + 2 for now, then in zip(after, before, strict=True)), (before, after)
    assert len(world.closed) == count + 1


def _held() -> tuple[int, int, int]:
    """Tasks, threads and open files."""
    gc.collect()
    return len(asyncio.all_tasks()), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


async def _cancelled_walk(client: AsyncClient, turn: int) -> None:
    async with client.sessions.open("meadow", size=SIZE) as session:

        async def walk() -> None:
            async for _ in session.stream(controls=lambda: Control(move=(0, 0, 1)), pace="fast"):
                pass

        task = asyncio.create_task(walk())
        for _ in range(turn % 20):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
