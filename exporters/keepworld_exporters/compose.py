"""From figures and pictures to the page of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from keepworld.capture import Capture, CapturedFrame
from numpy.typing import NDArray

from keepworld_exporters.page import Figure, Page
from keepworld_exporters.pictures import contact_sheet, draw, jpeg, overlook
from keepworld_exporters.scene import Mesh, Points, Scene, Splats
from keepworld_exporters.stages.depth import Resolution
from keepworld_exporters.stages.select import evenly
from keepworld_exporters.walk_map import draw_map

NUM_COMPARISONS = 3
NAMES = {Splats: "Splats", Mesh: "Mesh", Points: "Points"}


def compose(
    capture: Capture,
    scenes: Mapping[Path, Scene],
    heldout: Sequence[CapturedFrame],
    resolution: Resolution,
    content: Mapping[str, object],
) -> Page:
    """Lay out the report of an export; `content` is what `report.json` holds."""
    about = capture.provenance
    unit = "m" if about.units == "metres" else "units"
    length = float(np.linalg.norm(np.diff(capture.c2ws[:, :3, 3], axis=0), axis=1).sum())
    starts = {frame.chunk: index for index, frame in reversed(list(enumerate(capture.frames)))}
    events = [(starts.get(chunk, 0), event.text) for chunk, event in capture.events]
    return Page(
        title=about.prompt or "A walk",
        summary=(
            f"{len(capture)} frames of {about.width} x {about.height} at {about.fps:g} a second, {length:.1f} {unit} of way, "
            + (
                f"from a {about.version}."
                if about.family == "pictures"
                else f"drawn by {about.family} {about.version}, seed {about.seed}."
            )
        ),
        tiles=_tiles(content, unit),
        comparisons=_comparisons(scenes, heldout),
        views=_views(capture, scenes),
        sheet=Figure(jpeg=jpeg(contact_sheet(capture.frames)), caption="Frames of the walk, in order."),
        map_svg=draw_map(capture.c2ws, events, about.units),
        events=[text for _, text in events],
        tables=_tables(content),
        notes=_notes(content, resolution, unit),
    )


def _tiles(content: Mapping[str, object], unit: str) -> list[tuple[str, str]]:
    metrics = _mapping(content["metrics"])
    tiles = []
    for name, label, form in (
        ("psnr", "PSNR of the splats, held-out frames", "{:.1f} dB"),
        ("ssim", "SSIM of the splats", "{:.3f}"),
        ("fscore", "F-score of the mesh at 5 cm" if unit == "m" else "F-score of the mesh at 0.05 units", "{:.3f}"),
        ("accuracy", "mean distance to the true surface", "{:.4f} " + unit),
        ("coverage", "of the lasting world is covered", "{:.1%}"),
    ):
        if isinstance(metrics.get(name), float):
            tiles.append((label, form.format(metrics[name])))
    revisit = content.get("revisit")
    if isinstance(revisit, Mapping):
        tiles.append(("of a place seen again is identical", f"{revisit['identical']:.1%}"))
    tiles.append(("to make all of this", f"{sum(_numbers(content['seconds']).values()):.0f} s"))
    return tiles


def _comparisons(scenes: Mapping[Path, Scene], heldout: Sequence[CapturedFrame]) -> list[Figure]:
    splats = next((scene for scene in scenes.values() if isinstance(scene, Splats)), None)
    if splats is None:
        return []
    figures = []
    for frame in evenly(heldout, NUM_COMPARISONS):
        gap = np.full((frame.camera.height, 6, 3), 128, np.uint8)
        both = np.concatenate([frame.image(), gap, draw(splats, frame.camera)], 1)
        figures.append(
            Figure(jpeg=jpeg(both), caption=f"Frame {frame.number}: as captured (left), as the splats show it (right).")
        )
    return figures


def _views(capture: Capture, scenes: Mapping[Path, Scene]) -> list[Figure]:
    """Each scene from above and from the middle of the walk."""
    extents = [_places(scene) for scene in scenes.values() if isinstance(scene, Mesh)] or [
        _places(s) for s in scenes.values()
    ]
    if not extents:
        return []
    inside = capture.frames[len(capture) // 2].camera
    above = overlook(extents[0], capture.c2ws[:, :3, 2].mean(0), width=960, height=540)
    figures = []
    for path, scene in scenes.items():
        name = NAMES[type(scene)]
        figures.append(Figure(jpeg=jpeg(draw(scene, above)), caption=f"{name}, from above ({path.name})."))
        figures.append(Figure(jpeg=jpeg(draw(scene, inside)), caption=f"{name}, from the middle of the walk."))
    return figures


def _places(scene: Scene) -> NDArray[np.float32]:
    match scene:
        case Mesh():
            return scene.vertices
        case Points():
            return scene.positions
        case Splats():
            return scene.means


def _tables(content: Mapping[str, object]) -> dict[str, list[list[str]]]:
    files = [["File", "Size", "Holds"]]
    for name, entry in _mapping(content["files"]).items():
        about = _mapping(entry)
        holds = ", ".join(
            f"{about[kind]:,} {kind}" for kind in ("splats", "points", "triangles", "frames") if kind in about
        )
        files.append([name, f"{float(str(about['bytes'])) / 1e6:.1f} MB", holds])
    fidelity = [["File", "F-score", "Precision", "Recall", "Accuracy", "Completeness"]]
    for name, entry in _mapping(content["files"]).items():
        about = _mapping(entry)
        if "fscore" in about:
            fidelity.append(
                [name, *(f"{about[key]:.4f}" for key in ("fscore", "precision", "recall", "accuracy", "completeness"))]
            )
    stages = [
        ["Stage", "Seconds"],
        *([name, f"{seconds:.1f}"] for name, seconds in _numbers(content["seconds"]).items()),
    ]
    made = [["", ""], *([name.replace("_", " "), str(value)] for name, value in _mapping(content["manifest"]).items())]
    tables = {"Files": files}
    if len(fidelity) > 1:
        tables["Against the true surface"] = fidelity
    return {**tables, "Time": stages, "Made from": made}


def _notes(content: Mapping[str, object], resolution: Resolution, unit: str) -> list[str]:
    notes = [
        f"The mesh reaches {resolution.max_depth:g} {unit} from the cameras, in cells of {resolution.voxel:g} {unit}; points and "
        "splats go on beyond it, coarser with distance.",
        "PSNR and SSIM are of the lasting world: the sky and what moved are left out. Over every pixel, sky included, PSNR is "
        f"{_mapping(content['metrics']).get('psnr_all', '–')} dB.",
        "The splats are discs laid on the points; only their colours were fitted, to frames that were not held out.",
        "The sky of the splats is a far shell coloured by what the frames saw; it holds no geometry.",
    ]
    revisit = content.get("revisit")
    if isinstance(revisit, Mapping):
        alike = "" if revisit["psnr"] is None else f" (PSNR {revisit['psnr']:.1f} dB)"
        notes.append(
            f"Frame {revisit['again']} looks where frame {revisit['first']} did, after going {revisit['away']:.1f} {unit} away: "
            f"{revisit['identical']:.2%} of the pixels are the same to the bit{alike}, the sky and what moved left out."
        )
    if "fscore" in _mapping(content["metrics"]):
        notes.append(
            "Accuracy is the mean distance from the mesh to the true surface, completeness that from the seen part of the true "
            "surface (within the mesh's range) to the mesh; precision and recall are the shares of those below the threshold."
        )
    return notes


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _numbers(value: object) -> Mapping[str, float]:
    assert isinstance(value, Mapping)
    return value
