"""From a capture to 3D files: the exporters run in a process of their own, and this asks them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import deque
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
        holdout: every how many frames one is kept out of the fit, to measure on; 0: none is.
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
        report: the page that shows and measures them; None if none was asked for.
    """

    paths: tuple[Path, ...]
    metrics: Mapping[str, float]
    report: Path | None = None


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
    with tempfile.TemporaryFile("w+") as result:
        child = subprocess.Popen(command, stdout=result, stderr=subprocess.PIPE, text=True, errors="replace")  # noqa: S603
        try:
            assert child.stderr is not None
            complaints = _follow(child.stderr, ProgressLine(wanted=progress))
            status = child.wait()
        finally:
            _end(child)
        if status:
            raise _failure(complaints)
        result.seek(0)
        return _result(result.read().strip().splitlines())


def _follow(lines: IO[str], line: ProgressLine) -> list[str]:
    """Show progress as it comes; give the last lines that were something else."""
    complaints: deque[str] = deque(maxlen=20)
    for text in lines:
        try:
            content = json.loads(text)
        except ValueError:
            complaints.append(printable(text))
            continue
        if isinstance(content, dict) and isinstance(share := content.get("share"), float | int):
            line.show(f"export: {share:4.0%} {printable(str(content.get('stage', '')), 80)}")
    line.end()
    return [text for text in complaints if text]


def _result(lines: Sequence[str]) -> Exported:
    try:
        content = json.loads(lines[-1])
        metrics, report = content["metrics"], content["report"]
        return Exported(
            paths=tuple(Path(entry["path"]) for entry in content["files"].values()),
            metrics={str(name): float(value) for name, value in metrics.items() if isinstance(value, int | float)},
            report=None if report is None else Path(report),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ExportError(f"the exporters ended without saying what they wrote: {error!r}") from error


def _failure(complaints: Sequence[str]) -> ExportError | MissingExtraError:
    said = [text.removeprefix("keepworld-export: ") for text in complaints if text.startswith("keepworld-export: ")]
    message = said[-1] if said else (complaints[-1] if complaints else "the exporters ended without a word")
    if "No module named" in message:
        return MissingExtraError(f"exporting needs more packages ({message.partition(';')[0]})", install=INSTALL)
    return ExportError(message)


def _end(child: subprocess.Popen[str]) -> None:
    """Make sure that it is over: after Ctrl-C it is still running."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child.stderr is not None:
        child.stderr.close()
