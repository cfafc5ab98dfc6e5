"""From a capture to files and a report: the story in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from keepworld.capture import Capture, CapturedFrame
from keepworld.errors import ExportError
from keepworld.files import whole_file, write_atomically

from keepworld_exporters import manifest
from keepworld_exporters.compose import compose
from keepworld_exporters.cost import Before, Estimate
from keepworld_exporters.estimate import LOOK, fitting
from keepworld_exporters.formats import FORMATS, encode_files, frames, parts_glb
from keepworld_exporters.heldout import MAX_HELDOUT
from keepworld_exporters.making import Made, Maker, places_of, training_file
from keepworld_exporters.outputs import HULLS, Output
from keepworld_exporters.page import render_page
from keepworld_exporters.placement import GROUND, Placement, ground_below
from keepworld_exporters.plan import Plan
from keepworld_exporters.progress import Clock, Progress
from keepworld_exporters.reading import read_back
from keepworld_exporters.report import headline, load_truth, measure_file
from keepworld_exporters.revisit import find_revisit
from keepworld_exporters.stages.depth import choose_resolution, typical_depth
from keepworld_exporters.stages.moving import without_moving
from keepworld_exporters.stages.select import Selection, cover, select
from keepworld_exporters.stages.sources import DepthSource, FoundDepth
from keepworld_exporters.stages.stereo import find_depth, find_reach, known_depth
from keepworld_exporters.stages.survey import Reach
from keepworld_exporters.survey import NOTHING, Surveyed, guess, look
from keepworld_exporters.unfinished import Unfinished, capture_digest
from keepworld_exporters.video import write_video

MAX_FOUND = 80  # frames whose depth is found from their pictures: two seconds each


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Start:
    """What is known before anything is made: which frames, what they show, what it will take.

    `reach` is there where depth is to be found, `beside` are then more frames to compare pictures with, and `coarser` says how
    much larger cells are than was planned.
    """

    plan: Plan
    selection: Selection
    source: DepthSource | None
    reach: Reach | None
    seen: Surveyed
    expected: Estimate
    coarser: float
    beside: tuple[CapturedFrame, ...] = ()


def begin(capture: Capture, plan: Plan) -> Start:
    """Look at a capture, choose its frames, and make the plan fit into memory.

    Raises:
        ExportError: there is nothing to export, or it would need too much memory.
    """
    if not capture.frames:
        raise ExportError(f"{capture.folder} holds no whole chunk yet: there is nothing to export")
    source = known_depth(capture.frames, plan.depth, plan.depth_kind)
    if plan.parts <= {"video"}:
        selection = Selection(used=(), heldout=())
        seen = NOTHING
        expected = fitting(plan, seen, frames=len(capture), heldout=0, blind=False)[2]
        return Start(
            plan=plan, selection=selection, source=None, reach=None, seen=seen, coarser=1.0, expected=expected,
        )  # fmt: skip
    reach = find_reach(capture.frames) if source is None else None
    typical = reach.typical if reach else typical_depth(capture.frames, source)
    focal = float(capture.frames[0].camera.K[0, 0])
    # Further away than most of what is seen, depth from pictures is too rough for a mesh.
    max_depth = plan.max_depth or (reach.typical if reach else None)
    resolution = choose_resolution(focal, typical, voxel=plan.voxel, max_depth=max_depth)
    selection = select(capture.frames, holdout=plan.holdout, typical_depth=typical, first=plan.holdout_first)
    beside = selection.used if reach else ()
    if reach:
        selection = replace(selection, used=tuple(cover(selection.used, MAX_FOUND, typical_depth=typical)))
    if source is not None and selection.used[0].labels() is None:
        source = without_moving(selection.used, source, typical=typical)
    if reach:
        camera = capture.frames[0].camera
        seen = guess(len(selection.used), (camera.width, camera.height), resolution)
    else:
        seen = look(selection.used, source, resolution, backdrop=plan.amounts().backdrop)
    plan, coarser, expected = fitting(
        plan, seen, frames=len(capture), heldout=len(selection.heldout), blind=reach is not None
    )
    if coarser > 1:
        wider = choose_resolution(focal, typical, voxel=resolution.voxel * coarser, max_depth=resolution.max_depth)
        seen = replace(seen, resolution=wider)
    return Start(
        plan=plan, selection=selection, source=source, reach=reach, seen=seen, expected=expected, coarser=coarser,
        beside=beside,
    )  # fmt: skip


def export(
    capture: Capture,
    plan: Plan,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_start: Callable[[Start, tuple[Path, ...]], None] = lambda start, kept: None,
    before: Before | None = None,
) -> dict[str, object]:
    """Make the files of a plan from a capture, and measure them.

    Killed on the way, it goes on from the last stage that was done when it is called with the same again. Ended by an
    exception, as by Ctrl-C, it leaves nothing to go on from but the state of a training.

    Args:
        capture: the walk.
        plan: what to make of it.
        on_progress: told of every step.
        on_start: told what it will take, and where it keeps what it has done so far, before it does.
        before: what was done to the walk before, for the report.

    Returns:
        What `report.json` holds: `files` (name -> path, bytes, counts and figures), `metrics`, `psnr`, `seconds`, `manifest`.

    Raises:
        ExportError: the capture has no depth, nothing lasting in view, or would need too much memory.
    """
    looking = Clock({LOOK: 1.0}, lambda progress: None, after=before.clock if before else None)
    with looking.stage(LOOK):
        start = begin(capture, plan)
    plan, selection, resolution = start.plan, start.selection, start.seen.resolution
    unfinished = Unfinished(plan.files[0].parent, _decisive(capture, start))
    on_start(start, (unfinished.folder, training_file(plan)))
    clock = Clock({**start.expected.processor_s, LOOK: 0.0}, on_progress, after=looking)
    try:
        with clock.stage("read"):
            truth = load_truth(plan.truth, selection.used, resolution) if plan.truth and selection.used else None
        source = start.source
        if start.reach:
            with clock.stage("depth", len(selection.used)) as step:
                find = partial(find_depth, selection.used, start.reach, beside=start.beside, on_view=step)
                source = unfinished.keep("depth", FoundDepth, find)
        rough = start.source is None
        made = Maker(plan, start.seen, selection.used, source, clock, unfinished, rough).make()
        placement = _placement(plan, made, capture)
        about = manifest.manifest(capture.provenance, resolution, len(capture), len(selection.used), capture.events)
        about |= plan.told
        files = _write(capture, plan, made, placement, about, clock)
        holes = made.holes
        del made
        scenes = {
            output.path: read_back(output.path, suffix=output.suffix, convention=plan.convention, placement=placement)
            for output in plan.outputs
            if output.suffix in FORMATS
        }
        drawn = [output for output in plan.outputs if output.part in ("splats", "mesh")]
        with clock.stage("measure", max(1, len(drawn) * min(MAX_HELDOUT, len(selection.heldout)))) as step:
            for output in plan.outputs:
                if output.suffix in FORMATS:
                    files[output.path.name] |= {"part": output.part} | measure_file(
                        scenes[output.path],
                        heldout=selection.heldout if output in drawn else (),
                        truth=None if output.part in ("collider", HULLS) else truth,
                        centres=capture.c2ws[:, :3, 3],
                        max_depth=resolution.max_depth,
                        on_step=step,
                    )
        expected = start.expected.after(before.expected) if before else start.expected
        content = _content(capture, start, files, unfinished, about)
        content |= {"expected": expected.asdict(), **clock.taken()}
        if holes is not None:
            content["holes"] = asdict(holes)
        for folder in sorted({path.parent for path in plan.files}):
            write_atomically(folder / "scene.manifest.json", json.dumps(about, indent=1).encode())
        _write_manifests(plan, about, placement, files)
        if plan.report is not None:
            with clock.stage("pictures"):
                plan.report.mkdir(parents=True, exist_ok=True)
                page = compose(capture, scenes, selection.heldout, resolution, content)
                if page.film is not None:
                    write_atomically(plan.report / "turntable.mp4", page.film)
                write_atomically(plan.report / "report.html", render_page(page))
            content |= clock.taken()
            write_atomically(plan.report / "report.json", json.dumps(content, indent=1).encode())
    finally:
        # A kill leaves what was done, to go on from; an end of any other kind leaves nothing.
        unfinished.forget()
    return content


def _decisive(capture: Capture, start: Start) -> dict[str, object]:
    """What the results of stages depend on: not where a report goes, or what they are measured against."""
    plan = replace(start.plan, report=None, truth=None, max_memory=None)
    return {
        "capture": capture_digest(capture.folder),
        "frames": [frame.number for frame in start.selection.used],
        "plan": asdict(plan),
        "resolution": asdict(start.seen.resolution),
        "rings": start.seen.rings,
    }


def _placement(plan: Plan, made: Made, capture: Capture) -> Placement:
    if plan.origin != GROUND or not made.scenes:
        return Placement(scale=plan.scale)
    scene = made.scenes.get("mesh") or made.scenes.get("points") or next(iter(made.scenes.values()))
    below = ground_below(capture.frames[0].camera.centre, places_of(scene))
    return Placement(scale=plan.scale, shift=(-float(below[0]), -float(below[1]), -float(below[2])))


def _write(
    capture: Capture, plan: Plan, made: Made, placement: Placement, about: Mapping[str, object], clock: Clock
) -> dict[str, dict[str, object]]:
    """Write all files; gives by name where each is and how large, with the files that lie beside it."""
    files: dict[str, dict[str, object]] = {}
    outputs = [output for output in plan.outputs if output.suffix in FORMATS]
    with clock.stage("write", max(1, len(outputs))) as step:
        for output in outputs:
            data = _encoded(output, plan, made, placement, about)
            for name, part in data.items():
                write_atomically(output.path.with_name(name), part)
            files[output.path.name] = {"path": str(output.path), "bytes": sum(map(len, data.values()))}
            step()
    films = [output for output in plan.outputs if output.suffix not in FORMATS]
    if films:
        with clock.stage("film", len(films) * len(capture)) as step:
            for output in films:
                with whole_file(output.path) as unfinished:
                    write_video(unfinished, capture.frames, capture.provenance.fps, about=about, on_frame=step)
                size = output.path.stat().st_size
                files[output.path.name] = {"path": str(output.path), "bytes": size, "frames": len(capture)}
    return files


def _encoded(
    output: Output, plan: Plan, made: Made, placement: Placement, about: Mapping[str, object]
) -> Mapping[str, bytes]:
    """A file and those beside it, by name."""
    told = _told(output, plan, placement, about)
    if output.part == HULLS and output.suffix == ".glb":
        turned = [frames.to_convention(placement.apply(hull), FORMATS[output.suffix].convention) for hull in made.hulls]
        return {output.path.name: parts_glb.encode(turned, told)}
    scene = placement.apply(made.scenes[output.part])
    return encode_files(scene, output.path.name, told, suffix=output.suffix, convention=plan.convention)


def _told(output: Output, plan: Plan, placement: Placement, about: Mapping[str, object]) -> dict[str, object]:
    told = manifest.for_file(about, FORMATS[output.suffix], plan.convention)
    if plan.profile is not None:
        told["profile"] = plan.profile
    if placement != Placement():
        told["placed_from_session"] = placement.matrix().tolist()
    return told


def _write_manifests(
    plan: Plan, about: Mapping[str, object], placement: Placement, files: Mapping[str, Mapping[str, object]]
) -> None:
    """A manifest beside each file, with its figures."""
    for output in plan.outputs:
        if output.suffix in FORMATS:
            figures = {key: value for key, value in files[output.path.name].items() if key not in ("path", "bytes")}
            manifest.write_beside(output.path, {**_told(output, plan, placement, about), "metrics": figures})


def _content(
    capture: Capture,
    start: Start,
    files: Mapping[str, Mapping[str, object]],
    unfinished: Unfinished,
    about: Mapping[str, object],
) -> dict[str, object]:
    revisit = find_revisit(capture)
    metrics = headline(files)
    return {
        "files": files,
        "metrics": metrics,
        "psnr": metrics.get("psnr"),
        "revisit": asdict(revisit) if revisit else None,
        "coarser": round(start.coarser, 3),
        "pace": round(start.seen.pace, 3),
        "rings": start.seen.rings,
        "resumed": unfinished.resumed,
        "manifest": about,
        "capture": str(capture.folder),
        "heldout": [frame.number for frame in start.selection.heldout],
    }
