"""Exports on a server with keys: whose they are, who may ask for them, and what they use up."""

import asyncio
import uuid

import grpc
import pytest
from keepworld.v1 import export_service_pb2, world_service_pb2
from keepworld_runtime.serving.keys import Allowance, KeyFile, Scope

from tests.runtime.serving.callers import Keys, calling, guarded, refusal
from tests.runtime.serving.exporting import STATES, capture, ended, export, stand_in, walked
from tests.runtime.serving.walks import named

DAY_S = 86_400.0


@pytest.fixture
def keys(tmp_path, monkeypatch):
    (tmp_path / "stand-in").mkdir()
    stand_in(tmp_path / "stand-in", monkeypatch)
    made = Keys(tmp_path)
    yield made
    made.file.close()


def listed(caller):
    return caller.exports.ListOperations(export_service_pb2.ListOperationsRequest())


async def test_exports_are_their_tenants(tmp_path, keys):
    keys.make("colleague", tenant="acme")
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["acme"]) as caller:
        created, _ = await walked(caller, 1)
        captured = await capture(caller, created)
        started = await export(caller, captured.operation_id, "world.glb")
        assert STATES[(await ended(caller, started.operation_id)).state] == "DONE"
        async with calling(server, keys.shown["colleague"]) as colleague, calling(server, keys.shown["rival"]) as rival:
            assert len((await listed(colleague)).operations) == 2
            assert len((await listed(rival)).operations) == 0
            theirs = await refusal(export(rival, captured.operation_id))
            assert theirs == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")
            own = await ended(colleague, started.operation_id)
            assert own.capture_id == captured.operation_id


async def test_a_restart_changes_no_owner(tmp_path, keys):
    settings = {"exports": tmp_path / "exports"}
    async with guarded(tmp_path, keys, **settings) as server, calling(server, keys.shown["acme"]) as caller:
        created, _ = await walked(caller, 1)
        captured = await capture(caller, created)
        await ended(caller, captured.operation_id)
    async with (
        guarded(tmp_path, keys, **settings) as server,
        calling(server, keys.shown["acme"]) as caller,
        calling(server, keys.shown["rival"]) as rival,
    ):
        assert [each.operation_id for each in (await listed(caller)).operations] == [captured.operation_id]
        assert len((await listed(rival)).operations) == 0


async def test_walking_is_not_exporting(tmp_path, keys):
    async with (
        guarded(tmp_path, keys) as server,
        calling(server, keys.shown["stream"]) as walker,
        calling(server, keys.shown["export"]) as exporter,
    ):
        created, _ = await walked(walker, 1)
        assert await refusal(capture(walker, created)) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
        done = await ended(exporter, (await capture(exporter, created)).operation_id)
    assert STATES[done.state] == "DONE"


async def test_exports_are_counted_by_the_day_and_only_those_that_were_begun(tmp_path, keys):
    keys.make("two", exports=2)
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["two"]) as caller:
        created, _ = await walked(caller, 1)
        captured = await capture(caller, created)
        asked = export_service_pb2.StartExportRequest(request_id=str(uuid.uuid4()), capture_id=captured.operation_id)
        wrong = export_service_pb2.StartExportRequest(capture_id=captured.operation_id, files=["../x"])
        assert (await refusal(caller.exports.StartExport(wrong)))[1] == "INVALID_FIELD"
        started = [(await caller.exports.StartExport(asked)).operation.operation_id for _ in range(2)]
        assert started[0] == started[1]
        await export(caller, captured.operation_id)
        code, reason = await refusal(export(caller, captured.operation_id))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA")
        keys.now_s += DAY_S
        assert await export(caller, captured.operation_id)


async def settled(count):
    """A number once it no longer grows: what is being drawn when a stream ends is counted a little later."""
    before, now = None, count()
    while now != before:
        await asyncio.sleep(0.3)
        before, now = now, count()
    return now


async def test_drawing_a_capture_costs_what_drawing_costs(tmp_path, keys):
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["acme"]) as caller:
        created, _ = await walked(caller, 4, prompt="slow=0.005")
        key = keys.file.get(keys.ids["acme"])
        walking_s = await settled(lambda: server._guard._quotas._used(key)[0])
        keys.file.connection.execute("UPDATE keys SET draw_s = ? WHERE id = ?", (walking_s * 1.4, key.id))
        failed = await ended(caller, (await capture(caller, created)).operation_id)
        again = await refusal(capture(caller, created))
    assert (STATES[failed.state], failed.reason) == ("FAILED", "QUOTA")
    assert 0 < failed.frames < 61
    assert again[1] == "QUOTA"


async def test_a_capture_takes_no_sessions_place(tmp_path, keys):
    keys.make("one", max_sessions=1)
    async with guarded(tmp_path, keys, max_sessions=1) as server, calling(server, keys.shown["one"]) as caller:
        created, _ = await walked(caller, 2, prompt="slow=0.01")
        captured = await capture(caller, created)
        await caller.worlds.CloseSession(world_service_pb2.CloseSessionRequest(**named(created)))
        other, _ = await walked(caller, 1)
        done = await ended(caller, captured.operation_id)
    assert other and (STATES[done.state], done.frames) == ("DONE", 29)


def test_files_of_keys_from_before_there_were_exports_are_taken(tmp_path):
    made = KeyFile(tmp_path / "keys", make=True)
    key, shown = made.create("acme", (Scope.STREAM,), Allowance(draw_s=5.0))
    made.connection.execute("ALTER TABLE keys DROP COLUMN exports")
    made.close()
    older = KeyFile(tmp_path / "keys")
    assert older.recognise(shown) == key
    other, shown = older.create("acme", (Scope.EXPORT,), Allowance(exports=3))
    assert older.recognise(shown) == other
    assert other.allowance.exports == 3
    older.close()
