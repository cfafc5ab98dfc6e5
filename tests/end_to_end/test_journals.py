"""A walk as a file: made again frame by frame, and gone on with on another server as if nothing had been."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from keepworld import AsyncClient, cli, journals
from keepworld.errors import InvalidRequestError, NotFoundError, ProtocolError, ServerError, StreamStalledError
from keepworld_runtime.families import FAMILIES, Chosen
from keepworld_runtime.families.family import Family
from keepworld_runtime.replay import replay

from tests.runtime.serving.client import serving

WALK = "forward 1.5s"


def family(name: str) -> Family:
    return Chosen(module={**FAMILIES, "gradient": "tests.families"}[name]).make()


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def frames(session, words: str) -> list:
    return [frame async for chunk in session.stream(words, pace="fast") for frame in chunk.frames]


@pytest.mark.parametrize(
    ("model", "module", "size"),
    [
        ("gradient", "gradient=tests.families", (64, 48)),
        pytest.param("diorama", "diorama", (96, 64), marks=pytest.mark.slow),
    ],
)
async def test_a_walk_that_moved_to_another_server_is_the_walk_that_stayed(
    tmp_path: Path, model: str, module: str, size: tuple[int, int]
) -> None:
    words, wanted = WALK, {"model": model, "seed": 5, "size": size}
    async with serving(families=(module,)) as (there, _), AsyncClient(f"127.0.0.1:{there.port}") as client:
        async with client.sessions.open("", **wanted) as session:
            await session.event("rain" if model == "gradient" else "it starts to snow")
            begun = await frames(session, words)
            path = await session.journal(tmp_path / "walk.kwj")
            kept = await session.snapshot("by the lake")
            assert (await client.export_snapshot(kept, tmp_path / "kept.kwj")).read_bytes() == path.read_bytes()
            stayed = await frames(session, words)
        with pytest.raises(ServerError):
            await session.journal(tmp_path / "late.kwj")
    done = replay(path, family)
    assert (done.frames, done.different, done.is_whole) == (len(begun), (), True)
    async with serving(families=(module,)) as (here, _), AsyncClient(f"127.0.0.1:{here.port}") as client:
        taken = await client.import_journal(path, "from elsewhere")
        assert (taken.frames, taken.name, taken.model, taken.seed) == (len(begun), "from elsewhere", model, 5)
        async with client.sessions.open(snapshot=taken) as session:
            moved = await frames(session, words)
    assert [frame.number for frame in moved] == [frame.number for frame in stayed]
    for ours, theirs in zip(moved, stayed, strict=True):
        np.testing.assert_array_equal(ours.image, theirs.image)
    assert names_in(tmp_path) == ["kept.kwj", "walk.kwj"]  # and nothing unfinished


async def test_a_file_that_is_none_or_was_cut_off_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    async with serving() as (server, _), AsyncClient(f"127.0.0.1:{server.port}") as client:
        async with client.sessions.open("", model="gradient") as session:
            await frames(session, "forward 1s")
            whole = (await session.journal(tmp_path / "walk.kwj")).read_bytes()
        for data in (b"", b"not a journal", whole[:-40], whole[:200] + b"x" + whole[201:]):
            (tmp_path / "bad.kwj").write_bytes(data)
            with pytest.raises(InvalidRequestError) as refused:
                await client.import_journal(tmp_path / "bad.kwj")
            assert refused.value.code == "JOURNAL_INVALID"
        with pytest.raises(NotFoundError):
            await client.export_snapshot("0" * 32, tmp_path / "none.kwj")
        assert await client.snapshots() == []
    assert not (tmp_path / "none.kwj").exists()


async def test_the_command_line_moves_a_walk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> str:
        assert cli.main(["snapshots", *arguments, "--url", url]) == 0
        return capsys.readouterr().out

    path = str(tmp_path / "walk.kwj")
    async with serving() as (server, _), AsyncClient(f"127.0.0.1:{server.port}") as client:
        url = f"127.0.0.1:{server.port}"
        async with client.sessions.open("", model="gradient") as session:
            await frames(session, "forward 1s")
            kept = await session.snapshot()
        said = await asyncio.to_thread(run, "export", kept.id, path)
        assert "keepworld replay" in said
        said = await asyncio.to_thread(run, "import", path, "--name", "again")
        names = {each.id: each.name for each in await client.snapshots()}
    assert names[said.partition(":")[0]] == "again"


async def test_a_server_that_sends_without_end_or_falls_silent_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MAX_BYTES", 1000)
    async with (
        serving() as (server, _),
        AsyncClient(f"127.0.0.1:{server.port}", deadline_s=3) as client,
        client.sessions.open("", model="gradient") as session,
    ):
        await frames(session, "forward 1s")
        with pytest.raises(ProtocolError, match="more than 1000 bytes"):
            await session.journal(tmp_path / "walk.kwj")

        async def nothing(_: object):
            await asyncio.Event().wait()
            yield b""

        monkeypatch.setattr(server.engine.archive, "written", nothing)
        with pytest.raises(StreamStalledError):
            await session.journal(tmp_path / "walk.kwj")
    assert names_in(tmp_path) == []
