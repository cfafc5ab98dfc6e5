"""Exports that go on by themselves, the exporters played by a stand-in: how they stand, what is waited for, how they end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from keepworld import Capture, ExportError

from tests.sdk.test_export import exporters  # noqa: F401

SAYS = """
import json, os, pathlib, signal, sys, time
def say(stage, share, **more):
    print(json.dumps({"stage": stage, "share": share, "left_s": 2.5, "memory_bytes": 5, **more}), file=sys.stderr, flush=True)
def until(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.01)
def done():
    print(json.dumps({"files": {"a": {"path": sys.argv[2]}}, "report": None, "metrics": {"psnr": 31.5}}))
"""


@pytest.fixture
def may_end(tmp_path: Path, exporters: Path) -> Path:  # noqa: F811
    """An export that is half done until this file is there."""
    end = tmp_path / "end"
    exporters.write_text(SAYS + f"say('mesh', 0.5)\nuntil({str(end)!r})\nsay('write', 0.9)\ndone()\n")
    return end


def test_it_goes_on_by_itself_and_says_how_it_stands(may_end: Path, sphere_capture: Capture) -> None:
    operation = sphere_capture.start_export("a.ply")
    watching = operation.watch()
    while (status := next(watching)).stage != "mesh":
        pass
    assert (status.state, status.share, status.left_s, status.memory_bytes) == ("running", 0.5, 2.5, 5)
    assert operation.poll() is status and str(status) == " 50% mesh, 2 s left"
    may_end.touch()
    *_, last = watching
    assert last.has_ended and last.state == "done" and last.share == 1
    made = operation.wait()
    assert made.paths == (Path("a.ply"),) and made.report.psnr_roundtrip == 31.5
    assert operation.wait(timeout=0) is made
    operation.cancel()
    assert operation.poll().state == "done"


def test_who_waits_no_longer_leaves_it_running(may_end: Path, sphere_capture: Capture) -> None:
    operation = sphere_capture.start_export("a.ply")
    with pytest.raises(TimeoutError, match=r"not done after 0\.05 s, and goes on"):
        operation.wait(timeout=0.05)
    assert not operation.poll().has_ended
    may_end.touch()
    assert operation.wait(timeout=20).report.psnr_roundtrip == 31.5


async def test_it_is_awaited_while_other_work_goes_on(may_end: Path, sphere_capture: Capture) -> None:
    operation = sphere_capture.start_export("a.ply")
    end = threading.Timer(0.3, may_end.touch)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await operation
    assert not operation.poll().has_ended
    end.start()

    async def wait() -> float | None:
        return (await operation).report.psnr_roundtrip

    waiting = [asyncio.create_task(wait()) for _ in range(2)]
    assert await asyncio.gather(*waiting) == [31.5, 31.5]


@pytest.mark.parametrize("hears", [True, False])
def test_cancelled_it_leaves_nothing(
    exporters: Path,  # noqa: F811
    sphere_capture: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hears: bool,
) -> None:
    """Neither a process, nor what it keeps to go on from: not even where it is deaf to being asked."""
    monkeypatch.setattr("keepworld.operation._GRACE_S", 20.0 if hears else 0.2)
    kept, training, whole = tmp_path / ".unfinished", tmp_path / ".a.training", tmp_path / "b.glb"
    exporters.write_text(
        SAYS
        + ("" if hears else "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n")
        + f"kept, training, whole = map(pathlib.Path, {[str(kept), str(training), str(whole)]!r})\n"
        "kept.mkdir(); (kept / 'a.npz').touch(); training.touch(); whole.touch()\n"
        "(pathlib.Path(os.environ['TMPDIR']) / 'x').touch()\n"
        "say('expected', 0, keeps=[str(kept), str(training)], pid=os.getpid())\n"
        "say(os.environ['TMPDIR'] + ' ' + str(os.getpid()), 0.1)\ntime.sleep(60)\n"
    )
    operation = sphere_capture.start_export("a.ply")
    for status in operation.watch():
        if "/" in status.stage:
            break
    temporary, _, pid = status.stage.partition(" ")
    operation.cancel()
    assert operation.poll().state == "cancelled"
    with pytest.raises(ExportError, match="was cancelled") as refusal:
        operation.wait()
    assert refusal.value.code == "EXPORT_CANCELLED"
    assert not kept.exists() and not training.exists() and whole.exists() and not Path(temporary).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_it_ends_with_the_program(exporters: Path, sphere_capture: Capture, tmp_path: Path) -> None:  # noqa: F811
    pid = tmp_path / "pid"
    exporters.write_text(
        SAYS + f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\nsay('x', 0)\ntime.sleep(60)\n"
    )
    program = (
        f"from keepworld import Capture; o = Capture({str(sphere_capture.folder)!r}).start_export('a.glb'); "
        "w = o.watch(); [next(w) for _ in range(2)]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_failure_is_told_to_whoever_waits(exporters: Path, sphere_capture: Capture) -> None:  # noqa: F811
    exporters.write_text("import sys; sys.exit('keepworld-export: the disk is full')")
    operation = sphere_capture.start_export("a.glb")
    for _ in range(2):
        with pytest.raises(ExportError, match=r"^the disk is full$"):
            operation.wait(timeout=20)
    assert operation.poll().state == "failed" and str(operation.poll()) == "  0% failed"
