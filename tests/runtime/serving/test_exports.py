"""Exports on a server: captures are the walk to the last bit, jobs end as they should and leave nothing that is not wanted."""

import hashlib
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import grpc
import numpy as np
import pytest
from keepworld.capture import Capture
from keepworld.v1 import export_service_pb2, world_service_pb2
from keepworld_runtime.serving.exports import job
from keepworld_runtime.serving.exports.limits import ExportLimits

from tests.faults.harness import server_process
from tests.runtime.serving.client import eventually, pixels
from tests.runtime.serving.exporting import (
    STATES,
    called,
    capture,
    ended,
    export,
    exporting,
    fetched,
    now,
    stand_in,
    stubs_of,
    walked,
    watched,
)
from tests.runtime.serving.walks import attached, chunk, named, refused


@pytest.fixture(autouse=True)
def _exporters(tmp_path, monkeypatch):
    (tmp_path / "stand-in").mkdir()
    stand_in(tmp_path / "stand-in", monkeypatch)


def is_there(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def running(stubs, operation_id: str) -> list[int]:
    """Wait until an export runs; its processes."""
    pids = stubs.server.exports.store.where(operation_id) / "pids"
    await eventually(lambda: pids.exists() and pids.read_text())
    return [int(pid) for pid in pids.read_text().split()]


# Captures


async def test_a_capture_is_the_walk_to_the_last_bit():
    async with exporting() as stubs:
        created, frames = await walked(stubs)
        operation = await ended(stubs, (await capture(stubs, created)).operation_id)
        assert STATES[operation.state] == "DONE"
        assert (operation.frames, operation.different_frames) == (45, 0)
        assert operation.expires_s > operation.created_s
        made = Capture(stubs.server.exports.store.where(operation.operation_id) / "walk")
        assert [frame.number for frame in made.frames] == list(range(45))
        for kept, sent in zip(made.frames, frames, strict=True):
            np.testing.assert_array_equal(kept.image(), pixels(sent))
            assert kept.camera.c2w[2, 3] == sent.camera.world_from_camera.translation.z
            np.testing.assert_array_equal(kept.depth(), sent.seq)  # the family's closed form
        assert [(number, event.text) for number, event in made.events] == [(1, "rain")]
        assert (made.provenance.family, made.provenance.seed) == ("gradient", 7)


async def test_a_snapshot_is_captured_when_its_session_has_gone():
    async with exporting() as stubs:
        created, _ = await walked(stubs, 2)
        request = world_service_pb2.CreateSnapshotRequest(**named(created))
        kept = (await stubs.worlds.CreateSnapshot(request)).snapshot
        await stubs.worlds.CloseSession(world_service_pb2.CloseSessionRequest(**named(created)))
        asked = export_service_pb2.CreateCaptureRequest(snapshot_id=kept.snapshot_id)
        operation = await ended(stubs, (await stubs.exports.CreateCapture(asked)).operation.operation_id)
    assert (STATES[operation.state], operation.frames) == ("DONE", 29)


async def test_who_walks_meanwhile_walks_on_and_sees_no_other_session():
    async with exporting(max_sessions=1) as stubs:
        created, _ = await walked(stubs, prompt="slow=0.01")
        walk = await attached(stubs.worlds, created)
        operation = await capture(stubs, created)
        more = [await chunk(walk, 0.5) for _ in range(3)]
        listed = (await stubs.worlds.ListSessions(world_service_pb2.ListSessionsRequest())).sessions
        operation = await ended(stubs, operation.operation_id)
    assert [session.session_id for session in listed] == [created.session.session_id]
    assert [frame.seq for part in more for frame in part[:-1]] == list(range(45, 93))
    assert (STATES[operation.state], operation.frames, operation.different_frames) == ("DONE", 45, 0)


async def test_a_worker_that_dies_costs_a_capture_nothing(tmp_path):
    async with exporting() as stubs:
        created, _ = await walked(stubs, 2, prompt=f"crash=1 once={tmp_path / 'crashed'}")
        (tmp_path / "crashed").unlink()
        operation = await ended(stubs, (await capture(stubs, created)).operation_id)
    assert (tmp_path / "crashed").exists()
    assert (STATES[operation.state], operation.frames, operation.different_frames) == ("DONE", 29, 0)


async def test_what_cannot_be_captured_is_refused():
    async with exporting() as stubs:
        created, _ = await walked(stubs, 1)
        ask = stubs.exports.CreateCapture
        names = named(created)
        assert await refused(ask(export_service_pb2.CreateCaptureRequest())) == "INVALID_FIELD"
        both = export_service_pb2.CreateCaptureRequest(**names, snapshot_id="x")
        assert await refused(ask(both)) == "INVALID_FIELD"
        wrong = export_service_pb2.CreateCaptureRequest(**names | {"token": "wrong"})
        assert await refused(ask(wrong)) == "SESSION_NOT_FOUND"
        unknown = export_service_pb2.CreateCaptureRequest(snapshot_id="unknown")
        assert await refused(ask(unknown)) == "SNAPSHOT_NOT_FOUND"
        fresh = await stubs.worlds.CreateSession(world_service_pb2.CreateSessionRequest(family="gradient"))
        assert await refused(capture(stubs, fresh)) == "NOTHING_TO_CAPTURE"
        assert list(stubs.server.exports.store) == []


# Exports


async def test_an_export_tells_how_far_it_is_and_its_files_can_be_had():
    async with exporting() as stubs:
        created, _ = await walked(stubs)
        captured = await capture(stubs, created)
        started = await export(stubs, captured.operation_id, "world.glb", voxel=0.25, holdout=0, preset="preview")
        assert (STATES[started.state], started.capture_id) == ("WAITING", captured.operation_id)
        steps = await watched(stubs, started.operation_id)
        shares = [step.progress.share for step in steps]
        assert shares == sorted(shares) and shares[-1] == 1.0
        assert {"read", "write"} & {step.progress.stage for step in steps}
        done = steps[-1]
        assert (STATES[done.state], dict(done.metrics)) == ("DONE", {"psnr": 31.5, "chunks": 3.0})
        names = [file.name for file in done.files]
        assert names == ["arguments.txt", "environment.txt", "tiles/a.glb", "world.glb"]  # nothing hidden, no links
        for file in done.files:
            first, data = await fetched(stubs, done.operation_id, file.name)
            assert (first.size, first.sha256) == (file.size, file.sha256)
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)
        _, whole = await fetched(stubs, done.operation_id, "world.glb")
        _, rest = await fetched(stubs, done.operation_id, "world.glb", offset=1_000_000)
        assert whole == bytes(range(256)) * 4096 and rest == whole[1_000_000:]
        said = (await fetched(stubs, done.operation_id, "arguments.txt"))[1].decode()
        assert said == (
            f"../{captured.operation_id}/walk out/world.glb --report out --preset preview --holdout 0 --voxel 0.25 "
            "--json --progress json"
        )


async def test_the_exporters_are_told_none_of_the_servers_secrets(monkeypatch):
    monkeypatch.setenv("KEEPWORLD_API_KEY", "kw_secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with exporting() as stubs:
        created, _ = await walked(stubs, 1)
        done = await ended(stubs, (await export(stubs, (await capture(stubs, created)).operation_id)).operation_id)
        names = (await fetched(stubs, done.operation_id, "environment.txt"))[1].decode().split()
    assert "PATH" in names
    assert not [name for name in names if "KEEPWORLD" in name or "AWS" in name]


@pytest.mark.parametrize(
    ("files", "options", "field"),
    [
        (["../x.glb"], {}, "files[0]"),
        (["a.glb", "/etc/x.glb"], {}, "files[1]"),
        (["a\0.glb"], {}, "files[0]"),
        (["--json.glb"], {}, "files[0]"),
        (["out/"], {}, "files[0]"),
        ([".hidden.glb"], {}, "files[0]"),
        ([f"{'a' * 300}.glb"], {}, "files[0]"),
        (["a.glb", "a.glb"], {}, "files"),
        ([f"{i}.glb" for i in range(17)], {}, "files"),
        ([], {"preset": "best"}, "options.preset"),
        ([], {"profile": "--report"}, ""),
        ([], {"profile": "unity /tmp"}, "options.profile"),
        ([], {"holdout": 1}, "options.holdout"),
        ([], {"voxel": float("nan")}, "options.voxel"),
        ([], {"max_depth": -1.0}, "options.max_depth"),
        ([], {"texture": 9000}, "options.texture"),
    ],
)
def test_what_is_asked_for_is_checked_by_name(files, options, field):
    from keepworld_runtime.engine.errors import InvalidFieldError
    from keepworld_runtime.serving.exports.servicer import arguments

    request = export_service_pb2.StartExportRequest(files=files, options=options)
    if not field:  # no option can be made of a word
        assert arguments(request, 16)[-2:] == ["--profile", options["profile"]]
        return
    with pytest.raises(InvalidFieldError) as refusal:
        arguments(request, 16)
    assert refusal.value.field == field


async def test_a_cancelled_export_leaves_no_process_and_no_file():
    async with exporting() as stubs:
        created, _ = await walked(stubs, 1)
        captured = await capture(stubs, created)
        for name in ("hang.glb", "deaf.glb"):
            started = await export(stubs, captured.operation_id, name)
            pids = await running(stubs, started.operation_id)
            assert all(is_there(pid) for pid in pids)
            request = export_service_pb2.CancelOperationRequest(operation_id=started.operation_id)
            cancelled = (await stubs.exports.CancelOperation(request)).operation
            assert STATES[cancelled.state] == "CANCELLED"
            await eventually(lambda pids=pids: not any(is_there(pid) for pid in pids))
            assert not (stubs.server.exports.store.where(started.operation_id) / "out").exists()
            again = (await stubs.exports.CancelOperation(request)).operation
            assert again == cancelled
        assert STATES[(await now(stubs, captured.operation_id)).state] == "DONE"


async def test_a_capture_can_be_cancelled_and_what_waits_for_it_says_so():
    async with exporting() as stubs:
        created, _ = await walked(stubs, 2, prompt="slow=0.02")
        captured = await capture(stubs, created)
        started = await export(stubs, captured.operation_id)
        await eventually(lambda: (stubs.server.exports.store.where(captured.operation_id) / "walk").exists())
        request = export_service_pb2.CancelOperationRequest(operation_id=captured.operation_id)
        assert STATES[(await stubs.exports.CancelOperation(request)).operation.state] == "CANCELLED"
        failed = await ended(stubs, started.operation_id)
        assert (STATES[failed.state], failed.reason) == ("FAILED", "CAPTURE_FAILED")
        assert not (stubs.server.exports.store.where(captured.operation_id) / "walk").exists()
        assert stubs.server.exports.store.num_bytes < 10_000
        assert await refused(export(stubs, captured.operation_id)) == "CAPTURE_FAILED"
        done = await ended(stubs, (await capture(stubs, created)).operation_id)  # the next one is not held up
    assert STATES[done.state] == "DONE"


@pytest.mark.parametrize(
    ("name", "reason", "said"),
    [
        ("refuse.glb", "EXPORT_FAILED", "nothing lasting is in view"),
        ("die.glb", "EXPORT_FAILED", "SIGSEGV"),
        ("mute.glb", "EXPORT_FAILED", "without saying"),
        ("eat.glb", "EXPORT_MEMORY", "memory"),
        ("fill.glb", "EXPORT_SPACE", "wrote more"),
    ],
)
async def test_a_failed_export_says_why(name, reason, said):
    limits = ExportLimits(memory_bytes=200 << 20, export_bytes=10 << 20)
    async with exporting(export=limits) as stubs:
        created, _ = await walked(stubs, 1)
        failed = await ended(
            stubs, (await export(stubs, (await capture(stubs, created)).operation_id, name)).operation_id
        )
        assert (STATES[failed.state], failed.reason) == ("FAILED", reason)
        assert said in failed.message and "/" not in failed.message
        assert not (stubs.server.exports.store.where(failed.operation_id) / "out").exists()


async def test_an_export_that_takes_too_long_is_ended():
    async with exporting(export=ExportLimits(time_s=1.0)) as stubs:
        created, _ = await walked(stubs, 1)
        failed = await ended(
            stubs, (await export(stubs, (await capture(stubs, created)).operation_id, "hang.glb")).operation_id
        )
    assert (STATES[failed.state], failed.reason) == ("FAILED", "EXPORT_TIME")


@pytest.mark.parametrize("name", ["chatter.glb", "leave.glb"])
async def test_neither_noise_nor_processes_left_behind_hold_an_export_up(name):
    async with exporting() as stubs:
        created, _ = await walked(stubs, 1)
        captured = await capture(stubs, created)
        done = await ended(stubs, (await export(stubs, captured.operation_id, name)).operation_id)
    assert STATES[done.state] == "DONE"


async def test_exports_wait_for_their_turn_and_say_how_many_go_before():
    async with exporting() as stubs:
        created, _ = await walked(stubs, 1)
        captured = await capture(stubs, created)
        first = await export(stubs, captured.operation_id, "hang.glb")
        await running(stubs, first.operation_id)
        second = await export(stubs, captured.operation_id, "world.glb")
        third = await export(stubs, captured.operation_id, "world.glb")
        standing = await now(stubs, third.operation_id)
        assert (STATES[standing.state], standing.progress.ahead) == ("WAITING", 2)
        await stubs.exports.DeleteOperation(export_service_pb2.DeleteOperationRequest(operation_id=first.operation_id))
        assert [STATES[(await ended(stubs, each.operation_id)).state] for each in (second, third)] == ["DONE", "DONE"]
        assert await refused(now(stubs, first.operation_id)) == "OPERATION_NOT_FOUND"


async def test_an_export_goes_on_when_its_caller_has_gone():
    async with exporting() as stubs:
        created, _ = await walked(stubs, 1)
        captured = await capture(stubs, created)
        async with called(stubs.server) as other:
            started = await export(other, captured.operation_id, "world.glb")
            call = other.exports.WatchOperation(
                export_service_pb2.WatchOperationRequest(operation_id=started.operation_id)
            )
            await call.read()
            call.cancel()
        done = await ended(stubs, started.operation_id)
    assert STATES[done.state] == "DONE"


async def test_the_same_request_is_one_operation():
    async with exporting() as stubs:
        created, _ = await walked(stubs, 1)
        request = export_service_pb2.CreateCaptureRequest(
            request_id="6f0c6f0a-4a55-4b8b-9f5b-9a0a1c1f2e3d", **named(created)
        )
        ids = [(await stubs.exports.CreateCapture(request)).operation.operation_id for _ in range(2)]
        listed = (await stubs.exports.ListOperations(export_service_pb2.ListOperationsRequest())).operations
    assert ids[0] == ids[1]
    assert [each.operation_id for each in listed] == ids[:1]


async def test_files_that_are_not_there_are_not_had():
    async with exporting() as stubs:
        created, _ = await walked(stubs, 1)
        captured = await capture(stubs, created)
        done = await ended(stubs, (await export(stubs, captured.operation_id, "world.glb")).operation_id)
        for name in ("../operation.json", "link", ".hidden", "", "/etc/passwd", "out/world.glb"):
            assert await refused(fetched(stubs, done.operation_id, name)) == "FILE_NOT_FOUND"
        assert await refused(fetched(stubs, "unknown", "world.glb")) == "OPERATION_NOT_FOUND"
        assert await refused(fetched(stubs, captured.operation_id, "capture.json")) == "FILE_NOT_FOUND"
        assert await refused(fetched(stubs, done.operation_id, "world.glb", offset=1 << 30)) == "INVALID_FIELD"


# Bounds


async def test_operations_are_bounded_in_number_and_disk_and_forgotten_in_time():
    async with exporting(export=ExportLimits(max_operations=2, max_bytes=1 << 20, kept_s=60.0)) as stubs:
        store = stubs.server.exports.store
        created, _ = await walked(stubs, 1)
        room = 13 * 64 * 48 * 11
        assert room < 1 << 20 < 3 * room
        first = await ended(stubs, (await capture(stubs, created)).operation_id)
        assert await refused(export(stubs, first.operation_id)) == "EXPORT_SPACE"  # an export holds more than that
        await ended(stubs, (await capture(stubs, created)).operation_id)
        assert await refused(capture(stubs, created)) == "TOO_MANY_OPERATIONS"
        clock = store.clock
        store.clock = lambda: clock() + 61.0
        store.expire()
        assert (list(store), store.num_bytes, list(store.folder.iterdir())) == ([], 0, [])
        assert await refused(now(stubs, first.operation_id)) == "OPERATION_NOT_FOUND"


async def test_a_capture_is_kept_while_something_is_made_of_it():
    async with exporting(export=ExportLimits(kept_s=60.0)) as stubs:
        store = stubs.server.exports.store
        created, _ = await walked(stubs, 1)
        captured = await ended(stubs, (await capture(stubs, created)).operation_id)
        started = await export(stubs, captured.operation_id, "hang.glb")
        await running(stubs, started.operation_id)
        clock = store.clock
        store.clock = lambda: clock() + 61.0
        store.expire()
        assert {each.id for each in store} == {captured.operation_id, started.operation_id}


async def test_a_server_without_exporters_says_the_way_out(monkeypatch):
    monkeypatch.setattr(job, "missing", lambda: ["open3d"])
    async with exporting() as stubs:
        told = await stubs.worlds.GetCapabilities(world_service_pb2.GetCapabilitiesRequest())
        created, _ = await walked(stubs, 1)
        captured = await ended(stubs, (await capture(stubs, created)).operation_id)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await export(stubs, captured.operation_id)
    assert not told.HasField("exports")
    assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "pip install 'keepworld[export]'" in refusal.value.details()


async def test_exports_are_in_the_metrics():
    async with exporting() as stubs:
        created, _ = await walked(stubs, 1)
        await ended(stubs, (await export(stubs, (await capture(stubs, created)).operation_id, "die.glb")).operation_id)
        value = stubs.server._metrics.registry.get_sample_value
        assert value("keepworld_operations", {"kind": "capture", "state": "done"}) == 1
        assert value("keepworld_operations_ended_total", {"kind": "export", "state": "failed"}) == 1
        assert value("keepworld_operations_bytes") > 1000


# Servers that are stopped


@pytest.mark.parametrize("name", ["once.glb", "hang.glb"])
async def test_an_interrupted_export_is_gone_on_with_once(tmp_path, name):
    settings = {"exports": tmp_path / "exports"}
    async with exporting(**settings) as stubs:
        created, _ = await walked(stubs, 1)
        captured = await ended(stubs, (await capture(stubs, created)).operation_id)
        started = await export(stubs, captured.operation_id, name)
        pids = await running(stubs, started.operation_id)
    await eventually(lambda: not any(is_there(pid) for pid in pids))
    if name == "hang.glb":
        (tmp_path / "exports" / started.operation_id / "pids").unlink()
        async with exporting(**settings) as stubs:
            await running(stubs, started.operation_id)
    async with exporting(**settings) as stubs:
        operation = await ended(stubs, started.operation_id)
    if name == "once.glb":  # what was there was still there
        assert (STATES[operation.state], len(operation.files)) == ("DONE", 4)
    else:
        assert (STATES[operation.state], operation.reason) == ("FAILED", "INTERRUPTED")
        assert "ask for it again" in operation.message


async def test_an_interrupted_capture_says_so(tmp_path):
    settings = {"exports": tmp_path / "exports"}
    async with exporting(**settings) as stubs:
        created, _ = await walked(stubs, 2, prompt="slow=0.03")
        started = await capture(stubs, created)
        await eventually(lambda: (tmp_path / "exports" / started.operation_id / "walk").exists())
    async with exporting(**settings) as stubs:
        operation = await ended(stubs, started.operation_id)
    assert (STATES[operation.state], operation.reason) == ("FAILED", "INTERRUPTED")


async def test_no_export_outlives_a_server_that_is_killed(tmp_path, monkeypatch):
    folder = tmp_path / "exports"
    monkeypatch.setattr(sys, "path", [str(tmp_path / "stand-in"), *sys.path])  # which a server process is given
    async with (
        server_process("--exports", str(folder)) as (port, server),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stubs = stubs_of(channel, None)
        created, _ = await walked(stubs, 1)
        started = await export(stubs, (await capture(stubs, created)).operation_id, "hang.glb")
        pids = folder / started.operation_id / "pids"
        await eventually(lambda: pids.exists() and pids.read_text())
        job_pid, its_child = (int(pid) for pid in pids.read_text().split())
        os.kill(server.pid, signal.SIGKILL)
        await eventually(lambda: not is_there(job_pid))
        os.kill(its_child, signal.SIGKILL)  # what the exporters start is theirs to end
