"""From a walk to files by way of the server, through the SDK: nothing is recorded here, and everything comes."""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator

import pytest
from keepworld import AsyncClient, Client, ExportError, InvalidRequestError, NotFoundError, ServerError
from keepworld_runtime.serving.exports import job

from tests.families import HEIGHT, WIDTH
from tests.proxy import Proxy
from tests.runtime.serving.client import serving
from tests.runtime.serving.exporting import stand_in

OPEN = {"model": "gradient", "size": (WIDTH, HEIGHT), "mode": "fly", "seed": 7}


@pytest.fixture
def _exporters(tmp_path, monkeypatch) -> None:
    (tmp_path / "stand-in").mkdir()
    stand_in(tmp_path / "stand-in", monkeypatch)


async def test_splats_and_a_mesh_of_a_walk_that_nobody_recorded(tmp_path):
    """The real exporters, on a small diorama."""
    async with serving(families=("diorama",)) as (server, _), AsyncClient(f"127.0.0.1:{server.port}") as client:
        assert (await client.capabilities()).exports is not None
        async with client.sessions.open(
            "meadow with a cottage, noon", seed=3, size=(128, 72), mode="fly", record=False
        ) as session:
            async for _chunk in session.stream("forward 1s, look left 30deg", pace="fast"):
                pass
            export = await session.start_export("world.splat.ply", "world.glb", holdout=8, voxel=0.4)
        stages = [status.stage async for status in export.watch()]
        made = await export.download(tmp_path / "kept")
        captured = next(each for each in await client.exports.list() if each.kind == "capture")
        await export.delete()
        with pytest.raises(NotFoundError):
            await export.status()
    assert {"capture", "mesh"} <= set(stages) and stages[-1] == "done"
    assert {path.name for path in made.paths} >= {"world.splat.ply", "world.glb", "report.html", "report.json"}
    assert made.report.page == tmp_path / "kept" / "report.html"
    assert captured.different_frames == 0
    assert made.metrics["psnr"] > 15
    assert (tmp_path / "kept" / "world.glb").read_bytes()[:4] == b"glTF"
    assert b"/tmp" not in (tmp_path / "kept" / "report.json").read_bytes()  # nothing of the server's machine
    assert not list((tmp_path / "kept").glob(".*"))


@pytest.mark.usefixtures("_exporters")
async def test_a_line_that_breaks_costs_nothing(tmp_path):
    async with (
        serving() as (server, _),
        Proxy(f"127.0.0.1:{server.port}") as proxy,
        AsyncClient(proxy.address) as client,
    ):
        async with client.sessions.open(**OPEN, record=False) as session:
            await session.steer("forward 1s")
            export = await session.start_export("world.glb")
        states = []
        async for status in export.watch():
            states.append(status.state)
            if len(states) in (1, 3):
                await proxy.cut()
        cut = proxy.after(200_000)
        fetching = client.exports.get(export.id).download(tmp_path / "kept")
        task = asyncio.create_task(fetching)
        await cut.wait()
        await proxy.cut()
        made = await task
        status = await export.status()
    assert states[-1] == "done" and proxy.connections >= 3
    assert made.metrics == {"psnr": 31.5, "chunks": 2.0}
    for file in status.files:
        assert hashlib.sha256((tmp_path / "kept" / file.name).read_bytes()).hexdigest() == file.sha256


@pytest.mark.usefixtures("_exporters")
async def test_a_failed_or_cancelled_export_raises_and_leaves_nothing(tmp_path):
    async with (
        serving() as (server, _),
        AsyncClient(f"127.0.0.1:{server.port}") as client,
        client.sessions.open(**OPEN) as session,
    ):
        with pytest.raises(ServerError) as nothing:
            await session.start_export()
        await session.steer("forward 0.5s")
        with pytest.raises(InvalidRequestError) as wrong:
            await session.start_export("../x.glb")
        assert await client.exports.list() == []  # the capture went with it
        refused = await session.start_export("refuse.glb")
        with pytest.raises(ExportError, match="nothing lasting is in view") as failed:
            await refused.download(tmp_path / "kept")
        hanging = await session.start_export("hang.glb")
        assert (await hanging.cancel()).state == "cancelled"
        with pytest.raises(ExportError, match="cancelled"):
            await hanging.result()
    assert (nothing.value.code, failed.value.code) == ("NOTHING_TO_CAPTURE", "EXPORT_FAILED")
    assert wrong.value.field == "files[0]"
    assert not (tmp_path / "kept").exists()


async def test_a_server_without_exporters_says_so_and_keeps_nothing(monkeypatch):
    monkeypatch.setattr(job, "missing", lambda: ["open3d"])
    async with serving() as (server, _), AsyncClient(f"127.0.0.1:{server.port}") as client:
        assert (await client.capabilities()).exports is None
        async with client.sessions.open(**OPEN) as session:
            await session.steer("forward 0.5s")
            with pytest.raises(ServerError, match=r"keepworld\[export\]") as refusal:
                await session.start_export()
        assert await client.exports.list() == []
    assert refusal.value.code == "EXPORTERS_MISSING"


@pytest.mark.usefixtures("_exporters")
def test_without_async(tmp_path):
    with gradient_server() as address, Client(address) as client, client.sessions.open(**OPEN) as session:
        session.steer("forward 0.5s")
        kept = session.snapshot()
        export = client.exports.start(kept, "world.glb")
        assert [status.state for status in export.watch()][-1] == "done"
        assert export.result(progress=True).state == "done"
        assert (tmp_path / "kept/world.glb") in client.exports.get(export.id).download(tmp_path / "kept").paths


@contextlib.contextmanager
def gradient_server() -> Iterator[str]:
    from tests.end_to_end.test_resume import server

    with server("--port", "0") as address:
        yield address
