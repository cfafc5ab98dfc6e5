"""``keepworld-export``: a capture becomes splats, a mesh, points, a film and a report."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from keepworld.errors import KeepworldError

from keepworld_exporters.ingest.arguments import SOURCES, add_arguments
from keepworld_exporters.train.settings import PRESETS, PREVIEW, Training

if TYPE_CHECKING:
    from keepworld_exporters.export import Plan
    from keepworld_exporters.ingest.prepare import Wanted
    from keepworld_exporters.progress import Progress

EXAMPLES = """\
OUT is a file or a folder. A file's suffix says what it becomes:

  .splat.ply   Gaussian splats, as every splat viewer reads them
  .points.ply  a point cloud with normals, colours, and how many frames saw each point
  .glb         a coloured mesh, for Blender, Unity, Godot, three.js
  .mp4         the walk as a film

A folder gets all four, and report.html, which shows and measures what was written.

examples:
  keepworld-export walk out/                         everything, with a report
  keepworld-export walk world.glb                    just the mesh
  keepworld-export walk world.splat.ply --holdout 0  splats from every frame, none kept for measuring
  keepworld-export walk out/ --voxel 0.05            coarser, faster, smaller
  keepworld-export walk out/ --truth surface.ply     measure the mesh against a surface that is known
  keepworld-export photos/ out/ --upright            photos of a place, of which nothing else is known
  keepworld-export film.mp4 out/ --camera-height 1.6 a film, to scale by how high it was held
"""
FOLDER_FILES = ("walk.mp4", "scene.points.ply", "scene.glb", "scene.splat.ply")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit status: 0 done, 1 failed, 2 misused, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    # Numba's default threads spin when the machine is busy; these wait. It is read when numba is first imported.
    os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")
    try:
        from keepworld_exporters.export import export
        from keepworld_exporters.ingest.prepare import prepared

        plan = _plan(arguments)
        wanted = _wanted(arguments)
        with (
            _interruptible(_teller(arguments.progress)) as tell,
            prepared(arguments.source, wanted, tell) as ready,
        ):
            content = export(ready.capture, replace(plan, told=ready.told), on_progress=ready.tell)
    except KeyboardInterrupt:
        resumed = "; the same command goes on with the training" if arguments.preset != PREVIEW else ""
        print(f"\nkeepworld-export: interrupted; no half-written file is left{resumed}", file=sys.stderr)
        return 130
    except ImportError as error:
        print(f"keepworld-export: {error}; install what exports need: pip install 'keepworld[export]'", file=sys.stderr)
        return 1
    except UsageError as error:
        print(f"keepworld-export: {error}\ntry: keepworld-export --help", file=sys.stderr)
        return 2
    except (KeepworldError, OSError, MemoryError) as error:
        print(f"keepworld-export: {error or 'out of memory; try a larger --voxel'}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(_finite(_summary(content, plan))))
    else:
        _tell_result(content, plan)
    return 0


class UsageError(ValueError):
    """The command line asks for something that makes no sense."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keepworld-export",
        description="Turn a captured walk into Gaussian splats, a mesh, a point cloud and a film.",
        epilog=f"{SOURCES}\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a captured walk, or pictures from elsewhere")
    parser.add_argument("out", type=str, nargs="+", metavar="OUT", help="files to write, or one folder for all of them")
    parser.add_argument(
        "--holdout",
        type=_holdout,
        default=8,
        metavar="N",
        help="keep every N-th frame for measuring; 0: none (default: 8)",
    )
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default=PREVIEW,
        help="work put into splats: preview takes seconds, standard minutes, final an hour (default: preview)",
    )
    training = parser.add_argument_group(
        "training",
        "With --preset standard or final. A training that was interrupted is gone on with by the same command.",
    )
    training.add_argument(
        "--minutes", type=_length, metavar="N", help="end after so long, paced for it (default: as the preset takes)"
    )
    training.add_argument(
        "--target-psnr", type=_length, metavar="DB", help="end when the frames are shown so well, in decibels"
    )
    training.add_argument(
        "--exposure",
        action="store_true",
        help="allow each frame a brightness of its own: for cameras that adapt to the light",
    )
    training.add_argument(
        "--refine-poses",
        action="store_true",
        help="move the cameras too, while training: for poses that are nearly right",
    )
    training.add_argument(
        "--watch",
        type=Path,
        metavar="PNG",
        help="a picture to keep an eye on: what is drawn beside the frame, every few seconds",
    )
    parser.add_argument(
        "--voxel", type=_length, metavar="M", help="cell size of the mesh, metres (default: from the frames)"
    )
    parser.add_argument(
        "--max-depth",
        type=_length,
        metavar="M",
        help="how far from the cameras the mesh reaches (default: from the cell size)",
    )
    parser.add_argument(
        "--truth", type=Path, metavar="FILE", help="a triangle mesh (binary PLY, session frame) to measure against"
    )
    parser.add_argument(
        "--depth",
        type=Path,
        metavar="PATH",
        help="predicted depth to use: a folder with 000000.npy (.npz, .png) …, or one .npz "
        "(default: the session's, else found from the pictures)",
    )
    parser.add_argument(
        "--depth-kind",
        choices=("metric", "scale", "affine"),
        default="metric",
        help="in what it may be off: metric: nothing; scale: all of it by one factor; affine: its inverse by a factor and an "
        "offset (default: metric)",
    )
    parser.add_argument(
        "--texture",
        type=_texels,
        default=0,
        metavar="N",
        help="give the mesh a texture of about N x N texels, 64 to 8192 (default: colours at its vertices)",
    )
    add_arguments(parser)
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write report.html and report.json there")
    parser.add_argument(
        "--json", action="store_true", help="end with one JSON object on standard output: paths, sizes, metrics"
    )
    parser.add_argument(
        "--progress", choices=("bar", "json", "none"), help="on standard error (default: bar on a terminal)"
    )
    return parser


def _plan(arguments: argparse.Namespace) -> Plan:
    """What to make, from the command line.

    Raises:
        UsageError: the places to write to make no sense together.
    """
    from keepworld_exporters.export import Plan
    from keepworld_exporters.formats import suffix_of

    files: list[Path] = []
    report = arguments.report
    for out in arguments.out:
        path = Path(out)
        if out.endswith("/") or path.is_dir() or not path.suffix:
            path.mkdir(parents=True, exist_ok=True)
            files += [path / name for name in FOLDER_FILES]
            report = report or path
            continue
        try:
            suffix_of(path.name)
        except ValueError as error:
            raise UsageError(f"{error}, or be a folder") from error
        if not path.parent.is_dir():
            raise UsageError(f"the folder {path.parent} does not exist; make it first, or name another")
        files.append(path)
    if len({path.resolve() for path in files}) != len(files) or len({path.name for path in files}) != len(files):
        raise UsageError("two outputs have the same name; give each its own")
    return Plan(
        files=tuple(files), report=report, holdout=arguments.holdout, voxel=arguments.voxel,
        max_depth=arguments.max_depth, truth=arguments.truth,
        depth=arguments.depth, depth_kind=arguments.depth_kind, texture=arguments.texture, preset=arguments.preset,
        training=_training(arguments),
    )  # fmt: skip


def _training(arguments: argparse.Namespace) -> Training:
    """What is asked of a training.

    Raises:
        UsageError: there will be none, or the picture to watch is none.
    """
    asked = Training(
        minutes=arguments.minutes, target_psnr=arguments.target_psnr, exposure=arguments.exposure,
        refine_poses=arguments.refine_poses, watch=arguments.watch,
    )  # fmt: skip
    if asked != Training() and arguments.preset == PREVIEW:
        raise UsageError(
            "--minutes, --target-psnr, --exposure, --refine-poses and --watch are of training; add --preset standard or final"
        )
    if asked.watch is not None and asked.watch.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--watch must be a .png or .jpg, got {asked.watch}")
    if asked.watch is not None and not asked.watch.parent.is_dir():
        raise UsageError(f"the folder {asked.watch.parent} of --watch does not exist; make it first")
    return asked


def _wanted(arguments: argparse.Namespace) -> Wanted:
    """What is to be done with the source first.

    Raises:
        UsageError: its flags make no sense together.
    """
    from keepworld_exporters.ingest.arguments import wanted

    try:
        return wanted(arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _teller(choice: str | None) -> Callable[[Progress], None]:
    from keepworld_exporters.progress import bar, json_lines

    if choice == "json":
        return json_lines(sys.stderr)
    if choice == "bar" or (choice is None and sys.stderr.isatty()):
        return bar(sys.stderr)
    return lambda progress: None


@contextmanager
def _interruptible(tell: Callable[[Progress], None]) -> Iterator[Callable[[Progress], None]]:
    """Let Ctrl-C stop the export between two steps, not within native code that would swallow it; a second one at once."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    def tell_or_stop(progress: Progress) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        tell(progress)

    if threading.current_thread() is not threading.main_thread():
        yield tell
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield tell_or_stop
    finally:
        signal.signal(signal.SIGINT, before)


def _summary(content: dict[str, object], plan: Plan) -> dict[str, object]:
    """What `--json` prints: the report's content without the figures of every single view."""
    files = content["files"]
    assert isinstance(files, dict)
    short = {name: {key: value for key, value in entry.items() if key != "heldout"} for name, entry in files.items()}
    return {
        "files": short,
        "metrics": content["metrics"],
        "seconds": content["seconds"],
        "manifest": content["manifest"],
        "report": None if plan.report is None else str(plan.report / "report.html"),
    }


def _finite(value: object) -> object:
    """A JSON value without NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tell_result(content: dict[str, object], plan: Plan) -> None:
    files, metrics = content["files"], content["metrics"]
    assert isinstance(files, dict) and isinstance(metrics, dict)
    for entry in files.values():
        print(f"{entry['path']}  {entry['bytes'] / 1e6:.1f} MB")
    if plan.report is not None:
        print(plan.report / "report.html")
    told = []
    if isinstance(metrics.get("psnr"), float):
        told.append(f"splats on held-out frames: {metrics['psnr']:.1f} dB")
    if isinstance(metrics.get("fscore"), float):
        told.append(f"mesh against the truth: F-score {metrics['fscore']:.3f} at {metrics['threshold']:g}")
    if told:
        print("; ".join(told))


def _texels(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 64 <= value <= 8192:
        raise argparse.ArgumentTypeError(f"a whole number from 64 to 8192 was wanted, got {text!r}")
    return value


def _length(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be a length above 0, got {text}")
    return value


def _holdout(text: str) -> int:
    value = int(text)
    if value < 0 or value == 1:
        raise argparse.ArgumentTypeError(f"must be 0 or at least 2, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
