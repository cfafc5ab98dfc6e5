"""The command line: what it teaches, what it refuses, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from keepworld.cli import COMMANDS, FAILED, OK, UNAVAILABLE, USAGE, main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keepworld.cli", *arguments], capture_output=True, text=True, check=False
    )


def test_help_names_every_command_and_how_to_start() -> None:
    text = run("--help").stdout
    for name, what in COMMANDS.items():
        assert name in text
        assert what in text
    assert "keepworld demo" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == OK, done.stderr
    assert "usage:" in done.stdout
    assert "example" in done.stdout.lower()


def test_an_unknown_command_is_a_usage_error_that_lists_the_known_ones() -> None:
    done = run("teleport")
    assert done.returncode == USAGE
    assert "demo" in done.stderr


def test_no_arguments_teach() -> None:
    done = run()
    assert done.returncode == USAGE
    assert "commands:" in done.stdout


def test_a_server_that_is_not_there_is_exit_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--url", "127.0.0.1:1"]) == UNAVAILABLE
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_doctor_json_says_what_each_lack_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--port", "1"]) in (OK, FAILED)
    findings = json.loads(capsys.readouterr().out)
    names = {finding["what"] for finding in findings}
    assert {"Python", "numpy", "open3d", "GPU", "server port", "libgl1"} <= names
    for finding in findings:
        if finding["state"] != "ok":
            assert finding["costs"]
            assert finding["remedy"]


def test_doctor_notices_a_taken_port(capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        main(["doctor", "--json", "--port", str(listener.getsockname()[1])])
    port = next(finding for finding in json.loads(capsys.readouterr().out) if finding["what"] == "server port")
    assert port["state"] == "missing"


@pytest.mark.parametrize("size", ["512", "512x", "axb", "-1x5"])
def test_a_malformed_size_is_a_usage_error(size: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["capture", str(tmp_path / "x"), "--prompt", "p", "--walk", "forward 1s", f"--size={size}"])
    assert ended.value.code == USAGE


@pytest.mark.parametrize("event", ["night falls", "x: night", "3:", "-1: night falls", "nan: night falls"])
def test_a_malformed_event_is_a_usage_error(event: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["capture", str(tmp_path / "x"), "--prompt", "p", "--walk", "forward 1s", f"--event={event}"])
    assert ended.value.code == USAGE


def test_a_world_begins_with_one_thing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["capture", str(tmp_path / "x"), "--prompt", "p", "--walk", "forward 1s", "--image=a", "--continue=b"])
    assert ended.value.code == USAGE
