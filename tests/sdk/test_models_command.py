import asyncio
import json
import subprocess
import sys

import pytest
from keepworld.cli.models import main

from tests.sdk.scripted_server import ScriptedWorld, serving


def run(*arguments):
    command = [sys.executable, "-m", "keepworld.cli", "models", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_what_concerns_learned_models_is_handed_to_the_runtime():
    done = run("plan", "worldplay-5b", "--gpus", "2", "--offload", "none", "--json")
    assert done.returncode == 0, done.stderr
    assert [(plan["gpus"], plan["offload"]) for plan in json.loads(done.stdout)] == [(2, "none")]
    assert run("plan", "genie").returncode == 2


async def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    async with serving(ScriptedWorld()) as url:
        assert await asyncio.to_thread(main, [*arguments, "--url", url]) == 0
    return capsys.readouterr().out.splitlines()


async def test_a_family_is_described_with_and_without_show(capsys):
    plain = await told(capsys, "diorama")
    assert plain[0].startswith("diorama") and any(line.startswith("licence") for line in plain)
    assert await told(capsys, "show", "diorama") == plain


async def test_families_of_the_server_come_first_and_the_way_to_learned_ones_last(capsys):
    lines = await told(capsys)
    assert lines[0].startswith("diorama") and lines[-1].endswith("keepworld models list")
