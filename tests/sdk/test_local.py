"""The private server: how its start goes well and badly, played by a stand-in; the real one walks in end_to_end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from keepworld.errors import MissingExtraError, UnavailableError
from keepworld.local import LocalServer

HONEST = """
import json, sys, time
print("chatter"); print(json.dumps({"listening": "127.0.0.1:5"})); print(json.dumps({"warming": "diorama"}))
print(json.dumps({"ready": True}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the program that stands in for the server."""
    package = tmp_path / "stand-in" / "keepworld_runtime"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    main = package / "__main__.py"

    def be(program: str) -> None:
        main.write_text(program)

    return be


async def test_it_is_there_once_it_says_so_and_goes_when_told(runtime: Callable[[str], None]) -> None:
    runtime(HONEST)
    server = await LocalServer.start()
    assert server.address == "127.0.0.1:5"
    pid = server._process.pid
    await server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_much_output_does_not_stop_it(runtime: Callable[[str], None]) -> None:
    runtime(HONEST.replace("sys.stdin", "print('x' * 3_000_000, flush=True); sys.stdin"))
    server = await LocalServer.start()
    async with asyncio.timeout(5):
        await server.stop()


@pytest.mark.parametrize(
    ("program", "kind", "words"),
    [
        ("import no_such_module_here", MissingExtraError, r"keepworld\[runtime\]"),
        ("raise OSError('no port')", UnavailableError, "no port"),
        ("pass", UnavailableError, "exit status 0"),
    ],
)
async def test_a_start_that_fails_says_why(
    runtime: Callable[[str], None], program: str, kind: type[Exception], words: str
) -> None:
    runtime(program)
    with pytest.raises(kind, match=words):
        await LocalServer.start()


def test_it_ends_with_a_client_that_is_killed(runtime: Callable[[str], None], tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    runtime(f"import os, pathlib\npathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n{HONEST}")
    program = (
        "import os, keepworld; c = keepworld.Client(); c.__enter__(); print('up', flush=True); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], check=False, timeout=30)
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
