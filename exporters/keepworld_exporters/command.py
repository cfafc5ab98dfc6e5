"""The words of ``keepworld-export``: what can be asked, and the plan that it is."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from keepworld_exporters.ingest.arguments import SOURCES, add_arguments
from keepworld_exporters.profiles import PROFILES
from keepworld_exporters.train.settings import BUDGETS, PRESETS, PREVIEW, Training

if TYPE_CHECKING:
    from keepworld_exporters.dataset import Dataset
    from keepworld_exporters.ingest.wanted import Wanted
    from keepworld_exporters.plan import Plan

EXAMPLES = """\
OUT is a file or a folder. A file's name says what it becomes:

  .splat.ply .ply .spz ...     Gaussian splats
  .points.ply .laz .e57 ...    a point cloud with normals, colours, and how many frames saw each point
  .glb .obj .usdz ...          a mesh, coloured or textured
  .lod1.glb .lod2.glb ...      the same mesh with a half, a fifth, a twentieth of its triangles
  .collider.glb                few triangles to walk on
  .hulls.glb                   convex parts for a physics engine
  .mp4                         the walk as a film
  .colmap .colmap.txt          a data set for trainers: a folder with images, cameras and points; alone, or see --format

A folder gets splats, points, a mesh and a film, and report.html, which shows and measures what was written; with --profile, or a
preset above preview, also levels of detail and a collider.

examples:
  keepworld-export walk out/                               everything, with a report
  keepworld-export walk unity/ --profile unity --origin ground    files, axes and units that Unity takes
  keepworld-export walk world.glb --texture 2048           just the mesh, with a texture, out to the horizon
  keepworld-export walk world.glb world.lod1.glb world.collider.glb --max-faces 100000
  keepworld-export walk world.splat.ply --holdout 0        splats from every frame, none kept for measuring
  keepworld-export walk out/ --preset standard             trained splats, textured mesh: minutes
  keepworld-export walk scene.ply --training 3dgs-7k       splats, trained for as many steps as papers compare them by
  keepworld-export walk walk.colmap --depth-maps           a COLMAP data set with depth and confidence of every frame
  keepworld-export walk out/ --estimate                    only say what it would take
  keepworld-export walk out/ --truth surface.ply           measure the mesh against a surface that is known
  keepworld-export photos/ out/ --upright                  photos of a place, of which nothing else is known
  keepworld-export film.mp4 out/ --camera-height 1.6       a film, to scale by how high it was held

Ctrl-C and SIGTERM end it after the step it is at, a second one at once; they leave nothing behind but files that are whole, and
the state of a training, to go on from. Killed outright (SIGKILL, no memory, no power) it leaves what it has done in a hidden
folder, and the same command goes on from there. Exit status: 0 done, 1 failed, 2 misused, 130 by Ctrl-C, 143 by SIGTERM.

With --progress json each line on standard error is an object with stage, share (of all the work, 0 to 1), left_s (seconds to go,
null while that is a guess) and memory_bytes; that of stage "expected" has expected_s, expected_bytes, and as "keeps" the hidden
files that are there until it is done. With
--json the last line on standard output is one object: psnr (of the written file on held-out frames: of the splats, or else of the
mesh), files, metrics, expected, seconds, peak_bytes, report, manifest.
"""
DATASETS = ("colmap", "colmap.txt")
_OF_DATASETS = {"source", "out", "format", "depth_maps", "depth", "depth_kind", "json", "progress"}
_OWN_DEPTH = ("session", "sweep", "hybrid")  # keepworld_exporters.stages.sources has them, and loads more
_SESSION, _ORIGINS = "session", ("session", "ground")  # keepworld_exporters.placement has them, and loads more


class UsageError(ValueError):
    """The command line asks for something that makes no sense."""


def parser_of_exports() -> argparse.ArgumentParser:
    """The command line, with its help."""
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
        default=(8, None),
        metavar="N[:FIRST]",
        help="keep every N-th frame for measuring, from one in the middle of the first N or from frame FIRST; 0: none "
        "(default: 8; published figures of photos are 8:0)",
    )
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default=PREVIEW,
        help="how much work: preview places splats in seconds; standard trains them and textures the mesh, minutes; final an "
        "hour, with a normal map (default: preview)",
    )
    _add_training(parser)
    _add_dataset(parser)
    parser.add_argument("--profile", choices=PROFILES, help="the program it is for: axes, units, kinds of files")
    parser.add_argument(
        "--origin",
        choices=_ORIGINS,
        default=_SESSION,
        help="where the files have theirs: the session's, or the ground below the first camera (default: session)",
    )
    parser.add_argument("--scale", type=_length, default=1.0, metavar="X", help="make everything X times as large")
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
        type=_depth,
        metavar="FROM",
        help="session: as it came with the frames; sweep: found from the pictures, whatever came; hybrid: that, and what trained "
        "splats show where nothing was found; or predicted depth: a folder with 000000.npy (.npz, .png) …, or one .npz "
        "(default: the session's, else found)",
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
        metavar="N",
        help="give the mesh a texture of about N x N texels, 64 to 8192; 0: colours at its vertices (default: the preset's)",
    )
    parser.add_argument("--normal-map", action="store_true", default=None, help="keep fine relief in a normal map")
    parser.add_argument(
        "--backdrop",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let the mesh go on, coarser and coarser, to what is seen furthest (default: with a texture)",
    )
    parser.add_argument("--max-faces", type=_count, metavar="N", help="triangles of the mesh (default: the preset's)")
    parser.add_argument("--max-points", type=_count, metavar="N", help="points of the cloud (default: 600000)")
    parser.add_argument("--collider-faces", type=_count, metavar="N", help="triangles of a collider (default: 100000)")
    parser.add_argument("--hulls", type=_count, metavar="N", help="convex parts of a .hulls.glb (default: 32)")
    parser.add_argument(
        "--smooth",
        type=_rounds,
        metavar="N",
        help="rounds of smoothing (default: 0 for exact depth, 8 for found depth)",
    )
    parser.add_argument(
        "--max-memory", type=_length, metavar="GB", help="memory it may use (default: 90 %% of what is free)"
    )
    parser.add_argument("--estimate", action="store_true", help="only say what it would take: memory and time")
    add_arguments(parser)
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write report.html and report.json there")
    parser.add_argument(
        "--json", action="store_true", help="end with one JSON object on standard output: paths, sizes, metrics"
    )
    parser.add_argument(
        "--progress", choices=("bar", "json", "none"), help="on standard error (default: bar on a terminal)"
    )
    return parser


def _add_training(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group(
        "training",
        "With --preset standard or final, or --training. A training that was interrupted is gone on with by the same command.",
    )
    training.add_argument(
        "--training",
        choices=BUDGETS,
        help="how long splats are trained, instead of as the preset has it: 3dgs-7k for 7000 steps, 3dgs-30k for 30000",
    )
    training.add_argument(
        "--minutes", type=_length, metavar="N", help="train for so long, paced for it (default: the preset's steps)"
    )
    training.add_argument(
        "--steps", type=_count, metavar="N", help="train for so many steps, a frame each (default: the preset's)"
    )
    training.add_argument(
        "--max-splats",
        type=_splats,
        metavar="N",
        help="how many there may be (default: the preset's, by the frames' size)",
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
        "--surfaces",
        action="store_true",
        help="make splats flat and turn them to lie in the surface they show: for programs that take depth or normals from them",
    )
    training.add_argument(
        "--watch",
        type=Path,
        metavar="PNG",
        help="a picture to keep an eye on: what is drawn beside the frame, every few seconds",
    )


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    dataset = parser.add_argument_group("a data set for trainers", "OUT is then one folder; nothing is reconstructed.")
    dataset.add_argument("--format", choices=DATASETS, help="what kind, where the folder's name does not say it")
    dataset.add_argument(
        "--depth-maps",
        action="store_true",
        help="with the depth of every frame, and how sure it is; found, if it has none",
    )


def plan_of(arguments: argparse.Namespace) -> Plan:
    """What to make, from the command line.

    Raises:
        UsageError: the places to write to make no sense together.
    """
    from keepworld_exporters.outputs import output_of, usual_names
    from keepworld_exporters.plan import Budget, Plan

    files: list[Path] = []
    report = arguments.report
    for out in arguments.out:
        path = Path(out)
        if out.endswith("/") or path.is_dir() or not path.suffix:
            if not arguments.estimate:
                path.mkdir(parents=True, exist_ok=True)
            engine = arguments.profile is not None or arguments.preset != PREVIEW
            files += [path / name for name in usual_names(arguments.profile, engine=engine)]
            report = report or path
            continue
        try:
            output_of(path)
        except ValueError as error:
            raise UsageError(f"{error}, or be a folder") from error
        if not path.parent.is_dir():
            raise UsageError(f"the folder {path.parent} does not exist; make it first, or name another")
        files.append(path)
    if len({path.resolve() for path in files}) != len(files) or len({path.name for path in files}) != len(files):
        raise UsageError("two outputs have the same name; give each its own")
    chosen = {
        "faces": arguments.max_faces, "texture": arguments.texture, "normal_map": arguments.normal_map,
        "backdrop": arguments.backdrop, "points": arguments.max_points, "collider_faces": arguments.collider_faces,
        "hulls": arguments.hulls,
    }  # fmt: skip
    return Plan(
        files=tuple(files), report=report, holdout=arguments.holdout[0],
        holdout_first=arguments.holdout[1], voxel=arguments.voxel,
        max_depth=arguments.max_depth, truth=arguments.truth, depth=arguments.depth, depth_kind=arguments.depth_kind,
        preset=arguments.preset, training=_training(arguments),
        budget=Budget(**{name: value for name, value in chosen.items() if value is not None}),
        profile=arguments.profile, origin=arguments.origin, scale=arguments.scale, smoothing=arguments.smooth,
        max_memory=None if arguments.max_memory is None else round(arguments.max_memory * 1e9),
    )  # fmt: skip


def dataset_of(arguments: argparse.Namespace) -> Dataset | None:
    """The data set that is asked for; None if it is files of a scene.

    Raises:
        UsageError: it is asked for what is not of a data set, or the other way round.
    """
    from keepworld_exporters.dataset import Dataset

    named = next(
        (kind for kind in reversed(DATASETS) if arguments.out[0].rstrip("/").lower().endswith(f".{kind}")), None
    )
    kind = arguments.format or named
    if kind is None:
        if arguments.depth_maps:
            raise UsageError("--depth-maps are of a data set; add --format colmap, or name the folder so: walk.colmap")
        return None
    if arguments.depth == "hybrid":
        raise UsageError(
            "--depth hybrid needs trained splats, and a data set has none; --depth sweep finds depth for it"
        )
    if len(arguments.out) != 1:
        raise UsageError(f"a data set is one folder, got {' '.join(arguments.out)}")
    of_sources = argparse.ArgumentParser()
    add_arguments(of_sources)
    known = _OF_DATASETS | set(vars(of_sources.parse_args([])))
    usual = vars(parser_of_exports().parse_args(["source", "out"]))
    odd = [name for name, value in vars(arguments).items() if name not in known and value != usual[name]]
    if odd:
        raise UsageError(f"--{odd[0].replace('_', '-')} is not of a data set, which holds what was walked as it is")
    return Dataset(
        folder=Path(arguments.out[0]), suffix=f".{kind}", with_depth=arguments.depth_maps,
        predicted=arguments.depth, predicted_kind=arguments.depth_kind,
    )  # fmt: skip


def _training(arguments: argparse.Namespace) -> Training:
    """What is asked of a training.

    Raises:
        UsageError: there will be none and something needs it, or the picture to watch is none.
    """
    asked = Training(
        budget=arguments.training, steps=arguments.steps, minutes=arguments.minutes, cap=arguments.max_splats,
        target_psnr=arguments.target_psnr, exposure=arguments.exposure,
        refine_poses=arguments.refine_poses, surfaces=arguments.surfaces, watch=arguments.watch,
    )  # fmt: skip
    trains = arguments.preset != PREVIEW or asked.budget is not None
    if asked != Training() and not trains:
        raise UsageError(
            "--minutes, --steps, --max-splats, --target-psnr, --exposure, --refine-poses, --surfaces and --watch are of "
            "training; add --preset standard or final, or --training"
        )
    if arguments.depth == "hybrid" and not trains:
        raise UsageError("--depth hybrid needs trained splats; add --preset standard or final, or --training")
    if asked.watch is not None and asked.watch.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--watch must be a .png or .jpg, got {asked.watch}")
    if asked.watch is not None and not asked.watch.parent.is_dir():
        raise UsageError(f"the folder {asked.watch.parent} of --watch does not exist; make it first")
    return asked


def wanted_of(arguments: argparse.Namespace) -> Wanted:
    """What is to be done with the source first.

    Raises:
        UsageError: its flags make no sense together.
    """
    from keepworld_exporters.ingest.arguments import wanted

    try:
        return wanted(arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _texels(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not (64 <= value <= 8192 or text == "0"):
        raise argparse.ArgumentTypeError(f"a whole number from 64 to 8192, or 0, was wanted, got {text!r}")
    return value


def _depth(text: str) -> Path | str:
    return text if text in _OWN_DEPTH else Path(text)


def _length(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be a length above 0, got {text}")
    return value


def _holdout(text: str) -> tuple[int, int | None]:
    """N, or N:FIRST."""
    every, colon, first = text.partition(":")
    value, start = int(every), int(first) if colon else None
    if value < 0 or value == 1 or (start is not None and not 0 <= start < value):
        raise argparse.ArgumentTypeError(f"must be 0 or at least 2, or N:FIRST with FIRST below N, got {text}")
    return value, start


def _splats(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 10_000_000:
        raise argparse.ArgumentTypeError(f"must be from 1 to 10000000, got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _rounds(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1000, got {text}")
    return value
