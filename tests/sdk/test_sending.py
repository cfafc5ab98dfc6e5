"""What a world goes on from gets there over a connection that breaks: nothing is sent twice that came through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from keepworld import AsyncClient, Clip, sending, uploads
from keepworld.connection import Connection
from keepworld.errors import InvalidRequestError, UnavailableError
from keepworld_runtime.serving.arriving import ArrivingFrames

from tests.proxy import Proxy
from tests.runtime.serving.client import serving

NUM = 24
FRAMES = np.random.default_rng(3).integers(
    0, 256, (NUM, 96, 128, 3), np.uint8
)  # noise, which no compression makes small


class Line:
    """A server behind a network that fails when told to, and how many pieces it has added."""

    def __init__(self, server, proxy: Proxy) -> None:
        self.server, self.proxy = server, proxy
        self.added = 0

    async def until(self, pieces: int) -> None:
        async with asyncio.timeout(20):
            while self.added < pieces:  # noqa: ASYNC110
                await asyncio.sleep(0)

    @property
    def ids(self) -> list[str]:
        return list(self.server.unfinished._uploads)


@pytest.fixture
async def line(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Line]:
    add = ArrivingFrames.add
    async with serving() as (server, _), Proxy(f"127.0.0.1:{server.port}") as proxy:
        line = Line(server, proxy)

        def counted(self: ArrivingFrames, piece: object) -> None:
            add(self, piece)
            line.added += 1

        monkeypatch.setattr(ArrivingFrames, "add", counted)
        yield line


@contextlib.asynccontextmanager
async def connected(line: Line, *, resume_s: float = 30, deadline_s: float = 5) -> AsyncIterator[Connection]:
    async with AsyncClient(line.proxy.address, deadline_s=deadline_s, resume_s=resume_s) as client:
        yield await client._host.connected()


async def sent(line: Line, connection: Connection) -> str:
    asset = await sending.send(connection, uploads.clip(FRAMES), resume_s=30)
    assert (asset.frames, asset.size) == (NUM, (128, 96))
    np.testing.assert_array_equal(line.server.assets.clip(asset.id, "").frames, FRAMES)
    return asset.id


async def test_a_network_that_is_cut_again_and_again_costs_no_piece(line: Line) -> None:
    async with connected(line) as connection:
        sending_it = asyncio.create_task(sent(line, connection))
        for pieces in (1, 5, 6, 20):
            await line.until(pieces)
            await line.proxy.cut(0.1)
        await sending_it
    assert line.added == NUM
    assert line.proxy.connections >= 4


async def test_a_cable_that_is_pulled_for_a_while_costs_no_piece(line: Line) -> None:
    async with connected(line, deadline_s=3) as connection:
        sending_it = asyncio.create_task(sent(line, connection))
        await line.until(4)
        line.proxy.stall()
        asyncio.get_running_loop().call_later(3.5, line.proxy.heal)
        await sending_it
    assert line.added == NUM


async def test_a_server_that_has_forgotten_it_is_sent_all_of_it(line: Line) -> None:
    async with connected(line) as connection:
        sending_it = asyncio.create_task(sent(line, connection))
        await line.until(4)
        line.server.unfinished.drop(line.ids[0])
        await line.proxy.cut()
        await sending_it
    assert NUM < line.added < 2 * NUM


async def test_an_answer_that_was_lost_is_asked_for(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = line.server.assets.keep

    def cut_then_keep(asset: object) -> str:
        tasks.append(asyncio.create_task(line.proxy.cut()))
        return keep(asset)

    tasks: list[asyncio.Task[None]] = []
    monkeypatch.setattr(line.server.assets, "keep", cut_then_keep)
    async with connected(line) as connection:
        await sent(line, connection)
    assert (len(tasks), line.server.assets.num_kept, line.added) == (1, 1, NUM)


async def test_a_piece_that_is_refused_is_told_with_its_reason_and_not_tried_again(line: Line) -> None:
    several = uploads.clip(FRAMES)
    odd = next(uploads.clip(FRAMES[:1, :8]).pieces(0))

    def pieces(first: int):
        for number, piece in enumerate(several.pieces(first), first):
            yield odd if number == 7 else piece

    upload = uploads.Upload(kind="clip", num_pieces=NUM, has_cameras=False, pieces=pieces)
    async with connected(line) as connection:
        with pytest.raises(InvalidRequestError, match="128x96") as refused:
            await sending.send(connection, upload, resume_s=30)
    assert refused.value.field == "frame.image.data"
    assert (line.added, line.server.assets.num_kept) == (7, 0)


async def test_a_server_that_does_not_come_back_is_said_in_time(line: Line) -> None:
    async with connected(line, deadline_s=1) as connection:
        sending_it = asyncio.create_task(sending.send(connection, uploads.clip(FRAMES), resume_s=1))
        await line.until(2)
        cutting = asyncio.create_task(line.proxy.cut(60))
        with pytest.raises(UnavailableError):
            async with asyncio.timeout(20):
                await sending_it
        cutting.cancel()


async def test_a_film_is_something_to_go_on_from(line: Line, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "walk.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in (10, 60, 110, 160):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint8), format="rgb24")
            film.mux(stream.encode(picture))
        film.mux(stream.encode())
    async with connected(line) as connection:
        asset = await sending.send(connection, uploads.clip(str(tmp_path / "walk.mp4")), resume_s=1)
    shown = line.server.assets.clip(asset.id, "").frames
    assert [int(each.mean()) for each in shown] == pytest.approx([10, 60, 110, 160], abs=6)


def test_a_film_that_is_too_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    with (tmp_path / "walk.mp4").open("wb") as file:
        file.truncate(uploads.MAX_VIDEO_BYTES + 1)
    with pytest.raises(ValueError, match="shorter"):
        uploads.clip(tmp_path / "walk.mp4")


@pytest.mark.parametrize("size", [1, 2**20, 2**20 + 1])
def test_the_parts_of_a_film_are_the_film(tmp_path: Path, size: int) -> None:
    data = np.random.default_rng(0).bytes(size)
    (tmp_path / "walk.mp4").write_bytes(data)
    upload = uploads.clip(tmp_path / "walk.mp4")
    for first in range(upload.num_pieces):
        parts = [piece.data for piece in upload.pieces(first)]
        assert len(parts) == upload.num_pieces - first
        assert b"".join(parts) == data[first * 2**20 :]


def test_frames_come_from_any_number_on() -> None:
    upload = uploads.clip(Clip(FRAMES[:3], np.repeat(np.eye(4)[None], 3, axis=0)))
    every = list(upload.pieces(0))
    assert [piece.data for piece in upload.pieces(2)] == [every[2].data]
