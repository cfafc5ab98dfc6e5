"""From a capture to 3D files: the exporters run in a process of their own, and this asks them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, TypedDict

from keepworld.errors import ExportError, MissingExtraError, printable
from keepworld.progress import ProgressLine

INSTALL = "pip install 'keepworld[export]'"
MAX_LODS = 9
_MESH = re.compile(r".*(?<!\.splat)(?<!\.points)(?<!\.cameras)\.(glb|obj|stl|usda|usdc|usdz)", re.IGNORECASE)


class Options(TypedDict, total=False):
    """How to export; what is left out is the exporters' own choice. `keepworld export --help` says more of each.

    Attributes:
        preset: how much work: preview in seconds, standard in minutes, final in an hour.
        profile: the program it is for, which fixes axes, units and kinds of files.
        origin: where the files have theirs: the session's, or the ground below the first camera.
        holdout: every how many frames one is kept out of the fit, to measure on; 0: none is.
        voxel: edge of the cells that surfaces are fused in, the capture's units.
        max_depth: further away nothing is fused, the capture's units.
        texture: a mesh's texture has about so many texels a side; 0: colours at its vertices.
        max_faces: triangles of the mesh, at most.
        truth: a file with the true surface, to measure against.
        report: a folder for a report in words and pictures.
    """

    preset: Literal["preview", "standard", "final"] | None
    profile: Literal["unity", "unreal", "blender", "godot", "web", "houdini"] | None
    origin: Literal["session", "ground"] | None
    holdout: int | None
    voxel: float | None
    max_depth: float | None
    texture: int | None
    max_faces: int | None
    truth: str | Path | None
    report: str | Path | None


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


def beside(paths: Sequence[str | Path], *, lods: int, collider: bool) -> list[Path]:
    """The files of an export with those that go with a mesh: so many levels of detail, a collider.

    Raises:
        ValueError: there is no mesh for them to go with, or there are no so many levels.
    """
    if not 0 <= lods <= MAX_LODS:
        raise ValueError(f"lods must be 0 to {MAX_LODS}, got {lods}")
    kinds = [*(f"lod{level}" for level in range(1, lods + 1)), *(["collider"] if collider else [])]
    meshes = [Path(path) for path in paths if _MESH.fullmatch(Path(path).name)]
    if kinds and not meshes:
        raise ValueError(f"lods and collider go with a mesh, such as scene.glb; paths are {', '.join(map(str, paths))}")
    more = [path.with_name(f"{path.stem}.{kind}{path.suffix}") for path in meshes for kind in kinds]
    return [*map(Path, paths), *more]


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
    words = [str(capture), *(str(path) for path in paths), *_arguments(options), "--json", "--progress", "json"]
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


def _arguments(options: Options) -> list[str]:
    """As the exporters' command line wants them."""
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        known = ", ".join(Options.__annotations__)
        raise TypeError(f"no option of an export is called {', '.join(sorted(unknown))}; known: {known}")
    given = [(f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if value is not None]
    return [word for pair in given for word in pair]


def view(paths: Sequence[str | Path]) -> None:
    """Show files or captures in a browser, until Ctrl-C.

    Raises:
        ExportError: they cannot be shown; what went wrong has been printed.
    """
    command = [sys.executable, "-m", "keepworld.cli", "view", *map(str, paths), "--port", "0"]
    with subprocess.Popen(command) as child:  # noqa: S603
        try:
            status = child.wait()
        finally:
            _end(child)
    if status:
        raise ExportError(f"the viewer ended with status {status}")


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


def _end(child: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
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
