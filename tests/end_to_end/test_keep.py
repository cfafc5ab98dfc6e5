"""The whole line: a walk through the diorama, kept, and the written files measured against the world itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from keepworld.capture import Capture
from keepworld.cli import OK, main
from keepworld.cli.demo import EVENT, PROMPT, WALK

from tests.end_to_end.play.browser import server

# What an artist gets in one folder.
FILES = {"walk.mp4", "scene.points.ply", "scene.glb", "scene.splat.ply", "report.html", "report.json", "capture"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server("--port", "0") as (_, address):
        yield address


# As people call it, it takes twice as long.
@pytest.mark.parametrize(
    ("options", "size"),
    [(("--size", "256x144"), (256, 144)), pytest.param((), (512, 288), marks=pytest.mark.slow)],
    ids=["small", "as it is"],
)
def test_the_demo_keeps_what_it_walked_through(
    options: tuple[str, ...], size: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    assert main(["demo", str(folder), *options, "--json"]) == OK
    metrics = json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]
    assert {path.name for path in folder.iterdir()} >= FILES
    capture = Capture(folder / "capture")
    assert len(capture) >= 240
    assert (capture.provenance.width, capture.provenance.height) == size
    assert [event.text for _, event in capture.events] == [EVENT.text]
    assert capture.provenance.prompt == PROMPT
    assert metrics["fscore"] >= 0.90
    assert metrics["psnr"] > 15  # a grey picture has about 12
    revisit = json.loads((folder / "report.json").read_text())["revisit"]
    assert revisit["identical"] == 1.0


def test_an_interrupted_capture_can_be_read_and_exported(tmp_path: Path, address: str) -> None:
    folder = tmp_path / "walk"
    command = [
        sys.executable,
        "-m",
        "keepworld.cli",
        "capture",
        str(folder),
        "--prompt",
        PROMPT,
        "--size",
        "128x72",
        "--seed",
        "3",
    ]
    with subprocess.Popen(
        [*command, "--walk", WALK + ", wait 600s"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "KEEPWORLD_URL": address},
    ) as walking:
        lines = folder / "chunks.jsonl"
        while not (lines.exists() and len(lines.read_bytes().splitlines()) >= 3):
            assert walking.poll() is None, walking.communicate()[0]
        walking.kill()
    capture = Capture(folder)
    assert len(capture) >= 13 + 16 + 16
    assert (len(capture) - 13) % 16 == 0
    done = subprocess.run(
        [sys.executable, "-m", "keepworld.cli", "export", str(folder), str(tmp_path / "scene.points.ply")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == OK, done.stderr
    assert (tmp_path / "scene.points.ply").stat().st_size > 10_000


def test_shots_are_made_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("KEEPWORLD_URL", address)
    file = tmp_path / "shots.jsonl"
    shot = {
        "prompt": "lake",
        "seed": 2,
        "size": "128x72",
        "mode": "fly",
        "walk": "up 0.5s",
        "events": [{"text": "dusk", "at_s": 0}],
    }
    file.write_text(json.dumps({"name": "a", **shot}) + "\n" + json.dumps({"name": "b", **shot}) + "\n")
    for _ in range(2):  # the second time they are there
        assert main(["run", str(file), "--out", str(tmp_path / "out"), "--json"]) == OK
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(Path(entry["folder"]).name, entry["frames"], entry["seed"]) for entry in told] == [
            ("a", 13, 2),
            ("b", 13, 2),
        ]
    first, second = (Capture(tmp_path / "out" / name) for name in "ab")
    assert all((x.image() == y.image()).all() for x, y in zip(first.frames, second.frames, strict=True))
