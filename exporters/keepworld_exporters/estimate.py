"""What an export will take, before it starts: memory and time, stage by stage; and how to make it fit.

The coefficients are from single runs on two cores of a busy virtual Xeon and err on the side of too much; `report.json`
holds what an export expected and what it came to.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace

from keepworld.errors import ExportError

from keepworld_exporters.memory import available
from keepworld_exporters.plan import Plan
from keepworld_exporters.progress import told_s
from keepworld_exporters.stages.tsdf import BLOCK_BYTES
from keepworld_exporters.survey import Surveyed
from keepworld_exporters.train.settings import Settings

SPARE = 0.9  # of the memory that is free may be planned for
COARSER = 1.2  # how much larger cells are tried next
TRIES = 12
MIN_POINTS = 50_000
_MB = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What an export will take.

    Attributes:
        processor_s: stage -> seconds of one processor, in the order they come.
        seconds: from start to end on this machine, if nothing else runs.
        peak_bytes: the most memory held at one time.
    """

    processor_s: dict[str, float]
    seconds: float
    peak_bytes: int

    def told(self) -> str:
        """One line."""
        return f"about {told_s(self.seconds)} and {self.peak_bytes / 1e9:.1f} GB of memory"


def estimate(plan: Plan, seen: Surveyed, *, frames: int, heldout: int, blind: bool) -> Estimate:
    """Say what a plan will take for a capture of which so much was seen."""
    parts, amounts = plan.parts, plan.amounts()
    per_frame = seen.megapixels / max(1, seen.frames)
    mp, solid = seen.megapixels, seen.megapixels * seen.lasting
    points = min(plan.budget.points, 1.3e5 * seen.megapixels**0.5)
    raw_faces = 55.0 * sum(seen.blocks)
    faces = min(amounts.faces, raw_faces)
    texels = 0.5 * amounts.texture**2
    splats = 1.1 * points
    runs: dict[str, tuple[float, float]] = {"read": (3 + 0.12 * 12 * per_frame / 0.147, 0)}
    if blind:
        runs["depth"] = (20 * mp, 60 * _MB + 16e6 * mp)
    if parts & {"points", "splats"}:
        runs["points"] = (0.45 * mp, 400 * min(8 * plan.budget.points, 0.5e6 * solid))
    if plan.wants_mesh:
        surface = (0.33 * mp * (2 * (1 + seen.rings) + 1) + 9e-6 * raw_faces, max(seen.blocks) * BLOCK_BYTES * 1.6)
        runs["mesh"] = (surface[0], surface[1] + 330 * raw_faces)
        if amounts.texture:
            runs["texture"] = (2 + 8e-6 * faces + 2.4e-8 * texels * seen.frames + 0.2 * mp, 220 * texels + 400 * faces)
        if amounts.normal_map:
            runs["relief"] = (1.2e-5 * texels, 260 * texels + 150 * raw_faces)
        if any(part.startswith("lod") for part in parts):
            runs["levels"] = (1.4e-5 * texels + 1.5e-5 * faces, 200 * texels + 500 * faces)
        if "collider" in parts:
            runs["collider"] = (1 + 5e-6 * faces, 300 * faces)
        if "hulls" in parts:
            runs["hulls"] = (60, 300 * _MB)
    if "splats" in parts:
        runs["splats"] = (0.3 * mp, 300 * splats)
        if plan.trained_as is None:
            runs["colours"] = (56 * (0.02 + 0.8 * per_frame + 1.5e-7 * splats), 600 * splats)
        else:
            runs[plan.trained_as] = _training(plan.training.settings(plan.trained_as), mp, per_frame)
    written = sum({"splats": 2.2e-6 * splats, "points": 3e-7 * points}.get(part, 3e-6 * faces) for part in parts)
    runs["write"] = (0.3 + written + 7e-7 * texels, 300 * splats + 200 * faces + 12 * texels)
    if "video" in parts:
        runs["film"] = (frames * 0.12 * per_frame, 150 * _MB)
    compared = min(24, heldout)
    drawn = sum({"splats": 0.1 + 1.5 * per_frame, "mesh": 0.05 + 2.2 * per_frame}.get(part, 0) for part in parts)
    runs["measure"] = (1 + compared * drawn + (25 if plan.truth else 0), (1200 * _MB if plan.truth else 100 * _MB))
    if plan.report is not None:
        runs["pictures"] = (4 + 1.5 * len(parts) + 14, 200 * _MB)
    held = 260 * _MB + 270 * splats * ("splats" in parts) + 40 * points + (90 * raw_faces if plan.wants_mesh else 0)
    cores = min(2.0, os.cpu_count() or 1)
    return Estimate(
        processor_s={name: seconds for name, (seconds, _) in runs.items()},
        seconds=sum(seconds for seconds, _ in runs.values()) / (0.5 + 0.5 * cores),
        peak_bytes=round(held + max(size for _, size in runs.values())),
    )


def _training(settings: Settings, mp: float, per_frame: float) -> tuple[float, float]:
    """Seconds of a processor, and bytes; megapixels of all frames, and of one."""
    step_s = 0.016 + 3.6e-8 * settings.cap + (0.24 + 9e-7 * settings.cap) * per_frame
    seconds = math.inf if settings.iterations is None else settings.iterations * step_s
    return min(seconds, settings.budget_s or math.inf), 25e6 * mp + 3000 * settings.cap


def room(plan: Plan) -> int:
    """How many bytes an export may hold."""
    return plan.max_memory if plan.max_memory is not None else round(SPARE * available())


def fitting(plan: Plan, seen: Surveyed, *, frames: int, heldout: int, blind: bool) -> tuple[Plan, float, Estimate]:
    """Make a plan fit into memory.

    What the caller chose is kept; what was left open gives way: first the cells become larger, then the points fewer.

    Returns:
        The plan, how much larger its cells are than was planned, and what it will take.

    Raises:
        ExportError: it does not fit, and what could give way has.
    """
    limit = room(plan)
    coarser = 1.0
    for _ in range(TRIES):
        # Blocks cover a surface: their number falls with the square of their size.
        smaller = replace(seen, blocks=tuple(max(1, round(count / coarser**2)) for count in seen.blocks))
        found = estimate(plan, smaller, frames=frames, heldout=heldout, blind=blind)
        if found.peak_bytes <= limit:
            return plan, coarser, found
        can_coarsen = plan.wants_mesh and plan.voxel is None
        if can_coarsen:
            coarser *= COARSER
        if plan.budget.points > MIN_POINTS:
            plan = replace(plan, budget=replace(plan.budget, points=max(MIN_POINTS, round(plan.budget.points / 1.3))))
        elif not can_coarsen:
            break
    raise ExportError(
        f"this export needs about {found.peak_bytes / 1e9:.1f} GB of memory and may use {limit / 1e9:.1f} GB; "
        "try a larger --voxel, a smaller --texture, fewer outputs at a time, or --max-memory if there is more"
    )
