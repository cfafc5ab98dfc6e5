"""Every example runs as it is written, only smaller, and every one is short. One starts a server, the others share one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.play.browser import server

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
README_BLOCKS = [
    block
    for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    if "worldplay" not in block  # needs a server with weights: see test_worldplay.py
]
SMALL = {
    "01_walk.py": ["--seconds", "3", "--size", "128x72"],
    "02_keep.py": ["kept", "--walk", "forward 2s", "--size", "128x72"],
    "03_pipeline.py": ["made", "--size", "128x72"],
    "04_events.py": ["--size", "128x72"],
    "05_branch.py": ["crossroads", "--size", "128x72"],
    "06_cameras.py": ["cameras", "--size", "128x72", "--frames", "29"],
    "07_formats.py": ["formats", "--size", "128x72", "--walk", "forward 1s", "--for", "unreal"],
    "08_many.py": ["--worlds", "2", "--size", "128x72"],
}
STARTS_A_SERVER = "01_walk.py"
SAYS = {  # what only comes if the thing shown was done
    "04_events.py": r"chunk \d+, 3.2 s, brightness \d+: .*sunset",
    "05_branch.py": r"(?s)undone and walked again: .*two walks the same way: the same pixels",
    "06_cameras.py": r"(?s)29 frames came, the furthest off by \d\.?\d*e-1[0-9].*at \(64.0, 36.0\) of 128x72, 9.2 m",
    "07_formats.py": r"(?s)unreal: abbey.splat.ply.*left-handed.*unreal: abbey.glb",
    "08_many.py": r"taken over after frame 12: chunk 1 begins with frame 13",
}


@pytest.fixture(scope="module")
def shared() -> Iterator[dict[str, str]]:
    """The environment of a program that finds a server."""
    with server("--port", "0") as (_, address):
        yield {**os.environ, "KEEPWORLD_URL": address}


def run(program: Path, *words: str, folder: Path, environment: dict[str, str]) -> str:
    """What a program says that must succeed."""
    done = subprocess.run(
        [sys.executable, program, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_example_is_left_out() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_an_example_runs_and_is_under_eighty_lines(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) < 80
    alone = {key: value for key, value in os.environ.items() if key != "KEEPWORLD_URL"}
    environment = alone if name == STARTS_A_SERVER else request.getfixturevalue("shared")
    said = run(EXAMPLES / name, *SMALL[name], folder=tmp_path, environment=environment)
    assert re.search(SAYS.get(name, "."), said), said
    if name == "02_keep.py":
        assert {path.name for path in (tmp_path / "kept").iterdir()} >= {
            "capture", "abbey.splat.ply", "abbey.glb", "report.html",
        }  # fmt: skip


def test_the_readme_has_ten_lines_for_each_of_the_three_users() -> None:
    assert len(README_BLOCKS) == 5


@pytest.mark.parametrize("number", range(len(README_BLOCKS)))
def test_a_readme_program_runs_as_written_but_smaller(number: int, shared: dict[str, str], tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(README_BLOCKS[number].replace(", seed=", ", size=(128, 72), seed="))
    assert run(program, folder=tmp_path, environment=shared)
