"""From figures and pictures to the page of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from keepworld.capture import Capture, CapturedFrame
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from keepworld_exporters.making import places_of
from keepworld_exporters.outputs import output_of
from keepworld_exporters.page import Figure, Page
from keepworld_exporters.pictures import contact_sheet, draw, jpeg, overlook
from keepworld_exporters.scene import Mesh, Points, Scene, Splats
from keepworld_exporters.stages.depth import Resolution
from keepworld_exporters.stages.select import evenly
from keepworld_exporters.turntable import turntable
from keepworld_exporters.walk_map import draw_map

NUM_COMPARISONS = 3
_FILMED = (Mesh, Points, Splats)  # what is shown from all round if it is there
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
    shown = {path: scene for path, scene in scenes.items() if output_of(path).part in ("splats", "mesh", "points")}
    stage, forward = _stage(capture, shown, resolution), capture.c2ws[:, :3, 2].mean(0)
    main = min(shown, key=lambda path: _FILMED.index(type(shown[path])), default=None)
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
        views=_views(capture, shown, stage, forward),
        film=None if main is None else turntable(shown[main], stage, forward),
        film_caption="" if main is None else f"{NAMES[type(shown[main])]} ({main.name}); also as turntable.mp4.",
        sheet=Figure(jpeg=jpeg(contact_sheet(capture.frames)), caption="Frames of the walk, in order."),
        map_svg=draw_map(capture.c2ws, events, about.units),
        events=[text for _, text in events],
        tables=_tables(content),
        notes=_notes(content, resolution, unit),
    )


def _tiles(content: Mapping[str, object], unit: str) -> list[tuple[str, str]]:
    metrics = _mapping(content["metrics"])
    shown = "splats" if any("splats" in _mapping(entry) for entry in _mapping(content["files"]).values()) else "mesh"
    tiles = []
    for name, label, form in (
        ("psnr", f"PSNR of the {shown}, held-out frames", "{:.1f} dB"),
        ("ssim", f"SSIM of the {shown}", "{:.3f}"),
        *([("mesh_psnr", "PSNR of the mesh, held-out frames", "{:.1f} dB")] if shown == "splats" else []),
        ("fscore", "F-score of the mesh at 5 cm" if unit == "m" else "F-score of the mesh at 0.05 units", "{:.3f}"),
        ("chamfer", "mean distance between mesh and truth", "{:.4f} " + unit),
        ("coverage", f"of the lasting world is covered by the {shown}", "{:.1%}"),
        ("floaters", f"of it has something of the {shown} in front", "{:.2%}"),
    ):
        if isinstance(metrics.get(name), float):
            tiles.append((label, form.format(metrics[name])))
    revisit = content.get("revisit")
    if isinstance(revisit, Mapping):
        tiles.append(("of a place seen again is identical", f"{revisit['identical']:.1%}"))
    tiles.append(("to make all of this", f"{sum(_numbers(content['seconds']).values()):.0f} s"))
    return tiles


def _comparisons(scenes: Mapping[Path, Scene], heldout: Sequence[CapturedFrame]) -> list[Figure]:
    """Frames beside what the splats and the mesh show there, each from its written file."""
    by_part = {output_of(path).part: scene for path, scene in scenes.items()}
    drawn = {part: by_part[part] for part in ("splats", "mesh") if part in by_part}
    if not drawn:
        return []
    figures = []
    for frame in evenly(heldout, NUM_COMPARISONS):
        gap = np.full((frame.camera.height, 6, 3), 128, np.uint8)
        row = [frame.image()]
        for scene in drawn.values():
            row += [gap, draw(scene, frame.camera)]
        caption = f"Frame {frame.number}: as captured, then as shown by the {' and by the '.join(drawn)}."
        figures.append(Figure(jpeg=jpeg(np.concatenate(row, 1)), caption=caption))
    return figures


def _views(
    capture: Capture, scenes: Mapping[Path, Scene], stage: NDArray[np.float32], forward: NDArray[np.float64]
) -> list[Figure]:
    """Each scene from above, its `stage` [N, 3] in view and looking on as `forward` [3] does, and from the middle of the walk."""
    if not scenes:
        return []
    inside = capture.frames[len(capture) // 2].camera
    above = overlook(stage, forward, width=960, height=540)
    figures = []
    for path, scene in scenes.items():
        name = NAMES[type(scene)]
        figures.append(Figure(jpeg=jpeg(draw(scene, above)), caption=f"{name}, from above ({path.name})."))
        figures.append(Figure(jpeg=jpeg(draw(scene, inside)), caption=f"{name}, from the middle of the walk."))
    return figures


def _stage(capture: Capture, scenes: Mapping[Path, Scene], resolution: Resolution) -> NDArray[np.float32]:
    """The places that pictures from above are to show: those so near the walk that things are sharp there."""
    if not scenes:
        return np.empty((0, 3), np.float32)
    first = next((scene for scene in scenes.values() if isinstance(scene, Mesh)), next(iter(scenes.values())))
    places = places_of(first)
    near = np.isfinite(cKDTree(capture.c2ws[:, :3, 3]).query(places, distance_upper_bound=resolution.max_depth)[0])
    return places[near] if near.any() else places


def _tables(content: Mapping[str, object]) -> dict[str, list[list[str]]]:
    files = [["File", "Size", "Holds"]]
    for name, entry in _mapping(content["files"]).items():
        about = _mapping(entry)
        holds = ", ".join(
            f"{about[kind]:,} {kind}" for kind in ("splats", "points", "triangles", "frames") if kind in about
        )
        files.append([name, f"{float(str(about['bytes'])) / 1e6:.1f} MB", holds])
    shown = {
        "psnr": ("PSNR", "{:.2f} dB"),
        "ssim": ("SSIM", "{:.3f}"),
        "lpips": ("LPIPS", "{:.3f}"),
        "psnr_covered": ("PSNR where covered", "{:.2f} dB"),
        "psnr_all": ("PSNR with sky", "{:.2f} dB"),
        "coverage": ("Covered", "{:.1%}"),
        "floaters": ("Floaters", "{:.2%}"),
        "depth_error": ("Depth off by", "{:.2%}"),
    }
    seen = [["File", *(title for title, _ in shown.values())]]
    for name, entry in _mapping(content["files"]).items():
        about = _mapping(entry)
        if isinstance(about.get("psnr"), float):
            told = [
                form.format(about[key]) if isinstance(about.get(key), float) else "–"
                for key, (_, form) in shown.items()
            ]
            seen.append([name, *told])
    fidelity = [["File", "F-score", "Precision", "Recall", "Chamfer", "Accuracy", "Completeness"]]
    for name, entry in _mapping(content["files"]).items():
        about = _mapping(entry)
        if "fscore" in about:
            fidelity.append(
                [
                    name,
                    *(
                        f"{about[key]:.4f}"
                        for key in ("fscore", "precision", "recall", "chamfer", "accuracy", "completeness")
                    ),
                ]
            )
    worked, peaks = _numbers(content["processor_s"]), _numbers(content["peak_bytes"])
    expected = _numbers(_mapping(content["expected"])["processor_s"])
    stages = [
        ["Stage", "Seconds", "Of a processor", "Expected", "Memory at most"],
        *(
            [
                name,
                f"{seconds:.1f}",
                f"{worked.get(name, 0):.1f}",
                f"{expected.get(name, 0):.1f}",
                f"{peaks.get(name, 0) / 1e9:.2f} GB",
            ]
            for name, seconds in _numbers(content["seconds"]).items()
        ),
    ]
    made = [["", ""], *([name.replace("_", " "), str(value)] for name, value in _mapping(content["manifest"]).items())]
    tables = {"Files": files}
    if len(seen) > 1:
        tables["Against held-out frames"] = seen
    if len(fidelity) > 1:
        tables["Against the true surface"] = fidelity
    return {**tables, "Time": stages, "Made from": made}


def _notes(content: Mapping[str, object], resolution: Resolution, unit: str) -> list[str]:
    further = f", then {content['rings']} rings of cells twice as large each time" if content.get("rings") else ""
    notes = [
        f"The mesh reaches {resolution.max_depth:g} {unit} from the cameras, in cells of {resolution.voxel:g} {unit}{further}; "
        "points and splats go on beyond it, coarser with distance.",
        "PSNR and SSIM are of the lasting world: the sky and what moved are left out, and what a file does not show counts as "
        "black. Where covered: of the pixels that it shows. With sky: of every pixel; a mesh has no sky.",
        "Floaters are pixels where a file has something more than a tenth nearer than the frame shows.",
        "The sky of the splats is a far shell coloured by what the frames saw; it holds no geometry.",
    ]
    holes = content.get("holes")
    if isinstance(holes, Mapping):
        notes.append(
            f"Holes of the mesh: {holes['filled']} small ones closed, {holes['left']} left open, with rims of "
            f"{holes['rim']:.1f} {unit} together; nobody saw what is there."
        )
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
            "surface (within the mesh's range) to the mesh, "
            "chamfer their mean; precision and recall are the shares of those below the threshold."
        )
    return notes


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _numbers(value: object) -> Mapping[str, float]:
    assert isinstance(value, Mapping)
    return value
