"""Readers that are not Python's: where they are looked for, and how they are run."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HAS_MODULES = NODE is not None and (HERE / "node_modules").is_dir()

needs_node = pytest.mark.skipif(
    not HAS_MODULES, reason="Node's readers are not installed: npm ci in tests/exporters/readers"
)
needs_browser = pytest.mark.skipif(
    not HAS_MODULES or CHROMIUM is None, reason="needs Chromium, and npm ci in tests/exporters/readers"
)


def run(*words: str | Path, timeout_s: float = 600) -> str:
    """What a program of Node's prints."""
    assert NODE is not None
    done = subprocess.run(
        [NODE, *map(str, words)], cwd=HERE, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def splat_transform(source: Path, target: Path, *options: str) -> None:
    """PlayCanvas' converter reads a file and writes another."""
    run(
        HERE / "node_modules/@playcanvas/splat-transform/bin/cli.mjs", "-q", "-w", "-g", "cpu", source, target, *options
    )


def draw(jobs: Sequence[dict[str, object]], folder: Path) -> list[dict[str, object]]:
    """Draw files in a browser; gives what each reader found of them, and the errors it told."""
    (folder / "jobs.json").write_text(json.dumps(list(jobs)))
    assert CHROMIUM is not None
    return [json.loads(line) for line in run("draw.mjs", CHROMIUM, folder / "jobs.json").splitlines()]
