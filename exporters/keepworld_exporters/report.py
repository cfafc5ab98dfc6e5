"""What an export is worth: every written file is read back, drawn and measured.

The figures are the files', not those of the arrays they were written from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from keepworld.capture import CapturedFrame
from keepworld.errors import ExportError
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from keepworld_exporters.formats import decode, suffix_of
from keepworld_exporters.formats.ply import decode_triangles
from keepworld_exporters.measure import distances_to_mesh, fidelity, psnr, sample_surface, seen_points, ssim
from keepworld_exporters.rasterize.cpu import render_splats
from keepworld_exporters.scene import Mesh, Points, Scene, Splats
from keepworld_exporters.stages.depth import Resolution
from keepworld_exporters.stages.select import evenly

THRESHOLD = 0.05  # of the F-score, the capture's units
MAX_HELDOUT = 24  # views that splats are measured on
SURFACE_SAMPLES = 200_000
TRUTH_SAMPLES = 2_000_000  # over all of the true surface, of which a walk sees a small part
MAX_SEEN = 150_000
MAX_SLANT = 1.4  # how much further than its depth a point in the corner of a picture may be
SEED = 20_26
SEEN_TOLERANCE = 0.02  # how close to a depth map a point of the truth has to be to count as seen
SPLAT_FIGURES: tuple[str, ...] = ("psnr", "ssim", "psnr_all", "ssim_all", "coverage")
MESH_FIGURES: tuple[str, ...] = ("fscore", "precision", "recall", "accuracy", "completeness", "threshold")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Truth:
    """A true surface, and the points on it [N, 3] that the walk saw within the mesh's range."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    seen: NDArray[np.float64]


def read_back(path: Path) -> Scene:
    """Read a written file.

    Raises:
        ExportError: it does not come back.
    """
    try:
        return decode(path.read_bytes(), suffix_of(path.name))
    except ValueError as error:
        raise ExportError(f"{path} was written but does not read back: {error}") from error


def load_truth(path: Path, frames: Sequence[CapturedFrame], resolution: Resolution) -> Truth:
    """Read a true surface and find which of it the frames saw.

    Raises:
        ExportError: the file cannot be read.
    """
    try:
        vertices, faces = decode_triangles(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ExportError(f"--truth {path}: {error}") from error
    if frames[0].depth() is None:
        raise ExportError(
            f"--truth {path}: what was seen of it is told by the session's depth, which this capture lacks"
        )
    near = within_reach(
        vertices, faces, np.stack([frame.camera.centre for frame in frames]), resolution.max_depth * MAX_SLANT
    )
    if not near.any():
        raise ExportError(f"--truth {path}: none of it is near the walk; it must be in the session's frame and units")
    points = sample_surface(vertices, faces[near], TRUTH_SAMPLES, SEED)
    seen = points[seen_points(points, frames, max_depth=resolution.max_depth, tolerance=SEEN_TOLERANCE)]
    if len(seen) > MAX_SEEN:
        seen = seen[np.random.default_rng(SEED).choice(len(seen), MAX_SEEN, replace=False)]
    return Truth(vertices=vertices, faces=faces, seen=seen)


def within_reach(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], centres: NDArray[np.float64], reach: float
) -> NDArray[np.bool_]:
    """Which triangles [F] may have a part within `reach` of any of the centres [N, 3]."""
    corners = vertices[faces]
    middles = corners.mean(1)
    radii = np.linalg.norm(corners - middles[:, None], axis=-1).max(1)
    return np.asarray(cKDTree(centres).query(middles, workers=-1)[0] < reach + radii)


def measure_file(
    scene: Scene,
    *,
    heldout: Sequence[CapturedFrame],
    truth: Truth | None,
    centres: NDArray[np.float64],
    max_depth: float,
    on_step: Callable[[], None],
) -> dict[str, object]:
    """Figures of one file: counts, and how it compares to what is known.

    Args:
        scene: what was read back.
        heldout: frames that were not used.
        truth: the true surface, if there is one.
        centres: [N, 3] where the cameras stood; of a cloud only what lies within `max_depth` of one is compared.
        max_depth: the mesh's range.
        on_step: called after each held-out view.
    """
    match scene:
        case Splats():
            return {"splats": len(scene.means), **measure_splats(scene, heldout, on_step)}
        case Mesh():
            figures: dict[str, object] = {"vertices": len(scene.vertices), "triangles": len(scene.faces)}
            if truth is not None:
                samples = sample_surface(scene.vertices, scene.faces, SURFACE_SAMPLES, SEED)
                to_truth = distances_to_mesh(samples, truth.vertices, truth.faces)
                to_surface = distances_to_mesh(truth.seen, scene.vertices, scene.faces)
                figures |= asdict(fidelity(to_truth, to_surface, threshold=THRESHOLD))
            return figures
        case Points():
            figures = {"points": len(scene.positions)}
            if truth is not None:
                positions = scene.positions.astype(np.float64)
                near = positions[cKDTree(centres).query(positions, workers=-1)[0] < max_depth * MAX_SLANT]
                to_truth = distances_to_mesh(near, truth.vertices, truth.faces).astype(np.float64)
                to_points = cKDTree(near).query(truth.seen, workers=-1)[0] if len(near) else np.empty(0)
                figures |= asdict(fidelity(to_truth, to_points, threshold=THRESHOLD))
            return figures


def measure_splats(splats: Splats, heldout: Sequence[CapturedFrame], on_step: Callable[[], None]) -> dict[str, object]:
    """Draw splats at held-out cameras and compare.

    `psnr` and `ssim` are of the lasting world only (no sky, nothing that moves); `psnr_all` and `ssim_all` of every pixel,
    over black. `coverage` is the share of the lasting world's pixels that are at least half covered.
    """
    rows = []
    for frame in evenly(heldout, MAX_HELDOUT):
        camera = frame.camera
        seen = render_splats(splats, camera.viewmat, camera.K, camera.width, camera.height)
        image, truth, lasting = np.clip(seen.image, 0, 1), frame.image() / np.float32(255), frame.lasting()
        rows.append(
            {
                "frame": frame.number,
                "psnr": psnr(image, truth, lasting) if lasting.any() else None,
                "ssim": ssim(image, truth, lasting) if lasting.any() else None,
                "psnr_all": psnr(image, truth),
                "ssim_all": ssim(image, truth),
                "coverage": float((seen.alpha[lasting] > 0.5).mean()) if lasting.any() else None,
            }
        )
        on_step()
    if not rows:
        return {}
    means: dict[str, object] = {}
    for name in SPLAT_FIGURES:
        values = [float(row[name]) for row in rows if row[name] is not None]  # type: ignore[arg-type]
        means[name] = round(float(np.mean(values)), 4) if values else None
    return {**means, "heldout": rows}


def headline(figures: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """The figures worth a line: of the splats psnr, ssim and coverage; of the mesh the F-score and distances."""
    best: dict[str, object] = {}
    for entry in figures.values():
        names: tuple[str, ...] = SPLAT_FIGURES if "splats" in entry else MESH_FIGURES if "triangles" in entry else ()
        best |= {name: entry[name] for name in names if name in entry}
    return best
