"""What an export will take, before it starts: memory and time, stage by stage; and how to make it fit.

What will be done is counted: frames read, cells, triangles, texels, splats and pixels drawn. What each of these costs was
measured on a virtual Xeon core (`pace.REFERENCE_S`); a little work done before an export tells how much faster or slower this
machine is. `report.json` holds what an export expected and what it came to.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import NamedTuple

from keepworld.errors import ExportError

from keepworld_exporters.heldout import MAX_HELDOUT
from keepworld_exporters.memory import available
from keepworld_exporters.plan import Plan
from keepworld_exporters.progress import told_s
from keepworld_exporters.stages.tsdf import BLOCK_BYTES
from keepworld_exporters.survey import Surveyed
from keepworld_exporters.train.settings import Settings
from keepworld_exporters.train.shots import KEPT_BYTES

SPARE = 0.9  # of the memory that is free may be planned for
COARSER = 1.2  # how much larger cells are tried next
TRIES = 12
MIN_POINTS = 50_000
SPLAT_BYTES = 270  # as a scene, and once more as a file's numbers
FACES_A_BLOCK = 55  # triangles that a block of the distance field gives
_START_SHARE = 0.8  # of a training's splats, at its start
_TRAINING_SHARED = 0.67
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


class Cost(NamedTuple):
    """Of a stage: seconds of a processor, bytes that are free again after it, and the share that threads divide among them."""

    work_s: float
    bytes: float = 0.0
    shared: float = 0.1


def estimate(plan: Plan, seen: Surveyed, *, frames: int, heldout: int, blind: bool) -> Estimate:
    """Say what a plan will take for a capture of which so much was seen."""
    costs = stage_costs(plan, seen, frames=frames, heldout=heldout, blind=blind)
    work = {name: seen.pace * cost.work_s for name, cost in costs.items()}
    parts, mp, fills = plan.parts, seen.megapixels, blind and plan.fills_depth
    points, splats = _points(plan, seen), _splats(plan, seen)
    kept = 40 * points * (fills or bool(parts & {"points", "splats"})) + SPLAT_BYTES * splats * (
        fills or "splats" in parts
    )
    if plan.wants_mesh:
        kept += (
            150 * min(plan.amounts().faces, _raw_faces(seen)) + 20 * _raw_faces(seen) + 3 * plan.amounts().texture ** 2
        )
    found = 8e6 * mp * (1 + fills) if blind else 0.0
    return Estimate(
        processor_s=work,
        seconds=sum(work[name] * _share_of_time(cost.shared) for name, cost in costs.items()),
        peak_bytes=round(seen.resident + found + kept + max(cost.bytes for cost in costs.values())),
    )


def stage_costs(plan: Plan, seen: Surveyed, *, frames: int, heldout: int, blind: bool) -> dict[str, Cost]:
    """What each stage costs, in the order they come."""
    parts, amounts = plan.parts, plan.amounts()
    per_frame = seen.megapixels / max(1, seen.frames)
    mp, cells = seen.megapixels, seen.points
    points, splats, raw_faces = _points(plan, seen), _splats(plan, seen), _raw_faces(seen)
    faces = min(amounts.faces, raw_faces)
    texels = 0.5 * amounts.texture**2  # those that show something
    costs = {"read": Cost(2.5 if plan.truth else 0.1)}
    if blind:
        costs["depth"] = Cost(20 * mp, 50 * _MB + 4e9 * per_frame + 24e6 * mp, shared=0.8)
    fills = blind and plan.fills_depth
    if parts & {"points", "splats"} or fills:
        # Too many points are too many twice: once to see by how much, once to see how their number falls with the cells' size.
        times = 1 if cells <= plan.budget.points else 3
        costs["points"] = Cost(times * 0.165 * mp, 320 * min(cells, 8 * plan.budget.points))
    splatted = _splatting(plan, seen) if "splats" in parts or fills else {}
    if fills:
        costs |= splatted
        costs["filled depth"] = Cost(mp * (0.5 + 2e-6 * splats / per_frame), 4e6 * mp + 60 * _MB, shared=0.5)
        if "points" in parts:
            costs["filled points"] = costs["points"]
    if plan.wants_mesh:
        most = max(seen.blocks)
        costs["mesh"] = Cost(
            0.185 * mp * (2 * (1 + seen.rings) + 1) + 4.5e-6 * raw_faces,
            max(1.6 * BLOCK_BYTES * most, 330 * FACES_A_BLOCK * most),
        )
        if amounts.texture:
            costs["texture"] = Cost(
                1 + 8e-6 * faces + 1.6e-8 * texels * seen.frames + 0.1 * mp, 220 * texels + 400 * faces
            )
        if amounts.normal_map:
            costs["relief"] = Cost(1.2e-5 * texels, 260 * texels + 150 * raw_faces)
        if any(part.startswith("lod") for part in parts):
            costs["levels"] = Cost(4e-6 * texels + 1.2e-5 * faces, 330 * texels + 200 * faces)
        if "collider" in parts:
            costs["collider"] = Cost(0.3 + 1e-6 * faces, 300 * faces)
        if "hulls" in parts:
            costs["hulls"] = Cost(60, 300 * _MB)
    costs |= splatted
    written = sum({"splats": 5e-7 * splats, "points": 2e-7 * points}.get(part, 5e-7 * faces) for part in parts)
    costs["write"] = Cost(0.1 + written + 2e-7 * texels, 300 * splats + 200 * faces + 12 * texels)
    if "video" in parts:
        costs["film"] = Cost(0.0435 * frames * per_frame, 30 * _MB + 100 * _MB * per_frame)
    drawn = sum({"splats": 0.05 + 0.7 * per_frame, "mesh": 1.5 * per_frame}.get(part, 0) for part in parts)
    compared = min(MAX_HELDOUT, heldout)
    costs["measure"] = Cost(0.5 + compared * drawn + (3 if plan.truth else 0), (400 if plan.truth else 30) * _MB)
    if plan.report is not None:
        costs["pictures"] = Cost(18 + 1.5 * len(parts), 60 * _MB)
    return costs


def _splatting(plan: Plan, seen: Surveyed) -> dict[str, Cost]:
    """The costs of splats: laid, then coloured or trained."""
    splats, per_frame = _splats(plan, seen), seen.megapixels / max(1, seen.frames)
    laid = {"splats": Cost(0.085 * seen.megapixels, 300 * splats)}
    if plan.trained_as is None:
        # 28 frames, twice.
        work = 56 * (0.02 + 0.8 * per_frame + 1.5e-7 * splats)
        return laid | {"colours": Cost(work, 300 * splats, shared=0.57)}
    return laid | {plan.trained_as: _training(plan.training.settings(plan.trained_as, seen.megapixels), seen)}


def _training(settings: Settings, seen: Surveyed) -> Cost:
    """A training's cost: a step is a frame drawn and followed back, and all that is seen of the splats changed."""
    most = min(settings.cap, _START_SHARE * settings.cap + seen.points)
    per_frame = seen.megapixels / max(1, seen.frames)
    step = (0.003 + 9e-7 * 0.9 * most + 0.36 * per_frame) * (2 if settings.surfaces else 1)
    work = math.inf if settings.iterations is None else settings.iterations * step
    if settings.budget_s is not None:
        work = min(work, settings.budget_s / (seen.pace * _share_of_time(_TRAINING_SHARED)))
    pictures = 4e6 * seen.megapixels + 1.5 * min(KEPT_BYTES, 40e6 * seen.megapixels)
    return Cost(work, 100 * _MB + pictures + 1300 * most, shared=_TRAINING_SHARED)


def _share_of_time(shared: float) -> float:
    """How much of its processor time work lasts, of which threads divide a share among them."""
    return 1 - shared * (1 - 1 / (os.cpu_count() or 1))


def _raw_faces(seen: Surveyed) -> float:
    return FACES_A_BLOCK * sum(seen.blocks)


def _points(plan: Plan, seen: Surveyed) -> float:
    return min(plan.budget.points, seen.points)


def _splats(plan: Plan, seen: Surveyed) -> float:
    """A sky's among them."""
    if plan.trained_as is None:
        return 1.05 * _points(plan, seen)
    return 1.05 * plan.training.settings(plan.trained_as, seen.megapixels).cap


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
