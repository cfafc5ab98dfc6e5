"""From a capture to 3D files: what can be asked of the exporters, which run in a process of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from keepworld.errors import ExportError

REFINEMENTS = ("3dgs-7k", "3dgs-30k")
DATASETS = ("colmap", "colmap.txt")
_CALLED = {"refine": "training"}  # where the command line has another word for it
MAX_LODS = 9
_MESH = re.compile(r".*(?<!\.splat)(?<!\.points)(?<!\.cameras)\.(glb|obj|stl|usda|usdc|usdz)", re.IGNORECASE)


class Options(TypedDict, total=False):
    """How to export; what is left out is the exporters' own choice. `keepworld export --help` says more of each.

    Attributes:
        preset: how much work: preview in seconds, standard in minutes, final in an hour.
        refine: train splats for as many steps as papers compare them by, 7,000 or 30,000, instead of as the preset has it.
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
    refine: Literal["3dgs-7k", "3dgs-30k"] | None
    profile: Literal["unity", "unreal", "blender", "godot", "web", "houdini"] | None
    origin: Literal["session", "ground"] | None
    holdout: int | None
    voxel: float | None
    max_depth: float | None
    texture: int | None
    max_faces: int | None
    truth: str | Path | None
    report: str | Path | None


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


def words_of(capture: Path, paths: Sequence[str | Path], options: Options) -> list[str]:
    """The exporters' command line for files of a scene.

    Args:
        capture: the folder.
        paths: files, by suffix, or one folder for the usual set.
        options: how.

    Raises:
        ValueError: there is no path, or an option's value is unknown.
        TypeError: there is no such option.
    """
    if not paths:
        raise ValueError("paths must name at least one file or folder to export to")
    if (refine := options.get("refine")) not in (None, *REFINEMENTS):
        raise ValueError(f"refine must be one of {', '.join(REFINEMENTS)}, got {refine!r}")
    return [str(capture), *(str(path) for path in paths), *_arguments(options)]


def words_of_dataset(
    capture: Path, paths: Sequence[str | Path], kind: str, options: Options, *, depth: bool
) -> list[str]:
    """The exporters' command line for a data set, which is one folder.

    Raises:
        ValueError: the kind is unknown, it is not one folder, or there are options, which are of scenes.
    """
    if kind not in DATASETS:
        raise ValueError(
            f"format must be one of {', '.join(DATASETS)}, got {kind!r}; a scene's is told by its file's suffix"
        )
    if len(paths) != 1:
        raise ValueError(f"a data set is one folder, got {len(paths)} paths")
    if options:
        raise ValueError(f"{', '.join(sorted(options))} is not of a data set, which holds what was walked as it is")
    return [str(capture), str(paths[0]), "--format", kind, *(["--depth-maps"] if depth else [])]


def _arguments(options: Options) -> list[str]:
    """As the exporters' command line wants them."""
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        known = ", ".join(Options.__annotations__)
        raise TypeError(f"no option of an export is called {', '.join(sorted(unknown))}; known: {known}")
    given = {name: str(value) for name, value in options.items() if value is not None}
    return [word for name, value in given.items() for word in (f"--{_CALLED.get(name, name).replace('_', '-')}", value)]


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


def _end(child: subprocess.Popen[bytes]) -> None:
    """Make sure that it is over: after Ctrl-C it is still running."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
