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

from keepworld_exporters.formats.ply import decode_triangles
from keepworld_exporters.heldout import FIGURES, compare
from keepworld_exporters.measure import distances_to_mesh, fidelity, sample_surface, seen_points
from keepworld_exporters.scene import Mesh, Points, Scene, Splats
from keepworld_exporters.stages.depth import Resolution

THRESHOLD = 0.05  # of the F-score, the capture's units
SURFACE_SAMPLES = 200_000
TRUTH_SAMPLES = 2_000_000  # over all of the true surface, of which a walk sees a small part
MAX_SEEN = 150_000
MAX_SLANT = 1.4  # how much further than its depth a point in the corner of a picture may be
SEED = 20_26
SEEN_TOLERANCE = 0.02  # how close to a depth map a point of the truth has to be to count as seen
MESH_FIGURES = ("fscore", "precision", "recall", "chamfer", "accuracy", "completeness", "threshold")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Truth:
    """A true surface, and the points on it [N, 3] that the walk saw within the mesh's range."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    seen: NDArray[np.float64]


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
    vertices: NDArray[np.float64], faces: NDArray[np.integer], centres: NDArray[np.float64], reach: float
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
        centres: [N, 3] where the cameras stood; only what lies within `max_depth` of one is compared with the truth.
        max_depth: the mesh's range.
        on_step: called after each held-out view.
    """
    match scene:
        case Splats():
            return {"splats": len(scene.means), **compare(scene, heldout, on_step)}
        case Mesh():
            figures: dict[str, object] = {"vertices": len(scene.vertices), "triangles": len(scene.faces)}
            figures |= compare(scene, heldout, on_step)
            near = within_reach(scene.vertices.astype(np.float64), scene.faces, centres, max_depth)
            if truth is not None and near.any():
                samples = sample_surface(scene.vertices, scene.faces[near], SURFACE_SAMPLES, SEED)
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


def headline(figures: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """The figures worth a line.

    `psnr`, `ssim` and `coverage` are of the splats, or of the mesh where there are none; the mesh's own are there as `mesh_psnr`
    and so on as well, beside its F-score and distances.
    """
    best: dict[str, object] = {}
    parts = {entry.get("part"): entry for entry in reversed(list(figures.values()))}
    mesh, splats = parts.get("mesh", {}), parts.get("splats", {})
    for entry in figures.values():
        if "fscore" in entry and entry.get("part") == "mesh":
            best |= {name: entry[name] for name in MESH_FIGURES if name in entry}
    shown = splats if "psnr" in splats else mesh
    best |= {name: shown[name] for name in FIGURES if name in shown}
    best |= {f"mesh_{name}": mesh[name] for name in FIGURES if name in mesh}
    return best
