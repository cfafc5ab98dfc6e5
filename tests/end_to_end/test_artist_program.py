"""Ten lines that an artist would want to write, run as they are written: a walk, an undo, a mesh for Blender, a look at it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trimesh

PROGRAM = """\
import keepworld as kw
client = kw.Client()                                   # local server, or ":mock:" with no GPU
s = client.sessions.open(text="mossy ruined abbey, morning fog", seed=42, progress=True)
s.steer("forward 6s, look left 90deg, forward 4s")     # same words in the command line
s.event("light the candles")
s.undo(2)                                              # two chunks back, kept as a branch
cap = s.capture(quality_gate="strict")                 # only consistent frames
print(cap.coverage, cap.consistency)                   # 0.81, psnr/drift numbers
cap.export("abbey.spz"); cap.export("abbey.glb", collider=True, lods=3, profile="blender")
cap.view()                                             # opens the viewer
"""


@pytest.mark.slow  # a minute and a half, nearly all of it two exports of 253 frames
def test_the_artist_program_runs_as_written(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    browser.chmod(0o755)
    (tmp_path / "artist.py").write_text(PROGRAM)
    paths = [path if path else os.curdir for path in sys.path]
    environment = {**os.environ, "BROWSER": f"{browser} %s", "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("KEEPWORLD_URL", None)
    with subprocess.Popen(
        [sys.executable, "artist.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as artist:  # fmt: skip
        while not seen.exists():
            assert artist.poll() is None
            time.sleep(0.2)
        os.killpg(artist.pid, signal.SIGINT)
        said, _ = artist.communicate(timeout=60)
    coverage, consistency = map(float, said.split()[:2])
    assert 0 < coverage <= 1
    assert consistency > 0.9
    counts = [
        trimesh.load(tmp_path / f"abbey{level}.glb", force="mesh").faces.shape[0]
        for level in ("", ".lod1", ".lod2", ".lod3")
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] > 1000
    assert trimesh.load(tmp_path / "abbey.collider.glb", force="mesh").faces.shape[0] > 1000
    assert (tmp_path / "abbey.spz").stat().st_size > 1 << 20
