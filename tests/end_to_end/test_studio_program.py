"""Ten lines that a studio would want to write, run as they are written: an encrypted server far away, a picture, a gamepad."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image

from tests import checkpoints
from tests.runtime.serving import certificates
from tests.tunnel import tunnel

ROOT = Path(__file__).parents[2]
HOST = "worlds.studio.lan"
PROGRAM = """\
import keepworld as kw
async with kw.AsyncClient("grpcs://worlds.studio.lan:443") as client:            # key from KEEPWORLD_API_KEY
    async with client.sessions.open(model="worldplay-1.5", image="keep.png", seed=7) as s:
        pad = kw.inputs.Gamepad(deadzone=0.1)                                    # or Keyboard(), Script("walk.json")
        async for chunk in s.stream(controls=pad, encoding="h264"):
            engine.show(chunk.frames, pose=chunk.poses.to("unity"))              # left-handed, Y up, metres
            if engine.storm:
                receipt = await s.event("a thunderstorm rolls in", ramp=2.0)
                engine.log(receipt.applies_to_chunk, chunk.latency.control_ms)
        await s.snapshot("before-boss")
"""
# What stands around it: an engine, and hands on a pad that hold the stick forward, and press Start in the end. It does not
# walk by the clock, which a busy machine without a GPU could not keep.
AROUND = """\
import asyncio, functools, json, os, struct
from pathlib import Path
from keepworld import AsyncSession, gamepad

AsyncSession.stream = functools.partialmethod(AsyncSession.stream, pace="fast")

gamepad.DEVICES = Path("input")
os.mkdir("input")
os.mkfifo("input/js0")
hands = os.open("input/js0", os.O_RDWR)
os.write(hands, struct.pack("IhBB", 0, -32767, 2, 1))

class Engine:
    shown, said = [], []
    storm = property(lambda self: len(self.shown) == 1)

    def show(self, frames, pose):
        self.shown.append([list(frames[-1].image.shape), pose[:, :3, 3].tolist()])
        if len(self.shown) == 3:
            os.write(hands, struct.pack("IhBB", 0, 1, 1, 7))

    def log(self, *words):
        self.said.append(words)

engine = Engine()

async def main():
{program}
    async with kw.AsyncClient("grpcs://worlds.studio.lan:443") as client:
        kept = [snapshot.name for snapshot in await client.snapshots()]
    print(json.dumps({{"shown": engine.shown, "said": engine.said, "kept": kept}}))

asyncio.run(main())
"""


def test_the_studio_program_runs_as_written(tmp_path: Path) -> None:
    ca = certificates.authority(tmp_path, "studio")
    pair = certificates.vouched_for(tmp_path, "server", ca, f"DNS:{HOST}")
    weights = checkpoints.write_worldplay_8b(tmp_path / "weights")
    keys = tmp_path / "server.keys"
    cli = [sys.executable, "-m", "keepworld.cli"]
    created = subprocess.run(
        [*cli, "keys", "create", "--keys", keys, "--tenant", "studio"],
        capture_output=True,
        text=True,
        check=True,
    )
    here = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*cli, "serve", "--port", "0", "--threads", "1", "--exit-with-stdin", "--log-level", "WARNING"]
    command += [
        "--family",
        "worldplay-8b",
        "--checkpoint",
        weights,
        "--keys",
        keys,
        "--tls-cert",
        pair.cert,
        "--tls-key",
        pair.key,
    ]
    Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(tmp_path / "keep.png")
    (tmp_path / "program.py").write_text(AROUND.format(program=textwrap.indent(PROGRAM, "    ")))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=here, cwd=tmp_path) as server:
        assert server.stdin and server.stdout
        port = int(json.loads(server.stdout.readline())["listening"].rpartition(":")[2])
        assert json.loads(server.stdout.readline())["ready"]
        with tunnel(port) as proxy:
            environment = here | {
                "KEEPWORLD_API_KEY": re.search(r"kw_\S+", created.stdout)[0],
                "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(ca.cert),
                "https_proxy": proxy.url,
            }
            done = subprocess.run(
                [sys.executable, ROOT / "tests/docs/small.py", "program.py", "64x64"],
                cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
        server.stdin.close()
    assert done.returncode == 0, done.stderr
    assert set(proxy.asked) == {f"{HOST}:443"}
    told = json.loads(done.stdout)
    assert len(told["shown"]) >= 3 and told["kept"] == ["before-boss"]
    assert all(shape == [64, 64, 3] for shape, _ in told["shown"])
    assert [words[0] >= 1 for words in told["said"]] == [True]
    ahead = [place[2] for _, places in told["shown"] for place in places]
    assert ahead == sorted(ahead) and ahead[-1] > 0  # Unity's z, walking forward
