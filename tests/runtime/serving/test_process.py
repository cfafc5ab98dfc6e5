"""The server as a process: what it says, how it stops, and that it leaves nothing behind."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from keepworld.v1 import session_pb2, world_service_pb2

from tests.runtime.serving.client import WITHIN_S, Walk, connect, create, error_info, eventually, serving

COMMAND = (sys.executable, "-m", "keepworld_runtime", "--port", "0", "--family", "gradient=tests.families")


@asynccontextmanager
async def started(*options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *options, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process) -> dict:
    return json.loads(await asyncio.wait_for(process.stdout.readline(), WITHIN_S))


async def until_gone(processes: list[psutil.Process]) -> None:
    await eventually(lambda: not any(each.is_running() and each.status() != "zombie" for each in processes))


async def test_sigterm_tells_readers_and_leaves_nothing_behind():
    async with started("--log-level", "INFO") as process:
        listening, ready = await said(process), await said(process)
        assert listening["pid"] == process.pid
        assert ready["ready"] is True and ready["warm_s"] > 0
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        async with connect(int(listening["listening"].rpartition(":")[2])) as stub:
            created = await create(stub, "the-secret-prompt slow=0.005")
            walk = Walk(stub, created)
            await walk.attach()
            await walk.chunk()
            process.send_signal(signal.SIGTERM)
            notice = await walk.until("notice")
            code, info = await walk.status()
        _, log = await asyncio.wait_for(process.communicate(), 10)
        await until_gone(children)
    assert process.returncode == 0
    assert notice.kind == session_pb2.NOTICE_KIND_DRAINING
    assert (code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert f"session={created.session.session_id} chunk=0".encode() in log
    assert b"the-secret-prompt" not in log
    assert created.token.encode() not in log
    assert b"Traceback" not in log


VANISHING_CLIENT = """
import asyncio, os, sys
from tests.runtime.serving.client import Walk, connect, create
async def main():
    async with connect(int(sys.argv[1])) as stub:
        walk = Walk(stub, await create(stub))
        await walk.attach()
        await walk.until("frame")
        os._exit(0)
asyncio.run(main())
"""


async def test_a_client_whose_process_ends_is_no_error():
    async with started("--log-level", "INFO") as process:
        port = (await said(process))["listening"].rpartition(":")[2]
        await said(process)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = (sys.executable, "-c", VANISHING_CLIENT, port)
        client = await asyncio.create_subprocess_exec(*command, env=environment)
        assert await asyncio.wait_for(client.wait(), WITHIN_S) == 0
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    assert b"Traceback" not in log


async def test_a_server_ends_when_its_stdin_does():
    async with started("--exit-with-stdin") as process:
        await said(process)
        await said(process)
        children = psutil.Process(process.pid).children(recursive=True)
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0
        await until_gone(children)


@pytest.mark.parametrize("ranks", [1, 2])
async def test_a_killed_server_takes_its_workers_along(ranks):
    async with started("--ranks", str(ranks)) as process:
        await said(process)
        await said(process)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= ranks
        process.kill()
        await until_gone(children)


async def test_ctrl_c_while_warming_is_fine():
    async with started() as process:
        await said(process)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_taken_port_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with started("--port", str(taken.getsockname()[1])) as process:
            assert await asyncio.wait_for(process.wait(), 10) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "0.0.0.0"), b"insecure"),
        (("--family", "nothing"), b"known: diorama"),
        (("--max-sessions", "0"), b"max_sessions"),
        (("--config", "/nowhere.toml"), b"nowhere"),
        (("--dtype", "int3"), b"float32"),
        (("--warm-s", "0"), b"patience.warm_s"),
        (("--family", "diorama", "--ranks", "2"), b"diorama"),
        (("--family", "other=tests.families", "--device", "cuda"), b"gradient or other"),
    ],
)
async def test_settings_that_make_no_sense_are_explained(options, words):
    async with started(*options) as process:
        _, log = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 2
    assert words in log


async def test_options_reach_the_family_in_the_server_and_in_its_worker(tmp_path):
    options = ("--variant", "fast", "--checkpoint", str(tmp_path), "--kernels", "a,b")
    async with started(*options) as process:
        listening, _ = await said(process), await said(process)
        async with connect(int(listening["listening"].rpartition(":")[2])) as stub:
            assert (await create(stub)).session.family_version == "fast"


async def test_weights_that_are_not_there_are_said_once(tmp_path):
    async with started("--checkpoint", str(tmp_path / "nowhere")) as process:
        _, log = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode == 1
    assert log.count(b"cannot go on: ValueError: no weights in") == 1


async def test_a_checkpoint_for_the_diorama_is_refused():
    command = (sys.executable, "-m", "keepworld_runtime", "--port", "0", "--checkpoint", "weights")
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, log = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 2
    assert b"takes no checkpoint" in log


async def test_a_family_that_cannot_load_ends_the_server():
    async with started("--family", "diorama=tests.no_such_module") as process:
        assert await asyncio.wait_for(process.wait(), 15) == 1


async def test_health_and_reflection():
    async with serving() as (server, _), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "keepworld.v1.WorldService", "keepworld.family.gradient"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        services = {each.name for each in (await call.read()).list_services_response.service}
        call.cancel()
    assert {"keepworld.v1.WorldService", "keepworld.v1.AssetService", "grpc.health.v1.Health"} <= services


async def test_a_warming_server_is_not_serving_and_a_create_waits_for_it():
    async with started() as process:
        listening = await said(process)
        address = listening["listening"]
        async with grpc.aio.insecure_channel(address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=""))
            status = (await check).status
        async with connect(int(address.rpartition(":")[2])) as stub:
            assert (await create(stub)).token
        assert (await said(process))["ready"]
    assert status in (health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING)


async def test_capabilities_are_the_familys_own():
    async with serving(max_sessions=3, dead_man_s=1.5) as (_, stub):
        answer = await stub.GetCapabilities(world_service_pb2.GetCapabilitiesRequest())
    (family,) = answer.families
    assert (family.name, family.fps, family.first_chunk_frames, family.chunk_frames) == ("gradient", 24.0, 13, 16)
    assert [(size.width, size.height) for size in family.sizes] == [(64, 48), (512, 288)]
    assert {mode.name: list(mode.axes) for mode in family.modes}["ride"] == ["move_forward"]
    assert {each.heading: list(each.words) for each in family.event_phrases} == {"weather": ["rain", "snow"]}
    assert 0 < family.chunk_s < 1
    limits = answer.limits
    assert (limits.max_sessions, limits.dead_man_s, limits.idle_s) == (3, 1.5, 600.0)
    assert (limits.max_snapshots, limits.max_asset_frames, limits.asset_s) == (64, 1024, 600.0)
    assert (limits.max_steps, limits.max_queued_frames, limits.max_pending_events) == (4096, 100_000, 256)


async def test_an_unexpected_error_tells_nothing_of_the_machine():
    async with serving() as (server, stub):
        server.engine.create = None
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await create(stub)
    assert failed.value.code() == grpc.StatusCode.INTERNAL
    assert error_info(failed.value.trailing_metadata()).reason == "INTERNAL"
    assert "NoneType" not in str(failed.value)


def test_the_server_imports_neither_torch_nor_what_draws():
    code = "import sys, keepworld_runtime.serving.server; print([m for m in ('torch', 'numba', 'embreex') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
