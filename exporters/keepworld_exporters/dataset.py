"""From a capture to a data set that others train on: its pictures, cameras and some points, with depth if that is wanted.

    walk.colmap/
      images/000000.png
      sparse/0/cameras.bin images.bin points3D.bin
      stereo/depth_maps/000000.png.geometric.bin    COLMAP's own form: float32 along +z, the capture's units, 0 where unknown
      confidence/000000.png                         how sure the depth is, 255 = sure; 0 for sky, and for what moves

Source of the form of depth: COLMAP's "Output format" page.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keepworld import png
from keepworld.capture import Capture, CapturedFrame
from keepworld.errors import ExportError
from keepworld.files import whole_folder
from numpy.typing import NDArray

from keepworld_exporters import manifest
from keepworld_exporters.formats.checks import checked_points
from keepworld_exporters.formats.paths import MODELS
from keepworld_exporters.progress import Clock, Progress
from keepworld_exporters.scene import Points, Shot, Views
from keepworld_exporters.stages.predicted import Kind
from keepworld_exporters.stages.select import cover
from keepworld_exporters.stages.sources import DepthMap, DepthSource, Own
from keepworld_exporters.stages.stereo import find_depth, find_reach, known_depth

MOST_POINTS = 100_000  # that a data set begins with: as many as trainers are used to from COLMAP itself
MOST_FOUND = 60  # frames whose depth is found from their pictures: some seconds each
_PARTS = {"images", "sparse", "stereo", "confidence"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """What to make.

    Attributes:
        folder: where; a data set that lies there is replaced.
        suffix: of its kind, one of `MODELS`.
        with_depth: whether depth and confidence belong to it.
        predicted, predicted_kind: as `depth` and `depth_kind` of a `Plan`.
    """

    folder: Path
    suffix: str = ".colmap"
    with_depth: bool = False
    predicted: Path | Own | None = None
    predicted_kind: Kind = "metric"


def make_dataset(
    capture: Capture,
    wanted: Dataset,
    told: Mapping[str, object],
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, object]:
    """Make a data set of a capture, whole or not at all, with a manifest beside it.

    Args:
        capture: the walk.
        wanted: what to make.
        told: what was done to the capture before, for the manifest.
        on_progress: told of every step.

    Returns:
        `files` (name -> path, bytes, counts), `metrics`, `seconds`, `manifest`, as an export of a scene has them.

    Raises:
        ExportError: there is nothing to export, something else lies there, or depth is wanted and cannot be found.
    """
    if not capture.frames:
        raise ExportError(f"{capture.folder} holds no whole chunk yet: there is nothing to export")
    check_free(wanted.folder)
    source = known_depth(capture.frames, wanted.predicted, wanted.predicted_kind)
    finds = source is None and wanted.with_depth
    clock = Clock({"depth": 10.0 if finds else 0.0, "dataset": 1.0}, on_progress)
    frames: Sequence[CapturedFrame] = capture.frames
    if finds:
        reach = find_reach(frames)
        frames = cover(frames, MOST_FOUND, typical_depth=reach.typical)
        with clock.stage("depth", len(frames)) as step:
            source = find_depth(frames, reach, beside=capture.frames, on_view=step)
    about = {**manifest.of_walk(capture.provenance, capture.events), **told, "frames": len(capture)}
    with clock.stage("dataset", len(capture) + len(frames)) as step:
        views = views_of(capture.frames, None if source is None else seen(frames, source))
        with whole_folder(wanted.folder) as unfinished:
            write_model(unfinished / "sparse" / "0", MODELS[wanted.suffix](views, about))
            copy_pictures(capture.frames, unfinished / "images", step)
            if wanted.with_depth:
                assert source is not None
                for frame in frames:
                    _write_depth(frame, source.of(frame), unfinished)
                    step()
            make_way(wanted.folder)
    points = 0 if views.points is None else len(views.points.positions)
    counts = {"frames": len(capture), "points": points, "depth_maps": len(frames) if wanted.with_depth else 0}
    about |= {"dataset": wanted.suffix.removeprefix("."), "convention": "colmap", "points": points}
    about |= {"depth_maps": counts["depth_maps"], "transform_from_session": np.eye(4).tolist()}
    manifest.write_beside(wanted.folder, about)
    size = sum(path.stat().st_size for path in wanted.folder.rglob("*") if path.is_file())
    return {
        "psnr": None,
        "files": {wanted.folder.name: {"path": str(wanted.folder), "bytes": size, **counts}},
        "metrics": counts,
        "seconds": {name: round(seconds, 2) for name, seconds in clock.seconds.items()},
        "manifest": about,
    }


def views_of(frames: Sequence[CapturedFrame], points: Points | None) -> Views:
    """Cameras by the names that their pictures have in a data set.

    COLMAP's readers look for pictures by their plain names, so that none lies in a folder of its own.
    """
    shots = [Shot(name=f"{frame.number:06d}.png", camera=frame.camera, time_s=frame.time_s) for frame in frames]
    return Views(shots=tuple(shots), points=points)


def seen(frames: Sequence[CapturedFrame], source: DepthSource) -> Points:
    """Some points of the lasting world, evenly from all frames, by their depth."""
    rng = np.random.default_rng(0)
    each = -(-MOST_POINTS // max(len(frames), 1))
    positions, colours = [], []
    for frame in frames:
        depth = source.of(frame).depth
        there = np.flatnonzero((depth > 0) & np.isfinite(depth) & frame.lasting())
        rows, columns = np.unravel_index(np.sort(rng.permutation(there)[:each]), depth.shape)
        places = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], 1) @ np.linalg.inv(frame.camera.K).T
        away = places * depth[rows, columns, None].astype(np.float64)
        positions.append(away @ frame.camera.c2w[:3, :3].T + frame.camera.centre)
        colours.append(frame.image()[rows, columns])
    return checked_points(np.concatenate(positions), colours=np.concatenate(colours))


def write_model(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def copy_pictures(frames: Sequence[CapturedFrame], folder: Path, on_frame: Callable[[], None]) -> None:
    """Copy the pictures of frames, under the names that `views_of` gives them."""
    folder.mkdir()
    for frame in frames:
        name = f"{frame.number:06d}.png"
        shutil.copyfile(frame.folder / "frames" / name, folder / name)
        on_frame()


def encode_depth(depth: NDArray[np.float32]) -> bytes:
    """A depth map [H, W] in COLMAP's form: its size in text, then rows of little-endian float32."""
    height, width = depth.shape
    return f"{width}&{height}&1&".encode() + depth.astype("<f4").tobytes()


def _write_depth(frame: CapturedFrame, found: DepthMap, folder: Path) -> None:
    maps, sure = folder / "stereo" / "depth_maps", folder / "confidence"
    maps.mkdir(parents=True, exist_ok=True)
    sure.mkdir(exist_ok=True)
    depth = np.where(np.isfinite(found.depth) & (found.depth > 0), found.depth, np.float32(0))
    confidence = np.ones_like(depth) if found.confidence is None else found.confidence
    confidence = np.where((depth > 0) & frame.lasting(), confidence, np.float32(0))
    name = f"{frame.number:06d}.png"
    (maps / f"{name}.geometric.bin").write_bytes(encode_depth(depth))
    (sure / name).write_bytes(png.encode(np.round(255 * np.clip(confidence, 0, 1)).astype(np.uint8)))


def check_free(folder: Path) -> None:
    """See that a data set may take a folder's place: nothing is there, or another data set.

    Raises:
        ExportError: something else is.
    """
    there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if (folder.exists() and not folder.is_dir()) or not there <= _PARTS:
        raise ExportError(f"{folder} already exists and is no data set; choose another name or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)


def make_way(folder: Path) -> None:
    """Remove the data set whose place another is about to take."""
    if folder.exists():
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        folder.replace(aside)
        shutil.rmtree(aside)
