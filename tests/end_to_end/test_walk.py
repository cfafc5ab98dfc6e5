"""A real server process, the client, a walk: what is seen is what was asked for, and what is kept is what was seen."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from keepworld import AsyncClient, AsyncSession, Chunk, Client, Control, paths
from keepworld.errors import FencedError, InvalidRequestError, NotFoundError, WorkerError
from keepworld_runtime.families.family import WorldSpec

from tests.families import HEIGHT, WIDTH, GradientFamily, picture

ROOT = Path(__file__).parents[2]
SIZE = (WIDTH, HEIGHT)
SEED = 5


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "keepworld_runtime", "--port", "0", "--family", "gradient=tests.families"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "--exit-with-stdin", "--log-level", "WARNING"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT,
    ) as server:  # fmt: skip
        assert server.stdin and server.stdout
        said = json.loads(server.stdout.readline())
        assert json.loads(server.stdout.readline())["ready"]
        yield said["listening"]
        server.stdin.close()
        assert server.wait(20) == 0


@contextlib.asynccontextmanager
async def opened(address: str, text: str = "meadow", **options: object) -> AsyncSession:
    async with (
        AsyncClient(address) as client,
        client.sessions.open(text, model="gradient", size=SIZE, mode="fly", seed=SEED, **options) as session,
    ):
        yield session


async def some(session: AsyncSession, count: int, **options: object) -> list[Chunk]:
    chunks = []
    async with contextlib.aclosing(session.stream(**options)) as stream:
        async for chunk in stream:
            chunks.append(chunk)
            if len(chunks) == count:
                break
    return chunks


def drawn(text: str, frame: int, walked: float, events: int) -> np.ndarray:
    return picture(WorldSpec(prompt=text, seed=SEED, width=WIDTH, height=HEIGHT, mode="fly"), frame, walked, events)


@pytest.mark.parametrize("encoding", ["raw", "png"])
async def test_frames_are_the_pictures_that_were_drawn(address: str, encoding: str) -> None:
    async with opened(address) as session:
        frames = [frame for chunk in await some(session, 3, encoding=encoding, depth=True) for frame in chunk.frames]
    assert [frame.number for frame in frames] == list(range(45))
    for frame in frames:
        assert (frame.image == drawn("meadow", frame.number, 0, 0)).all()
        assert (frame.depth == frame.number).all()
        assert (frame.labels == frame.index % 4).all()
        assert frame.time_s == pytest.approx(frame.number / 24)


async def test_steering_moves_the_camera_as_far_as_the_words_say(address: str) -> None:
    async with opened(address) as session:
        walk = await session.steer("forward 2s")
        capture = await session.capture()
    walked = np.minimum(np.arange(walk.frames), 48)  # the first frame shows where the walk begins
    np.testing.assert_allclose(capture.c2ws[:, 2, 3], walked)
    for frame, distance in zip(capture.frames, walked, strict=True):
        assert (frame.image() == drawn("meadow", frame.number, distance, 0)).all()
        assert (frame.depth() == frame.number).all()


async def test_live_controls_steer(address: str) -> None:
    async with opened(address) as session:
        chunks = await some(session, 5, controls=lambda: Control(move=(0, 0, 0.5)), pace="realtime")
    assert all(control.move == (0, 0, 0.5) for control in chunks[-1].controls)
    assert chunks[-1].latency.round_trip_ms is not None
    assert 0 < chunks[-1].latency.round_trip_ms < 3000


@pytest.mark.parametrize("pace", ["realtime", "fast", "pause"])
async def test_an_event_is_seen_from_the_very_frame_its_receipt_names(address: str, pace: str) -> None:
    async with opened(address) as session:
        frames, receipt = [], None
        async for chunk in session.stream(pace=pace):
            frames += chunk.frames
            if chunk.index == 1:
                receipt = await session.event("rain")
                assert receipt.used == ("weather: rain",)
            if receipt and chunk.index == receipt.applies_to_chunk + 1:
                break
    assert receipt is not None
    begins = GradientFamily.capabilities.first_frame_of(receipt.applies_to_chunk)
    for frame in frames:
        assert (frame.image == drawn("meadow", frame.number, 0, int(frame.number >= begins))).all()


async def test_an_event_planned_before_the_walk_comes_at_its_time(address: str) -> None:
    async with opened(address) as session:
        first = await session.event("rain", at=0.0)
        second = await session.event("snow", chunk=2)
        assert (first.applies_to_chunk, second.applies_to_chunk) == (0, 2)
        await session.steer("forward 3s")
        capture = await session.capture()
        assert [(chunk, event.text) for chunk, event in capture.events] == [(0, "rain"), (2, "snow")]
        with pytest.raises(InvalidRequestError) as late:
            await session.event("rain", chunk=1)
        assert late.value.field


async def test_a_followed_path_is_followed_to_the_last_bit_that_counts(address: str) -> None:
    path = paths.orbit([1, 0, 4], radius=2, frames=50, height=0.3)
    async with opened(address) as session:
        walk = await session.follow(path, events=[(0.0, "rain"), (1.0, "snow")])
        capture = await session.capture()
        again = await session.follow(path[:20])
    assert (walk.first_frame, walk.frames, again.first_frame) == (0, 61, 61)
    np.testing.assert_allclose(capture.c2ws[:50], path, atol=1e-12)
    assert [(chunk, event.text) for chunk, event in capture.events] == [(0, "rain"), (2, "snow")]


async def test_the_same_seed_and_walk_are_the_same_world_at_any_pace(address: str) -> None:
    kept = []
    for pace in ("fast", "pause"):
        async with opened(address) as session:
            frames = [
                frame.image.tobytes()
                async for chunk in session.stream("forward 1s, look left 30deg", pace=pace)
                for frame in chunk.frames
            ]
            kept.append(frames)
    assert kept[0] == kept[1]


async def test_a_session_recorded_whole_keeps_what_was_streamed(address: str, tmp_path: Path) -> None:
    async with opened(address, record=tmp_path / "walk") as session:
        streamed = [frame for chunk in await some(session, 2, pace="fast") for frame in chunk.frames]
        await session.steer("forward 1s")
        capture = await session.capture()
    assert [frame.number for frame in capture.frames] == list(range(len(capture)))
    for kept, seen in zip(capture.frames, streamed, strict=False):
        assert (kept.image() == seen.image).all()
        assert (kept.depth() == seen.depth).all()


async def test_a_walk_goes_on_where_an_iterator_was_left(address: str) -> None:
    async with opened(address) as session:
        before = await some(session, 2, pace="fast")
        after = await some(session, 2, pace="fast")
        walk = await session.steer("forward 1s")
    assert [chunk.index for chunk in before + after] == [0, 1, 2, 3]
    assert walk.first_frame >= after[-1].frames[-1].number + 1


async def test_a_worker_that_dies_is_not_noticed_in_the_frames(address: str, tmp_path: Path) -> None:
    text = f"crash=1 at=5 once={tmp_path / 'happened'}"
    async with opened(address, text) as session:
        frames = [frame for chunk in await some(session, 3, pace="fast") for frame in chunk.frames]
    assert (tmp_path / "happened").exists()
    assert [frame.number for frame in frames] == list(range(45))
    assert all((frame.image == drawn(text, frame.number, 0, 0)).all() for frame in frames)


async def test_a_world_that_cannot_be_brought_back_is_an_error(address: str) -> None:
    async with opened(address, "raise=1") as session:
        with pytest.raises(WorkerError) as failed:
            await some(session, 3, pace="fast")
    assert "/secret" not in str(failed.value)


async def test_who_attaches_last_has_the_session(address: str) -> None:
    async with opened(address) as session, AsyncClient(address) as other:
        stream = session.stream(pace="pause")
        await anext(stream)
        async with other.sessions.open("meadow", model="gradient", size=SIZE, mode="fly") as thief:
            thief._feed._session_id, thief._feed._token = session.id, session._feed._token
            await anext(thief.stream(pace="pause"))
            with pytest.raises(FencedError):
                async for _ in stream:
                    pass


async def test_a_wrong_token_finds_no_session(address: str) -> None:
    async with opened(address) as session:
        session._feed._token = "wrong"
        with pytest.raises(NotFoundError):
            await anext(session.stream())


@pytest.mark.parametrize(
    ("options", "field"),
    [({"size": (63, 48)}, "size"), ({"mode": "swim"}, "mode"), ({"size": (100_000, 100_000)}, "size")],
)
async def test_what_the_server_refuses_is_named(address: str, options: dict[str, object], field: str) -> None:
    async with AsyncClient(address) as client:
        with pytest.raises(InvalidRequestError) as refused:
            await client.sessions.open("meadow", model="gradient", **({"size": SIZE, "mode": "fly"} | options))
    assert field in (refused.value.field or "")


async def test_nothing_is_left_after_closing(address: str) -> None:
    # The loop's own pool, which unpacks depth, grows to its size in its own time: here it has one thread from the start.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    await _walk_repeatedly(address, 8)
    before = _held()
    await _walk_repeatedly(address, 8)
    # gRPC closes a channel's sockets in its own time, so a few may be open at either moment; a leak would show eightfold.
    slack = (0, 0, 4)
    async with asyncio.timeout(10):
        while any(now > then + more for now, then, more in zip(_held(), before, slack, strict=True)):  # noqa: ASYNC110 - gRPC tells nobody
            await asyncio.sleep(0.05)


async def _walk_repeatedly(address: str, times: int) -> None:
    for _ in range(times):
        async with opened(address) as session:
            await some(session, 1, controls=Control, pace="fast")
            await session.steer("forward 1s")


def test_the_same_walk_without_async(address: str) -> None:
    with (
        Client(address) as client,
        client.sessions.open("meadow", model="gradient", size=SIZE, mode="fly", seed=SEED) as session,
    ):
        walk = session.steer("forward 1s")
        assert len(session.capture()) == walk.frames
        assert next(session.stream()).frames[0].number == walk.last_frame + 1


async def test_a_private_server_comes_and_goes_with_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEEPWORLD_URL", raising=False)
    async with AsyncClient() as client:
        process = client._host._server._process
        async with client.sessions.open("a pine forest", seed=1, size=(256, 144)) as session:
            walk = await session.steer("forward 1s")
            capture = await session.capture()
            assert len(capture) == walk.frames
            assert capture.provenance.used
            assert capture.frames[0].depth().max() > 1
    assert process.returncode == 0


def _held() -> tuple[int, int, int]:
    """Tasks, threads and open files."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("keepworld-recorder"):
            thread.join(5)
    return len(asyncio.all_tasks()), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


async def test_hands_that_are_done_end_the_walk_after_a_whole_chunk(address: str) -> None:
    answers = iter([Control(move=(0, 0, 1))] * 60 + [None])
    async with opened(address) as session:
        chunks = [chunk async for chunk in session.stream(lambda: next(answers), pace="fast")]
        assert chunks and all(len(chunk.frames) == len(chunk.controls) for chunk in chunks)
        frames = [frame async for frame in session.frames(lambda: None, pace="fast")]
        assert [frame.number for frame in frames] == sorted(frame.number for frame in frames)
        assert next(iter(answers), "nothing") == "nothing"  # all were asked for


async def test_under_one_idempotency_key_a_living_session_is_opened_once(address: str) -> None:
    async with AsyncClient(address) as client:
        options = {"model": "gradient", "size": SIZE, "events": [(1.0, "rain")], "idempotency_key": "shot-1"}
        first = await client.sessions.open("meadow", **options)
        again = await client.sessions.open("meadow", **options)
        assert (again.id, again.seed) == (first.id, first.seed)
        with pytest.raises(InvalidRequestError, match="request"):
            await client.sessions.open("another meadow", **options)
        await first.close()
        anew = await client.sessions.open("meadow", **options)
        assert anew.id != first.id and anew.seed == first.seed
        other = await client.sessions.open("meadow", **options | {"idempotency_key": "shot-2"})
        assert other.id != anew.id and other.seed != anew.seed


async def test_without_a_model_the_first_that_takes_what_is_given_makes_the_world(address: str) -> None:
    async with AsyncClient(address) as client, client.sessions.open("meadow", size=SIZE) as session:
        assert session.model == "gradient"
