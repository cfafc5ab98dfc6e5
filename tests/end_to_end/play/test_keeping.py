"""What the studio keeps, without a browser: a stretch of a live walk as files for a program, and ready for the viewer."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from keepworld import AsyncClient, Control
from keepworld.capture import Capture
from keepworld.play.keeping import Keeper, Wish
from keepworld_exporters.convert import read_scene
from keepworld_exporters.scene import Points

from tests.end_to_end.play.browser import server

SIDE = Control(move=(1, 0, 0))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server("--port", "0") as (_, address):
        yield address


async def test_a_stretch_of_a_walk_becomes_files_while_the_walk_goes_on(address: str, tmp_path: Path) -> None:
    told: list[Mapping[str, object]] = []

    async def tell(content: Mapping[str, object]) -> None:
        told.append(content)

    keeper = Keeper(tmp_path)
    async with (
        AsyncClient(address) as client,
        client.sessions.open("meadow with a cottage", seed=3, size=(128, 72), record=False) as session,
    ):
        chunks = session.stream(lambda: SIDE, encoding="jpeg", pace="pause")
        seen = [await anext(chunks) for _ in range(4)]
        wish = Wish(first=1, last=3, kinds=("points",), quality="quick", target="unity")
        at_end = await session.branch(wish.last, record=False)
        result = await keeper.keep(client, at_end, wish, "../<b>meadow</b>", tell)
        assert (await anext(chunks)).index == 4
        await chunks.aclose()
        # Nothing of it is left on the server but the walk itself.
        assert [info.id for info in await client.sessions.list()] == [session.id]

    # The stretch was drawn again, without loss, from the very cameras.
    capture = Capture(tmp_path / "1" / "walk")
    frames = [frame for chunk in seen[1:3] for frame in chunk.frames]
    assert [frame.number for frame in capture.frames] == [frame.number for frame in frames]
    assert all((kept.camera.c2w == frame.camera.c2w).all() for kept, frame in zip(capture.frames, frames, strict=True))
    assert capture.frames[0].depth() is not None

    names = {entry["name"] for entry in result["files"]}
    assert "b-meadow-b-unity.zip" in names
    archive = keeper.file("1", "b-meadow-b-unity.zip")
    assert archive is not None
    with zipfile.ZipFile(archive) as file:
        assert set(file.namelist()) == names - {archive.name}
        manifest = json.loads(file.read("scene.points.ply.manifest.json"))
    assert manifest["convention"] == "unity"
    points = read_scene(tmp_path / "1" / "for" / "scene.points.ply")
    assert isinstance(points, Points)
    assert len(points.positions) > 100
    index = keeper.file("1", "view-index.json")
    assert index is not None
    assert [item["kind"] for item in json.loads(index.read_text())["items"]] == ["points", "cameras"]
    assert keeper.file("1", "../walk/capture.json") is None
    shares = [content["share"] for content in told]
    assert shares == sorted(shares)
    assert shares[-1] > 0.8


def is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


async def test_a_keep_that_is_stopped_leaves_nothing(address: str, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def tell(_: Mapping[str, object]) -> None:
        begun.set()

    async with (
        AsyncClient(address) as client,
        client.sessions.open("meadow", seed=3, size=(128, 72), record=False) as session,
    ):
        chunks = session.stream(encoding="jpeg", pace="pause")
        for _ in range(2):
            await anext(chunks)
        await chunks.aclose()
        wish = Wish(first=0, last=2, kinds=("mesh",), quality="quick", target="as it is")
        at_end = await session.branch(2, record=False)
        keeping = asyncio.create_task(Keeper(tmp_path).keep(client, at_end, wish, "", tell))
        await begun.wait()
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        assert [info.id for info in await client.sessions.list()] == [session.id]
    assert is_empty(tmp_path)
