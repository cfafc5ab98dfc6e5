"""Asking the exporters, which are another process, here played by a stand-in: what it says, and what becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from keepworld import Capture
from keepworld.errors import ExportError, MissingExtraError


@pytest.fixture
def exporters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the exporters' program; gives the file to write its behaviour into."""
    package = tmp_path / "stand-in" / "keepworld_exporters"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), *sys.path]))
    return package / "__main__.py"


def test_the_files_figures_and_report_come_back(exporters: Path, sphere_capture: Capture) -> None:
    exporters.write_text(
        "import json, sys\n"
        "print(json.dumps({'stage': 'fuse', 'share': 0.5}), file=sys.stderr)\n"
        "print('a library says something')\n"
        "print(json.dumps({'files': {'a.glb': {'path': sys.argv[2], 'bytes': 3}}, 'report': None,\n"
        "    'metrics': {'psnr': 31.5, 'note': 'x', 'none': None, 'arguments': len(sys.argv)}}))\n"
    )
    exported = sphere_capture.export("out/a.glb", voxel=0.1, holdout=0)
    assert exported.paths == (Path("out/a.glb"),)
    assert exported.metrics == {"psnr": 31.5, "arguments": 10}
    assert exported.report.page is None and exported.report.psnr_roundtrip == 31.5


@pytest.mark.parametrize(
    ("program", "kind", "words"),
    [
        ("import sys; sys.exit('keepworld-export: the disk is full')", ExportError, "^the disk is full$"),
        ("raise ValueError('odd')", ExportError, "odd"),
        ("import sys; sys.exit(3)", ExportError, "without a word"),
        ("print('{}')", ExportError, "without saying"),
        ("import no_such_module_here", MissingExtraError, r"keepworld\[export\]"),
    ],
)
def test_a_failure_says_why(
    exporters: Path, sphere_capture: Capture, program: str, kind: type[Exception], words: str
) -> None:
    exporters.write_text(program)
    with pytest.raises(kind, match=words):
        sphere_capture.export("a.glb")


def test_nothing_to_write_is_a_slip(sphere_capture: Capture) -> None:
    with pytest.raises(ValueError, match="paths"):
        sphere_capture.export()


def test_levels_and_a_collider_lie_beside_each_mesh(exporters: Path, sphere_capture: Capture) -> None:
    exporters.write_text(
        "import json, sys\n"
        "paths = sys.argv[2:sys.argv.index('--profile')]\n"
        "print(json.dumps({'files': {p: {'path': p} for p in paths}, 'report': None, 'metrics': {}}))\n"
    )
    exported = sphere_capture.export("out/my.abbey.glb", "a.splat.glb", lods=2, collider=True, profile="blender")
    names = ["out/my.abbey.glb", "a.splat.glb", *(f"out/my.abbey.{kind}.glb" for kind in ("lod1", "lod2", "collider"))]
    assert exported.paths == tuple(map(Path, names))


@pytest.mark.parametrize(
    ("paths", "options", "kind", "words"),
    [
        (["a.splat.ply"], {"lods": 1}, ValueError, "go with a mesh.*a.splat.ply"),
        (["a.glb"], {"lods": 10}, ValueError, "lods must be 0 to 9, got 10"),
        (["a.glb"], {"voxels": 1}, TypeError, "voxels; known: preset, refine, profile"),
        (["a.ply"], {"refine": "7k"}, ValueError, "refine must be one of 3dgs-7k, 3dgs-30k, got '7k'"),
        (["a"], {"format": "ply"}, ValueError, "format must be one of colmap, colmap.txt, got 'ply'"),
        (["a", "b"], {"format": "colmap"}, ValueError, "one folder, got 2"),
        (["a"], {"format": "colmap", "voxel": 0.1}, ValueError, "voxel is not of a data set"),
        (["a"], {"format": "colmap", "lods": 1}, ValueError, "lods"),
        (["a.glb"], {"depth": True}, ValueError, 'add format="colmap"'),
    ],
)
def test_what_makes_no_sense_is_a_slip(
    sphere_capture: Capture, paths: list[str], options: dict[str, int], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        sphere_capture.export(*paths, **options)


def test_a_data_set_and_a_refinement_are_asked_for_in_the_words_of_the_command_line(
    exporters: Path, sphere_capture: Capture
) -> None:
    exporters.write_text(
        "import json, sys\n"
        "print(json.dumps({'files': {w: {'path': w} for w in sys.argv[2:-3]}, 'report': None, 'metrics': {}}))\n"
    )
    words = sphere_capture.export("out/a1", format="colmap", depth=True).paths
    assert list(map(str, words)) == ["out/a1", "--format", "colmap", "--depth-maps"]
    words = sphere_capture.export("out/a1.ply", refine="3dgs-7k").paths
    assert list(map(str, words)) == ["out/a1.ply", "--training", "3dgs-7k"]


def test_a_walk_is_looked_at_until_ctrl_c(letter_capture: Capture, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}.part && mv {seen}.part {seen}\n')
    browser.chmod(0o755)
    program = f"from keepworld import Capture; Capture({str(letter_capture.folder)!r}).view()"
    looking = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "BROWSER": f"{browser} %s"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not seen.exists():
        assert looking.poll() is None, looking.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    link = seen.read_text().strip()
    with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(link, timeout=20) as page:
        assert b"<canvas" in page.read()
    os.killpg(looking.pid, signal.SIGINT)  # as a terminal does
    _, complaint = looking.communicate(timeout=30)
    assert b"KeyboardInterrupt" in complaint
    with pytest.raises(OSError):
        urllib.request.urlopen(link, timeout=5)


def test_ctrl_c_ends_the_exporters_too(exporters: Path, sphere_capture: Capture, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    exporters.write_text(
        "import os, pathlib, signal, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    program = f"from keepworld import Capture; Capture({str(sphere_capture.folder)!r}).export('a.glb')"
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parent.send_signal(signal.SIGINT)
    _, complaint = parent.communicate(timeout=20)
    assert b"KeyboardInterrupt" in complaint
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
