"""`session.extend`: whatever is given, and whatever breaks on the way, it is taken in once; against a real server."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from keepworld import AsyncClient, AsyncSession, Capture, CaptureError, Client, Clip, InvalidRequestError
from keepworld_runtime.families.family import FamilyOptions

from tests import families
from tests.proxy import Proxy
from tests.runtime.serving.client import serving, spec
from tests.sdk.test_worlds_from import grey, walked

RED = 60
GIVEN = np.concatenate([grey(9, 1, 16, 24), grey(RED, 1, 16, 24)])


@pytest.fixture
async def server() -> AsyncIterator[object]:
    async with serving() as (server, _):
        yield server


@pytest.fixture
async def client(server) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(f"127.0.0.1:{server.port}") as client:
        yield client


async def begun(client: AsyncClient, **options: object) -> AsyncSession:
    session = await client.sessions.open(model="gradient", seed=7, size=(64, 48), **options)
    await session.steer("forward 12frames")  # and one that stands still: chunk 0
    return session


async def next_red(session: AsyncSession) -> int:
    """The red that the next chunk shows beside its own."""
    (chunk,) = await walked(session, "forward 16frames")
    frame = chunk.frames[0]
    plain = families.picture(spec(), frame.number, float(frame.camera.c2w[2, 3]), 0)
    return (int(frame.image[0, 0, 0]) - int(plain[0, 0, 0])) % 256


def film(path: Path) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in (10, RED):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint8), format="rgb24")))
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize("form", ["array", "clip", "capture", "folder", "video", "uploaded"])
async def test_a_session_goes_on_from_what_is_given_in_many_forms(client, tmp_path, capsys, form):
    session = await begun(client)
    if form in ("capture", "folder"):
        other = await begun(client)
        given = await other.capture(tmp_path / "walk")
        red, given = int(given.frames[-1].image()[0, 0, 0]), given if form == "capture" else str(tmp_path / "walk")
    else:
        red = RED
        given = {
            "array": lambda: GIVEN,
            "clip": lambda: Clip(GIVEN, np.repeat(np.eye(4)[None], 2, axis=0)),
            "video": lambda: film(tmp_path / "clip.mp4"),
        }.get(form, lambda: None)()
        given = await client.upload(GIVEN) if form == "uploaded" else given
    receipt = await session.extend(given, progress=form == "video")
    assert receipt.applies_to_chunk == 1 and receipt.id
    assert await next_red(session) == pytest.approx(red, abs=6 if form == "video" else 0)
    if form == "video":
        assert "sent 1 of 1 parts of the video" in capsys.readouterr().err


async def test_cameras_are_given_or_told_from_here(client):
    session = await begun(client)
    cameras = np.repeat(np.eye(4)[None], 2, axis=0)
    cameras[:, 2, 3] = 40.0, 41.0
    await session.extend(GIVEN, cameras=cameras)
    (chunk,) = await walked(session, "forward 16frames")
    assert chunk.extended and chunk.frames[0].camera.c2w[2, 3] == 42.0
    at = chunk.frames[-1].camera.c2w[2, 3]
    await session.extend(GIVEN, cameras=cameras, here=True)
    (chunk,) = await walked(session, "forward 16frames")
    assert chunk.frames[0].camera.c2w[2, 3] == at + 2.0
    (chunk,) = await walked(session, "forward 16frames")
    assert not chunk.extended


async def test_what_cannot_be_gone_on_from_is_said_before_it_is_sent_or_with_its_field(client, server):
    session = await begun(client)
    for given, options, words in [
        (grey(1), {}, "N, H, W, 3"),
        (GIVEN, {"cameras": np.eye(4)[None]}, r"one a frame, \[2, 4, 4\]"),
        (GIVEN, {"cameras": 2 * np.stack([np.eye(4)] * 2)}, "rotation"),
    ]:
        with pytest.raises(ValueError, match=words):
            await session.extend(given, **options)
    assert server.assets.num_kept == 0
    new = await client.sessions.open(model="gradient", seed=7)
    with pytest.raises(InvalidRequestError, match="open a session") as refused:
        await new.extend(GIVEN)
    assert refused.value.code == "WORLD_NOT_BEGUN"
    with pytest.raises(CaptureError, match="not a capture"):
        await session.extend("nowhere")
    assert await next_red(session) == 0


async def test_a_receipt_that_is_lost_is_asked_for_and_nothing_is_taken_in_twice(server, monkeypatch):
    extend, asked, cuts = server.engine.extend, [], []

    async def lose_the_first(session, request_id, *rest):
        asked.append(request_id)
        chunk = await extend(session, request_id, *rest)
        if len(asked) == 1:
            cuts.append(asyncio.create_task(proxy.cut(0.1)))
            await asyncio.sleep(0.05)
        return chunk

    monkeypatch.setattr(server.engine, "extend", lose_the_first)
    async with Proxy(f"127.0.0.1:{server.port}") as proxy, AsyncClient(proxy.address, deadline_s=5) as client:
        session = await begun(client)
        receipt = await session.extend(GIVEN)
        assert (asked, receipt.applies_to_chunk) == ([receipt.id] * 2, 1)
        assert await next_red(session) == RED
        assert await next_red(session) == RED


async def test_a_server_that_is_slow_to_put_it_away_is_asked_again(server, monkeypatch):
    extend, asked = server.engine.extend, []

    async def slow(session, request_id, *rest):
        asked.append(request_id)
        await asyncio.sleep(1.5 if len(asked) == 1 else 0)
        return await extend(session, request_id, *rest)

    monkeypatch.setattr(server.engine, "extend", slow)
    async with AsyncClient(f"127.0.0.1:{server.port}", deadline_s=1) as client:
        session = await begun(client)
        assert (await session.extend(GIVEN)).applies_to_chunk == 1
        assert len(set(asked)) == 1 < len(asked)
        assert await next_red(session) == RED


async def test_what_a_server_has_forgotten_is_sent_again(client, server, monkeypatch):
    keep, kept = server.assets.keep, []

    def forget_the_first(asset):
        kept.append(keep(asset))
        return "0" * 32 if len(kept) == 1 else kept[-1]

    monkeypatch.setattr(server.assets, "keep", forget_the_first)
    session = await begun(client)
    await session.extend(GIVEN)
    assert (len(kept), await next_red(session)) == (2, RED)


async def test_undo_undoes_it(client):
    session = await begun(client)
    await session.extend(GIVEN)
    assert await next_red(session) == RED
    await session.undo(1)
    assert await next_red(session) == 0


def test_without_async(tmp_path):
    from tests.end_to_end.test_resume import server

    with server("--port", "0") as address, Client(address) as client, client.sessions.open(seed=7) as session:
        session.steer("forward 12frames")
        assert session.extend(client.upload(GIVEN)).applies_to_chunk == 1


# A family that goes on from nothing but walks through its own worlds


async def test_such_a_family_goes_on_from_a_capture_of_the_same_world_alone(tmp_path):
    options = FamilyOptions(memory="takes=recording")
    async with serving(options=options) as (server, _), AsyncClient(f"127.0.0.1:{server.port}") as client:
        session = await begun(client, record=tmp_path / "walk")
        await session.steer("forward 16frames")
        capture = await session.capture()
        end = capture.c2ws[-1][2, 3]
        other = await client.sessions.open(model="gradient", seed=7)
        assert (await other.extend(tmp_path / "walk")).applies_to_chunk == 0
        (chunk,) = await walked(other, "forward 12frames")
        assert chunk.frames[1].camera.c2w[2, 3] == end + 1.0
        assert chunk.extended
        elsewhere = await client.sessions.open(model="gradient", seed=8)
        with pytest.raises(InvalidRequestError, match="another world") as refused:
            await elsewhere.extend(capture)
        assert refused.value.field == "extend.recording.seed"
        (tmp_path / "film.mp4").write_bytes(b"x")
        for given in (GIVEN, tmp_path / "film.mp4"):
            with pytest.raises(ValueError, match="captures of its own worlds alone"):
                await other.extend(given)
        with pytest.raises(ValueError, match="leave out cameras"):
            await other.extend(capture, here=True)
        shutil.copytree(tmp_path / "walk", tmp_path / "part")
        lines = (tmp_path / "part/chunks.jsonl").read_bytes().splitlines(keepends=True)
        (tmp_path / "part/chunks.jsonl").write_bytes(b"".join(lines[1:]))
        with pytest.raises(ValueError, match="from the first on"):
            await other.extend(tmp_path / "part")


async def test_a_capture_remembers_that_it_went_on_from_something_else(client, tmp_path):
    session = await begun(client, record=tmp_path / "walk")
    await session.extend(GIVEN)
    await session.steer("forward 16frames")
    await session.capture()
    assert Capture(tmp_path / "walk").extended == [1]
