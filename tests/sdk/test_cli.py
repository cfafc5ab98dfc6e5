"""The command line: what it teaches, what it refuses, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from keepworld import Capture, Client, PlannedEvent, Timeline
from keepworld.cli import COMMANDS, FAILED, OK, UNAVAILABLE, USAGE, main

from tests.sdk.scripted_server import SIZE, served_apart


@pytest.fixture
def address() -> Iterator[str]:
    with served_apart() as address:
        yield address


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


def test_snapshots_are_of_a_server_that_was_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEEPWORLD_URL", raising=False)
    assert main(["snapshots", "list"]) == USAGE
    assert "--url" in capsys.readouterr().out


def test_snapshots_are_listed_and_deleted(capsys: pytest.CaptureFixture[str], address: str) -> None:
    with Client(address) as client, client.sessions.open("meadow", size=SIZE) as session:
        kept = session.snapshot("\x1b[31mnoon")
    assert main(["snapshots", "list", "--url", address]) == OK
    listed = capsys.readouterr().out
    assert kept.id in listed
    assert "noon" in listed
    assert "\x1b" not in listed
    assert main(["snapshots", "list", "--json", "--url", address]) == OK
    assert json.loads(capsys.readouterr().out)["chunks"] == 0
    assert main(["snapshots", "delete", kept.id, "--url", address]) == OK
    assert main(["snapshots", "delete", kept.id, "--url", address]) == FAILED
    assert main(["snapshots", "list", "--url", address]) == OK
    assert "none is kept" in capsys.readouterr().out


def test_a_capture_takes_its_events_from_a_file(address: str, tmp_path: Path) -> None:
    Timeline([(0.5, "rain"), PlannedEvent("snow", chunk=2, ramp=0.5)]).save(tmp_path / "storm.json")
    walk = ["--prompt", "meadow", "--walk", "forward 1s", "--size", "64x48", "--url", address]
    assert main(["capture", str(tmp_path / "walk"), *walk, "--events", str(tmp_path / "storm.json"), "--json"]) == OK
    assert len(Capture(tmp_path / "walk")) == 29
    assert main(["capture", str(tmp_path / "none"), *walk, "--events", str(tmp_path / "missing.json")]) == FAILED
    assert not (tmp_path / "none").exists()
