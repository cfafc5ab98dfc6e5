"""What a busy server writes and answers: no prompt, no event, no key, no token, no secret id, no path of this machine."""

import signal
import tempfile
from pathlib import Path

import grpc
import pytest
from keepworld import png
from keepworld.v1 import control_pb2, world_service_pb2

from tests.runtime.serving.callers import Keys, calling
from tests.runtime.serving.client import Walk, create, rich_status, script
from tests.runtime.serving.test_assets import frame, grey, header
from tests.runtime.serving.test_process import said, started

WORDS = {"prompt": "thesecretprompt", "event": "thesecretevent", "name": "thesecretname"}


class Server:
    """A process, as far as callers need it."""

    def __init__(self, port: int) -> None:
        self.port = port


async def refused(call, answers: list[str]) -> None:
    """Keep all that a refusal says."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    answers += [error.value.details(), str(rich_status(error.value.trailing_metadata()))]


async def be_busy(server, keys: Keys, answers: list[str], secrets: dict[str, str]) -> None:
    """Walk, go wrong in every way that has an answer, and lose a worker."""
    async with calling(server, None) as nobody:
        await refused(create(nobody.worlds, WORDS["prompt"]), answers)
    async with calling(server, keys.shown["acme"][:-1] + "-") as stranger:
        await refused(create(stranger.worlds, WORDS["prompt"]), answers)
    async with calling(server, keys.shown["acme"]) as caller:
        await refused(create(caller.worlds, WORDS["prompt"] * 1000), answers)
        await refused(create(caller.worlds, WORDS["prompt"], image_asset_id=WORDS["name"]), answers)
        await refused(caller.assets.UploadAsset(iter([header(), frame(b"GIF89a")])), answers)
        asset = await caller.assets.UploadAsset(iter([header(), frame(png.encode(grey(1)))]))
        secrets["asset"] = asset.asset_id
        for i, knob in enumerate(("slow=0.001", "crash=1 once={once}", "raise=1", "break=1")):
            prompt = f"{WORDS['prompt']} {knob}".format(once=Path(tempfile.mkdtemp()) / WORDS["name"])
            created = await create(caller.worlds, prompt)
            secrets[f"token {i}"] = created.token
            walk = Walk(caller.worlds, created)
            await walk.attach(only_scripted=True)
            await walk.send(event=control_pb2.Event(request_id="r", text=WORDS["event"]))
            answers.append(str(await walk.until("refusal")))
            await walk.send(script=script((0.1, 40)))
            if i < 2:
                await walk.chunk()
                await walk.chunk()
                named = {"session_id": created.session.session_id, "token": created.token}
                request = world_service_pb2.CreateSnapshotRequest(**named)
                secrets[f"snapshot {i}"] = (await caller.worlds.CreateSnapshot(request)).snapshot.snapshot_id
                walk.call.cancel()
            else:
                await walk.status()
                answers += [await walk.call.details(), str(rich_status(await walk.call.trailing_metadata()))]
            answers.append(str(walk.others))


async def test_a_busy_servers_log_and_answers_give_nothing_away(tmp_path):
    keys, answers, secrets = Keys(tmp_path), [], {}
    async with started("--log-level", "DEBUG", "--keys", str(tmp_path / "keys")) as process:
        listening, _ = await said(process), await said(process)
        await be_busy(Server(int(listening["listening"].rpartition(":")[2])), keys, answers, secrets)
        process.send_signal(signal.SIGTERM)
        out, log = await process.communicate()
    keys.file.close()
    assert process.returncode == 0 and b"chunk session=" in log
    secrets |= WORDS | {f"key {name}": shown.split("_", 2)[2] for name, shown in keys.shown.items()}
    everything = {"log": log.decode() + out.decode(), "answers": "\n".join(answers)}
    found = [(name, where) for name, secret in secrets.items() for where, text in everything.items() if secret in text]
    assert not found
    assert str(tmp_path) not in everything["log"]
    assert not [
        text for text in answers if "/work" in text or "/tmp" in text or "site-packages" in text or ".py" in text
    ]
    assert len(answers) > 10 and len(secrets) > 8
