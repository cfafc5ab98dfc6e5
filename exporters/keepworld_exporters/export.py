"""From a capture to files and a report: the story in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from keepworld.capture import Capture, CapturedFrame
from keepworld.errors import ExportError
from keepworld.files import whole_file, write_atomically

from keepworld_exporters import manifest
from keepworld_exporters.compose import compose
from keepworld_exporters.formats import FORMATS, VIDEO, encode, suffix_of
from keepworld_exporters.page import render_page
from keepworld_exporters.progress import Clock, Progress
from keepworld_exporters.rasterize.fit import Target, fit_colours
from keepworld_exporters.report import headline, load_truth, measure_file, read_back
from keepworld_exporters.revisit import find_revisit
from keepworld_exporters.scene import Mesh, Scene
from keepworld_exporters.stages import fuse
from keepworld_exporters.stages.depth import View, choose_resolution, load_view, typical_depth
from keepworld_exporters.stages.moving import without_moving
from keepworld_exporters.stages.paint import vertex_normals
from keepworld_exporters.stages.points import gather_points
from keepworld_exporters.stages.predicted import KINDS, Kind
from keepworld_exporters.stages.select import cover, evenly, select
from keepworld_exporters.stages.sky import sky_shell
from keepworld_exporters.stages.sources import DepthSource
from keepworld_exporters.stages.splats import join, splats_from_cloud
from keepworld_exporters.stages.stereo import find_depth, find_reach, known_depth
from keepworld_exporters.stages.texture import texture
from keepworld_exporters.train.preset import train_splats
from keepworld_exporters.train.settings import PRESETS, PREVIEW, TRAINED, Training
from keepworld_exporters.video import write_video

BUDGET_BYTES = 2 * 2**30
MAX_FACES = 600_000
TEXTURED_FACES = 150_000  # laying out more takes minutes, and the texture holds the detail
MAX_POINTS = 600_000  # 248 bytes each as splats: about 150 MB
MAX_FOUND = 60  # frames whose depth is found from their pictures: some seconds each
FIT_VIEWS, FIT_ROUNDS = 28, 2
_WEIGHTS = {
    "read": 1.0,
    "depth": 200.0,
    "points": 8.0,
    "mesh": 22.0,
    "texture": 60.0,
    "splats": 4.0,
    "colours": 18.0,
    "standard": 400.0,
    "final": 3000.0,
    "write": 6.0,
    "film": 5.0,
    "measure": 14.0,
    "pictures": 4.0,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to make.

    Attributes:
        files: where to; each suffix says what.
        report: folder for report.html and report.json, or None.
        holdout: every so many-th frame is kept for measuring; 0 for none.
        voxel, max_depth: cell size and range of the mesh, the capture's units; None to choose them from the frames.
        truth: a triangle mesh of the true surface, or None.
        depth: predicted depth to use instead of the session's, as `predicted.PredictedDepth` says, or None.
        depth_kind: in what it may be off: one of `predicted.KINDS`.
        texture: texels along a side of the mesh's texture, about; 0 for colours at its vertices only.
        preset: how much work goes into splats: one of `PRESETS`.
        training: what else is asked of their training, where the preset has any.
        told: what was done to the capture before, for the manifest.
    """

    files: tuple[Path, ...]
    report: Path | None = None
    holdout: int = 8
    voxel: float | None = None
    max_depth: float | None = None
    truth: Path | None = None
    depth: Path | None = None
    depth_kind: Kind = "metric"
    texture: int = 0
    preset: str = PREVIEW
    training: Training = field(default_factory=Training)
    told: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {self.preset!r}")
        if self.depth_kind not in KINDS:
            raise ValueError(f"depth_kind must be one of {', '.join(KINDS)}, got {self.depth_kind!r}")


def export(
    capture: Capture, plan: Plan, *, on_progress: Callable[[Progress], None] = lambda progress: None
) -> dict[str, object]:
    """Make the files of a plan from a capture, and measure them.

    Returns:
        What `report.json` holds: `files` (name -> path, bytes, counts and figures), `metrics`, `seconds`, `manifest`.

    Raises:
        ExportError: the capture has no depth, nothing lasting in view, or would need too much memory.
    """
    kinds = {path: suffix_of(path.name) for path in plan.files}
    wanted = {FORMATS[suffix].holds for suffix in kinds.values() if suffix in FORMATS}
    source = known_depth(capture.frames, plan.depth, plan.depth_kind)
    blind = source is None and bool(wanted)
    clock = Clock(_stage_weights(wanted, plan, VIDEO in kinds.values(), blind), on_progress)
    with clock.stage("read"):
        if not capture.frames:
            raise ExportError(f"{capture.folder} holds no whole chunk yet: there is nothing to export")
        reach = find_reach(capture.frames) if blind else None
        typical = reach.typical if reach else typical_depth(capture.frames, source) if wanted else 1.0
        resolution = choose_resolution(
            float(capture.frames[0].camera.K[0, 0]),
            typical,
            voxel=plan.voxel,
            # Further away than most of what is seen, depth from pictures is too rough for a mesh.
            max_depth=plan.max_depth or (reach.typical if reach else None),
        )
        selection = select(capture.frames, holdout=plan.holdout, typical_depth=typical)
        truth = load_truth(plan.truth, selection.used, resolution) if plan.truth and wanted - {"splats"} else None
        if source is not None and wanted and selection.used[0].labels() is None:
            source = without_moving(selection.used, source, typical=typical)
    if reach:
        selection = replace(selection, used=tuple(cover(selection.used, MAX_FOUND, typical_depth=typical)))
        with clock.stage("depth", len(selection.used)) as step:
            source = find_depth(selection.used, reach, on_view=step)
    about = manifest.manifest(capture.provenance, resolution, len(capture), len(selection.used), capture.events)
    about |= plan.told
    made: dict[str, Scene] = {}

    def views() -> Iterator[View]:
        return (load_view(frame, source) for frame in selection.used)

    if wanted & {"points", "splats"}:
        with clock.stage("points", len(selection.used)) as step:
            cloud = gather_points(views, resolution.voxel / 1.5, max_points=MAX_POINTS, on_view=step)
            made["points"] = cloud.points
    if "mesh" in wanted:
        with clock.stage("mesh", fuse.PASSES * len(selection.used)) as step:
            max_faces = TEXTURED_FACES if plan.texture else MAX_FACES
            mesh = fuse.fuse_mesh(views, resolution, max_faces=max_faces, budget_bytes=BUDGET_BYTES, on_view=step)
        if plan.texture:
            with clock.stage("texture", len(selection.used)) as step:
                mesh = texture(mesh, views(), size=plan.texture, tolerance=2 * resolution.voxel, on_view=step)
        made["mesh"] = mesh
    if "splats" in wanted:
        with clock.stage("splats"):
            shell = sky_shell(views(), cloud.points.positions)
        if plan.preset == PREVIEW:
            ground = splats_from_cloud(cloud)
            laid = ground if shell is None else join(ground, shell)
            chosen = evenly(selection.used, FIT_VIEWS)
            with clock.stage("colours", FIT_ROUNDS * len(chosen)) as step:
                targets = [partial(_target, frame, source) for frame in chosen]
                made["splats"] = fit_colours(laid, targets, rounds=FIT_ROUNDS, on_step=step)
        else:
            settings = plan.training.settings(plan.preset)
            file = next(
                path for path, suffix in kinds.items() if suffix in FORMATS and FORMATS[suffix].holds == "splats"
            )
            unfinished = file.with_name(f".{file.name}.training")
            with clock.stage(plan.preset, settings.iterations or 1) as step:
                made["splats"] = train_splats(
                    cloud, shell, views(), settings, checkpoint=unfinished, watch=plan.training.watch, on_step=step
                )
    files: dict[str, dict[str, object]] = {}
    with clock.stage("write", len(kinds)) as step:
        for path, suffix in kinds.items():
            if suffix in FORMATS:
                kind = FORMATS[suffix]
                write_atomically(path, encode(_finished(made[kind.holds]), suffix, manifest.for_file(about, kind)))
                files[path.name] = {"path": str(path), "bytes": path.stat().st_size}
            step()
    made.clear()
    if VIDEO in kinds.values():
        with clock.stage("film", len(capture)) as step:
            for path in (path for path, suffix in kinds.items() if suffix == VIDEO):
                with whole_file(path) as unfinished:
                    write_video(unfinished, capture.frames, capture.provenance.fps, about=about, on_frame=step)
                files[path.name] = {"path": str(path), "bytes": path.stat().st_size, "frames": len(capture)}
    scenes = {path: read_back(path) for path, suffix in kinds.items() if suffix in FORMATS}
    with clock.stage("measure", len(selection.heldout)) as step:
        centres = capture.c2ws[:, :3, 3]
        for path, scene in scenes.items():
            measured = measure_file(
                scene,
                heldout=selection.heldout,
                truth=truth,
                centres=centres,
                max_depth=resolution.max_depth,
                on_step=step,
            )
            files[path.name] |= measured
            manifest.write_beside(path, {**manifest.for_file(about, FORMATS[kinds[path]]), "metrics": measured})
    revisit = find_revisit(capture)
    content: dict[str, object] = {
        "files": files,
        "metrics": headline(files),
        "revisit": asdict(revisit) if revisit else None,
        "seconds": {name: round(seconds, 2) for name, seconds in clock.seconds.items()},
        "manifest": about,
        "capture": str(capture.folder),
        "heldout": [frame.number for frame in selection.heldout],
    }
    for folder in sorted({path.parent for path in plan.files}):
        write_atomically(folder / "scene.manifest.json", json.dumps(about, indent=1).encode())
    if plan.report is not None:
        with clock.stage("pictures"):
            plan.report.mkdir(parents=True, exist_ok=True)
            page = compose(capture, scenes, selection.heldout, resolution, content)
            write_atomically(plan.report / "report.html", render_page(page))
            write_atomically(plan.report / "report.json", json.dumps(content, indent=1).encode())
    return content


def _finished(scene: Scene) -> Scene:
    """What is written of a scene: a mesh with its normals."""
    if isinstance(scene, Mesh) and scene.normals is None:
        return replace(scene, normals=vertex_normals(scene.vertices, scene.faces))
    return scene


def _target(frame: CapturedFrame, source: DepthSource | None) -> Target:
    """A frame's picture for fitting colours: the lasting world and the sky, without what moves."""
    view = load_view(frame, source)
    mask = (view.depth > 0).astype(np.float32)
    return Target(image=view.image, mask=mask, viewmat=view.viewmat, K=view.K)


def _stage_weights(wanted: set[str], plan: Plan, film: bool, blind: bool) -> dict[str, float]:
    """About how long each stage that will run takes, compared to the others."""
    runs = {
        "read": True, "depth": blind, "points": bool(wanted & {"points", "splats"}),
        "mesh": "mesh" in wanted, "texture": "mesh" in wanted and plan.texture > 0, "splats": "splats" in wanted,
        "colours": "splats" in wanted and plan.preset == PREVIEW,
        **{name: "splats" in wanted and plan.preset == name for name in TRAINED},
        "write": True, "film": film, "measure": True, "pictures": plan.report is not None,
    }  # fmt: skip
    return {name: weight for name, weight in _WEIGHTS.items() if runs[name]}
