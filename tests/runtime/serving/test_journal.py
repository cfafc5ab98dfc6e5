"""Sessions outlive their server, however it ends; walks travel as files and can be made again."""

import asyncio
import json
import struct
import sys
import zlib

import grpc
import numpy as np
import pytest
from keepworld.v1 import world_service_pb2
from keepworld_runtime.families import load_family
from keepworld_runtime.families.family import FamilyOptions
from keepworld_runtime.journal import file, record
from keepworld_runtime.replay import main, replay

from tests import families
from tests.runtime.serving.client import WITHIN_S, connect, script, serving
from tests.runtime.serving.test_process import said, started
from tests.runtime.serving.walks import (
    DIORAMA,
    GRADIENT,
    attached,
    chunk,
    first_chunk,
    named,
    opened,
    plain,
    refused,
)

WORLDS = pytest.mark.parametrize(
    ("world", "module"), [(GRADIENT, "gradient=tests.families"), (DIORAMA, "diorama")], ids=["gradient", "diorama"]
)
FAMILY = "gradient=tests.families"
STEPS = ((0.5, 12), (0.25, 16), (0.75, 16), (0.0, 16))


async def written(stub, **source) -> bytes:
    request = world_service_pb2.GetJournalRequest(**source)
    return b"".join([part.data async for part in stub.GetJournal(request)])


async def imported(stub, data: bytes, name: str = "", size: int = 1000):
    parts = [
        world_service_pb2.ImportJournalRequest(data=data[at : at + size], name=name) for at in range(0, len(data), size)
    ]
    return (await stub.ImportJournal(iter(parts))).snapshot


async def walked(stub, created) -> list:
    walk = await attached(stub, created)
    await walk.send(script=script(*STEPS))
    return [await chunk(walk) for _ in STEPS]


@pytest.mark.parametrize("killed_after", [0, 20, 44])
async def test_a_killed_servers_walk_goes_on_as_if_nothing_had_been(tmp_path, killed_after):
    async with serving() as (_, stub):
        expected = await walked(stub, await opened(stub, **GRADIENT, prompt="slow=0.004"))
        frames = [frame for each in expected for frame in each[:-1]]
    options = ("--journal", str(tmp_path))
    async with started(*options) as process:
        port = int((await said(process))["listening"].rpartition(":")[2])
        async with connect(port) as stub:
            created = await opened(stub, **GRADIENT, prompt="slow=0.004")
            walk = await attached(stub, created)
            await walk.send(script=script(*STEPS))
            got = [await walk.until("frame") for _ in range(killed_after + 1)]
            process.kill()
            await process.wait()
    async with started(*options) as process:
        port = int((await said(process))["listening"].rpartition(":")[2])
        async with connect(port) as stub:
            walk = await attached(stub, created, last_seq=killed_after)
            assert (walk.attached.next_seq, walk.attached.queued_frames) == (killed_after + 1, 0)
            await walk.send(script=script(*STEPS[walk.attached.next_chunk :]))
            ends = []
            while len(got) < len(frames):
                more, end = await walk.chunk()
                end.ClearField("timing")
                end.ClearField("line")
                got, ends = [*got, *more], [*ends, end]
    assert plain(got) == frames
    assert ends == [each[-1] for each in expected][-len(ends) :]


async def test_a_diorama_outlives_its_server_with_its_lines_events_and_snapshots(tmp_path):
    async with serving(families=("diorama",), journal=tmp_path) as (_, stub):
        events = [
            {"request_id": "later", "text": "snow", "chunk": 3},
            {"request_id": "gone", "text": "rain", "chunk": 9},
        ]
        created = await opened(stub, **DIORAMA, events=events)
        walk = await attached(stub, created)
        done = [await first_chunk(walk, 0.5), await chunk(walk, 0.25)]
        await walk.send(cancel_event={"request_id": "c", "event_request_id": "gone"})
        assert (await walk.until("receipt")).applies_to_chunk == 9
        snapshot = (await stub.CreateSnapshot(world_service_pb2.CreateSnapshotRequest(**named(created)))).snapshot
        after = [await chunk(walk, 0.75), await chunk(walk, 0.0)]
        await stub.RewindSession(world_service_pb2.RewindSessionRequest(**named(created), chunks=2))
        before = await stub.GetSession(world_service_pb2.GetSessionRequest(**named(created)))
    async with serving(families=("diorama",), journal=tmp_path) as (_, stub):
        assert await stub.GetSession(world_service_pb2.GetSessionRequest(**named(created))) == before
        listed = await stub.ListEvents(world_service_pb2.ListEventsRequest(**named(created)))
        assert [(each.event.request_id, each.chunk) for each in listed.events] == [("later", 3)]
        stranger = world_service_pb2.GetSessionRequest(session_id=created.session.session_id, token="x" * 32)
        assert await refused(stub.GetSession(stranger)) == "SESSION_NOT_FOUND"
        walk = await attached(stub, created, last_seq=0, line=2)
        assert (await chunk(walk)) == done[0][1:]
        assert (await chunk(walk)) == done[1]
        assert [await chunk(walk, 0.75), await chunk(walk, 0.0)] == after
        assert [*(await stub.ListSnapshots(world_service_pb2.ListSnapshotsRequest())).snapshots] == [snapshot]
        other = await attached(stub, await opened(stub, snapshot_id=snapshot.snapshot_id))
        assert await chunk(other, 0.75) == after[0]


@WORLDS
async def test_a_walk_moves_to_another_server_and_can_be_made_again(tmp_path, world, module):
    async with serving(families=(module,)) as (_, stub):
        created = await opened(stub, **world)
        walk = await attached(stub, created)
        done = [await first_chunk(walk, 0.5), await chunk(walk, 0.25, event="snow"), await chunk(walk, 0.75)]
        data = await written(stub, **named(created))
        snapshot = (await stub.CreateSnapshot(world_service_pb2.CreateSnapshotRequest(**named(created)))).snapshot
        assert await written(stub, snapshot_id=snapshot.snapshot_id) == data
        after = await chunk(walk, 0.0)
    async with serving(families=(module,)) as (_, stub):
        snapshot = await imported(stub, data, name="from afar")
        assert (snapshot.name, snapshot.chunks, snapshot.frames) == ("from afar", 3, 45)
        assert await written(stub, snapshot_id=snapshot.snapshot_id) == data
        created = await opened(stub, snapshot_id=snapshot.snapshot_id)
        assert await chunk(await attached(stub, created), 0.0) == after
        await stub.RewindSession(world_service_pb2.RewindSessionRequest(**named(created), chunks=2))
        assert await chunk(await attached(stub, created), 0.75) == done[2]
    path = tmp_path / "walk.kwj"
    path.write_bytes(data)
    again = replay(
        path, lambda name: families.GradientFamily(FamilyOptions()) if name == "gradient" else load_family(name)
    )
    assert (again.chunks, again.frames, again.different, again.is_whole) == (3, 45, (), True)


async def test_a_file_that_is_not_whole_or_not_ours_is_refused():
    async with serving() as (_, stub):
        created = await opened(stub, **GRADIENT)
        await first_chunk(await attached(stub, created), 0.5)
        data = await written(stub, **named(created))
        for bad in (data[:-1], data[: len(data) // 2], b"PK\3\4", data.replace(b'"gradient"', b'"elsewise"'), b""):
            assert await refused(imported(stub, bad, size=500)) in ("JOURNAL_INVALID", "FAMILY_CHANGED")
        assert (await stub.ListSnapshots(world_service_pb2.ListSnapshotsRequest())).snapshots == []
        assert await refused(written(stub)) == "INVALID_FIELD"
        assert await refused(written(stub, snapshot_id="x")) == "SNAPSHOT_NOT_FOUND"
        assert await refused(written(stub, session_id="x", token="y")) == "SESSION_NOT_FOUND"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"width":64', b'"width":1000000', "size"),
        (b'"mode":"fly"', b'"mode":"dig"', "mode"),
        (b'"controls":[[1,', b'"controls":[[9,', "controls"),
    ],
)
async def test_a_forged_walk_asks_for_nothing_that_could_not_be_asked_for(old, new, words):
    async with serving() as (_, stub):
        created = await opened(stub, **GRADIENT)
        await first_chunk(await attached(stub, created), 0.5)
        data = await written(stub, **named(created))
        with pytest.raises(grpc.aio.AioRpcError, match=words):
            await imported(stub, forged(data, old, new))


def forged(data: bytes, old: bytes, new: bytes) -> bytes:
    """A walk with something else in it, whose checksums agree."""
    kept, digest, at = [file.MAGIC], b"", len(file.MAGIC)
    while at < len(data):
        kind, length, _ = struct.unpack_from("<cII", data, at)
        body = data[at + 9 : at + 9 + length].replace(old, new, 1) if kind != b"E" else digest
        digest = record.chained(digest, body) if kind in b"WC" else digest
        kept += [struct.pack("<cII", kind, len(body), zlib.crc32(body)), body]
        at += 9 + length
    return b"".join(kept)


async def test_the_command_says_which_frames_are_different(tmp_path, monkeypatch, capsys):
    async with serving() as (_, stub):
        created = await opened(stub, **GRADIENT)
        walk = await attached(stub, created)
        await first_chunk(walk, 0.5)
        await chunk(walk, 0.25)
        (tmp_path / "walk.kwj").write_bytes(await written(stub, **named(created)))
    pictures = families.picture
    for seed, status, different in ((0, 0, ()), (1, 1, tuple(range(29)))):
        monkeypatch.setattr(families, "picture", lambda spec, *rest, seed=seed: pictures(spec, *rest) + np.uint8(seed))
        monkeypatch.setattr(sys, "argv", ["replay", str(tmp_path / "walk.kwj"), "--json", "--family", FAMILY])
        assert main() == status
        assert tuple(json.loads(capsys.readouterr().out)["different"]) == different


async def test_two_servers_cannot_share_a_journal(tmp_path):
    async with serving(journal=tmp_path):
        async with started("--journal", str(tmp_path)) as process:
            _, log = await asyncio.wait_for(process.communicate(), WITHIN_S)
        assert process.returncode == 2
        assert b"another server" in log
        assert str(tmp_path).encode() not in log


async def test_closed_sessions_do_not_come_back(tmp_path):
    async with serving(journal=tmp_path) as (_, stub):
        created = await opened(stub, **GRADIENT)
        await first_chunk(await attached(stub, created), 0.5)
        await stub.CloseSession(world_service_pb2.CloseSessionRequest(**named(created)))
    async with serving(journal=tmp_path) as (_, stub):
        request = world_service_pb2.GetSessionRequest(**named(created))
        assert await refused(stub.GetSession(request)) == "SESSION_NOT_FOUND"
        assert not any(each.is_file() for each in (tmp_path / "blobs").rglob("*"))
