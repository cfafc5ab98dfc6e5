"""From a capture to 3D files: the exporters run in a process of their own, and this asks them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from keepworld.errors import ExportError, MissingExtraError, printable
from keepworld.progress import ProgressLine

INSTALL = "pip install 'keepworld[export]'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to export; None is the exporters' own choice.

    Attributes:
        holdout: every how many frames one is kept out of the fit, to measure on.
        voxel: edge of the cells that surfaces are fused in, the capture's units.
        max_depth: further away nothing is fused, the capture's units.
        truth: a file with the true surface, to measure against.
        report: a folder for a report in words and pictures.
    """

    holdout: int | None = None
    voxel: float | None = None
    max_depth: float | None = None
    truth: str | Path | None = None
    report: str | Path | None = None

    def arguments(self) -> list[str]:
        """As the exporters' command line wants them."""
        values = {"--holdout": self.holdout, "--voxel": self.voxel, "--max-depth": self.max_depth}
        files = {"--truth": self.truth, "--report": self.report}
        given = [(flag, str(value)) for flag, value in (values | files).items() if value is not None]
        return [word for pair in given for word in pair]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What an export came to.

    Attributes:
        paths: the files written.
        metrics: figures measured on the written files, as in "psnr".
    """

    paths: tuple[Path, ...]
    metrics: Mapping[str, float]


def export(capture: Path, paths: Sequence[str | Path], options: Options, *, progress: bool) -> Exported:
    """Export a capture folder to files; blocks until they are written and measured. Ctrl-C ends it.

    Args:
        capture: the folder.
        paths: files, by suffix, or one folder for the usual set.
        options: how.
        progress: show one line on a terminal.

    Raises:
        ExportError: it failed; says why.
        MissingExtraError: the exporters are not installed.
    """
    if not paths:
        raise ValueError("paths must name at least one file or folder to export to")
    words = [str(capture), *(str(path) for path in paths), *options.arguments(), "--json", "--progress", "json"]
    command = [sys.executable, "-m", "keepworld_exporters", *words]
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True)  # noqa: S603
        try:
            assert child.stdout is not None
            last = _follow(child.stdout, ProgressLine(wanted=progress))
            status = child.wait()
        finally:
            _end(child)
        if status:
            complaints.seek(max(0, complaints.seek(0, 2) - 20_000))
            raise _failure(last, complaints.read().decode(errors="replace"))
    return _result(last)


def _follow(lines: IO[str], line: ProgressLine) -> Mapping[str, object]:
    """Show progress as it comes; give the last JSON object."""
    last: Mapping[str, object] = {}
    for text in lines:
        try:
            content = json.loads(text)
        except ValueError:
            continue  # a library's chatter
        if not isinstance(content, dict):
            continue
        last = content
        stage, done = content.get("stage"), content.get("done")
        if isinstance(stage, str):
            share = f" {done:.0%}" if isinstance(done, float) else ""
            line.show(f"export: {printable(stage, 80)}{share}")
    line.end()
    return last


def _result(last: Mapping[str, object]) -> Exported:
    paths, metrics = last.get("paths"), last.get("metrics", {})
    if not isinstance(paths, list) or not isinstance(metrics, dict):
        raise ExportError("the exporters ended without saying what they wrote")
    return Exported(
        paths=tuple(Path(str(path)) for path in paths),
        metrics={str(name): float(value) for name, value in metrics.items() if isinstance(value, int | float)},
    )


def _failure(last: Mapping[str, object], complaints: str) -> ExportError | MissingExtraError:
    if "ModuleNotFoundError" in complaints:
        missing = complaints.strip().splitlines()[-1]
        return MissingExtraError(f"exporting needs more packages ({printable(missing, 200)})", install=INSTALL)
    said = last.get("error")
    lines = complaints.strip().splitlines()
    message = said if isinstance(said, str) else (lines[-1] if lines else "the exporters ended without a word")
    return ExportError(printable(message))


def _end(child: subprocess.Popen[str]) -> None:
    """Make sure that it is over: after Ctrl-C it is still running."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child.stdout is not None:
        child.stdout.close()
