"""A server that exports, and exporters that misbehave on request: programs that are run as the real ones are."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
from keepworld.v1 import asset_service_pb2, asset_service_pb2_grpc, export_service_pb2, export_service_pb2_grpc
from keepworld.v1 import world_service_pb2_grpc as worlds_grpc

from tests.runtime.serving.client import WITHIN_S, serving
from tests.runtime.serving.walks import GRADIENT, attached, chunk, first_chunk, named, opened

STATES = {
    getattr(export_service_pb2, f"OPERATION_STATE_{name}"): name
    for name in ("WAITING", "RUNNING", "DONE", "FAILED", "CANCELLED")
}

# What it does is said by the name of the first file: `hang.glb` never ends, and so on. It tells of itself in `out/`.
PROGRAM = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

capture, out, *rest = sys.argv[1:]
out = Path(out)
folder = out if sys.argv[2].endswith("/") else out.parent
what = out.name.partition(".")[0]

def say(stage, share):
    print(json.dumps({"stage": stage, "share": share, "left_s": 1.5}), file=sys.stderr, flush=True)

def write(name, data):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)

say("read", 0.1)
tried = Path("tried")
if what == "hang" or (what == "once" and not tried.exists()):
    tried.touch()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    write("half.part", b"x")
    # Asked to end, the real ones leave nothing to go on from either.
    signal.signal(signal.SIGTERM, lambda *_: ((folder / "half.part").unlink(), os._exit(143)))
    Path("pids").write_text(f"{os.getpid()} {child.pid}")
    time.sleep(1000)
if what == "once":
    assert (folder / "half.part").exists()
    (folder / "half.part").unlink()
if what == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path("pids").write_text(str(os.getpid()))
    time.sleep(1000)
if what == "eat":
    block = bytearray(os.urandom(1)) * (400 << 20)
    time.sleep(1000)
if what == "fill":
    for i in range(100):
        write(f"{i}.bin", bytes(1 << 20))
        time.sleep(0.02)
    time.sleep(1000)
if what == "leave":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
if what == "refuse":
    sys.exit("keepworld-export: nothing lasting is in view")
if what == "die":
    os.kill(os.getpid(), signal.SIGSEGV)
if what == "mute":
    sys.exit(0)
if what == "chatter":
    print("x" * 1_000_000 + "\\n{}\\n[1]\\n\\xff", file=sys.stderr)
count = len((Path(capture) / "chunks.jsonl").read_text().splitlines())
write(out.name if out != folder else "scene.glb", bytes(range(256)) * 4096)
write("tiles/a.glb", b"tile")
write(".hidden", b"not told")
(folder / "link").symlink_to("/etc/passwd")
write("environment.txt", "\\n".join(sorted(os.environ)).encode())
write("arguments.txt", " ".join(sys.argv[1:]).encode())
say("write", 0.9)
print(json.dumps({"files": {}, "metrics": {"psnr": 31.5, "chunks": count, "note": "text", "holes": None}}))
"""


def stand_in(folder: Path, monkeypatch: Any) -> None:
    """Have servers run the program above in place of the exporters."""
    package = folder / "keepworld_exporters"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))


@asynccontextmanager
async def exporting(**settings: Any) -> Any:
    """A server, and stubs for it."""
    async with serving(**settings) as (server, _), called(server) as stubs:
        yield stubs


@asynccontextmanager
async def called(server: Any) -> Any:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
        yield stubs_of(channel, server)


def stubs_of(channel: Any, server: Any) -> SimpleNamespace:
    return SimpleNamespace(
        server=server,
        worlds=worlds_grpc.WorldServiceStub(channel),
        assets=asset_service_pb2_grpc.AssetServiceStub(channel),
        exports=export_service_pb2_grpc.ExportServiceStub(channel),
    )


async def walked(stubs: Any, chunks: int = 3, **fields: Any) -> tuple[Any, list[Any]]:
    """A session that has walked, and its frames."""
    created = await opened(stubs.worlds, **GRADIENT | fields)
    walk = await attached(stubs.worlds, created)
    frames = (await first_chunk(walk, 0.5))[:-1]
    for i in range(1, chunks):
        frames += (await chunk(walk, 0.5, event="rain" if i == 1 else ""))[:-1]
    walk.call.cancel()
    return created, frames


async def capture(stubs: Any, created: Any) -> Any:
    """Ask for a capture of a session; the operation."""
    response = await stubs.exports.CreateCapture(export_service_pb2.CreateCaptureRequest(**named(created)))
    return response.operation


async def export(stubs: Any, capture_id: str, *files: str, **options: Any) -> Any:
    """Ask for an export; the operation."""
    request = export_service_pb2.StartExportRequest(capture_id=capture_id, files=files, options=options)
    return (await stubs.exports.StartExport(request)).operation


async def watched(stubs: Any, operation_id: str) -> list[Any]:
    """An operation at every step, to its end."""
    request = export_service_pb2.WatchOperationRequest(operation_id=operation_id)
    async with asyncio.timeout(3 * WITHIN_S):
        return [response.operation async for response in stubs.exports.WatchOperation(request)]


async def ended(stubs: Any, operation_id: str) -> Any:
    return (await watched(stubs, operation_id))[-1]


async def now(stubs: Any, operation_id: str) -> Any:
    request = export_service_pb2.GetOperationRequest(operation_id=operation_id)
    return (await stubs.exports.GetOperation(request)).operation


async def fetched(stubs: Any, operation_id: str, name: str, offset: int = 0) -> tuple[Any, bytes]:
    """The first message of a download, and its bytes."""
    request = asset_service_pb2.DownloadAssetRequest(operation_id=operation_id, name=name, offset=offset)
    first, *others = [part async for part in stubs.assets.DownloadAsset(request)]
    return first, b"".join(part.data for part in others)
