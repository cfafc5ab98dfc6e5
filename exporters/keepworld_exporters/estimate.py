"""What an export will take, before it starts: memory and time, stage by stage; and how to make it fit.

What will be done is counted: frames read, cells, triangles, texels, splats and pixels drawn. What each of these costs was
measured on a virtual Xeon core (`pace.REFERENCE_S`); a little work done before an export tells how much faster or slower this
machine is. `report.json` holds what an export expected and what it came to; `benchmarks/estimate.py` compares the two.
"""

from __future__ import annotations

import math
from dataclasses import replace

from keepworld.errors import ExportError

from keepworld_exporters.cost import MB, Cost, Estimate, priced, share_of_time
from keepworld_exporters.heldout import MAX_HELDOUT
from keepworld_exporters.memory import available
from keepworld_exporters.plan import Plan
from keepworld_exporters.stages.tsdf import BLOCK_BYTES
from keepworld_exporters.survey import LOOKS, Surveyed
from keepworld_exporters.train.settings import Settings
from keepworld_exporters.train.shots import KEPT_BYTES

LOOK = "look"  # the stage in which a capture is looked at
SPARE = 0.9  # of the memory that is free may be planned for
MARGIN = 1.15  # by which more may be held than was expected
COARSER = 1.2  # how much larger cells are tried next
TRIES = 12
MIN_POINTS = 50_000
FACES_A_BLOCK = 52  # triangles that a block of the distance field gives
SKY_SPLATS = 3000
FIT_PICTURES = 28  # that colours are fitted to, twice
TURNS, TURN_MP = 72, 0.23  # pictures of a turntable, megapixels of each
ABOVE_MP = 0.52  # of a picture from above
_LOADING_S = 2.2  # libraries and compiled code
_START_SHARE = 0.8  # of a training's splats, at its start
_TRAINING_SHARED = 0.67


def estimate(plan: Plan, seen: Surveyed, *, frames: int, heldout: int, blind: bool) -> Estimate:
    """Say what a plan will take for a capture of which so much was seen."""
    costs = stage_costs(plan, seen, frames=frames, heldout=heldout, blind=blind)
    return priced(costs, pace=seen.pace, held=seen.resident)


def stage_costs(plan: Plan, seen: Surveyed, *, frames: int, heldout: int, blind: bool) -> dict[str, Cost]:
    """What each stage costs, in the order they come."""
    parts = plan.parts
    per_frame = seen.megapixels / max(1, seen.frames)
    looked = min(LOOKS, seen.frames) * per_frame
    # How numbers grow with the frames is seen by looking at half of the few again; pictures without depth are swept.
    again = 2.5 if blind else 0.7 * (seen.frames > LOOKS)
    costs = {
        LOOK: Cost(_LOADING_S + again + (0.75 + 0.15 * seen.rings) * looked, 110 * MB * (seen.frames > LOOKS)),
        "read": Cost(2.5 if plan.truth else 0.0),
    }
    if blind:
        work = 1 + 33 * seen.swept + 5.3 * seen.megapixels
        held = 20 * MB + 700 * MB * seen.swept / seen.frames + 24 * MB * seen.megapixels
        costs["depth"] = Cost(work, held, 10 * MB + 8 * MB * seen.megapixels, 0.8)
    fills = blind and plan.fills_depth
    if parts & {"points", "splats"} or fills:
        # Too many points are too many twice: once to see by how much, once to see how their number falls with the cells' size.
        times = 1 if seen.points <= plan.budget.points else 3
        cells = min(seen.points, 8 * plan.budget.points)
        costs["points"] = Cost(0.1 + times * 0.25 * seen.megapixels, 20 * MB + 400 * cells, 40 * _points(plan, seen))
    splatted = _of_splats(plan, seen) if "splats" in parts or fills else {}
    if fills:
        work = seen.megapixels * (0.5 + 2e-6 * _splats(plan, seen) / per_frame)
        costs |= splatted
        costs["filled depth"] = Cost(work, 60 * MB + 12 * MB * seen.megapixels, 8 * MB * seen.megapixels, 0.5)
        if "points" in parts:
            costs["filled points"] = costs["points"]
    if plan.wants_mesh:
        costs |= _of_mesh(plan, seen)
    costs |= splatted
    costs |= _of_files(plan, seen, frames=frames)
    draws = {"splats": _draw_splats(plan, seen, per_frame), "mesh": _draw_mesh(plan, seen, per_frame)}
    drawn = parts & set(draws)
    compared = min(MAX_HELDOUT, heldout)
    costs["measure"] = Cost(
        0.3 + compared * sum(draws[part] + 0.3 * per_frame for part in drawn) + (3 if plan.truth else 0),
        (400 if plan.truth else 30) * MB
        + 100 * MB * per_frame
        + 60 * (_splats(plan, seen) if "splats" in parts else 0),
    )
    if plan.report is not None:
        shown = parts & {"splats", "mesh", "points"}
        above = {
            "splats": _draw_splats(plan, seen, 0.3 * ABOVE_MP), "mesh": _draw_mesh(plan, seen, ABOVE_MP), "points": 0.05,
        }  # fmt: skip
        turned = {
            "mesh": _draw_mesh(plan, seen, TURN_MP), "points": 0.02, "splats": _draw_splats(plan, seen, 0.3 * TURN_MP),
        }  # fmt: skip
        turn = next((turned[part] for part in turned if part in shown), 0.0)
        costs["pictures"] = Cost(
            1 + TURNS * (0.02 + turn) + sum(above[part] for part in shown) + 4 * sum(draws[part] for part in drawn),
            100 * MB + 150 * MB * max(ABOVE_MP, per_frame),
        )
    return costs


def _of_mesh(plan: Plan, seen: Surveyed) -> dict[str, Cost]:
    """A surface, its texture and what is made of it."""
    parts, amounts, mp = plan.parts, plan.amounts(), seen.megapixels
    raw = [FACES_A_BLOCK * count for count in seen.blocks]
    faces = min(amounts.faces, sum(raw))
    texels = 0.5 * amounts.texture**2  # those that show something
    # The simplifier's library keeps what it has once needed.
    simplified = 300 * max(raw) * (sum(raw) > amounts.faces)
    costs = {
        "mesh": Cost(
            0.1 + 0.16 * mp * (2 * (1 + seen.rings) + 1) + sum(map(_cleaning, raw)),
            max(1.6 * BLOCK_BYTES * max(seen.blocks), 390 * max(raw), 1.6 * simplified),
            20 * sum(raw) + 30 * faces + simplified,
        )
    }
    if amounts.texture:
        work = 0.3 + 1.5e-5 * faces + 7e-7 * texels + 1.6e-8 * texels * seen.frames + 0.1 * mp
        costs["texture"] = Cost(work, 20 * MB + 150 * (texels + faces), 3 * amounts.texture**2 + 60 * faces)
    if amounts.normal_map:
        costs["relief"] = Cost(
            2.5e-6 * texels + 3e-6 * sum(raw), 260 * texels + 150 * sum(raw), 3 * amounts.texture**2 + 30 * faces
        )
    if any(part.startswith("lod") for part in parts):
        held = 60 * MB + 400 * texels + 250 * faces
        costs["levels"] = Cost(4.2e-6 * texels + 1e-5 * faces, held, 50 * MB + 3 * texels + 100 * faces)
    if "collider" in parts:
        costs["collider"] = Cost(0.2 + 2e-6 * faces, 300 * faces, 15 * faces)
    if "hulls" in parts:
        costs["hulls"] = Cost(2 + 3e-4 * min(faces, 20_000), 300 * MB)
    return costs


def _cleaning(faces: float) -> float:
    """Seconds for crumbs, holes and the number of a range's triangles; more for each where they are many."""
    return 5.6e-6 * faces * (faces / 2e5) ** 0.2


def _of_splats(plan: Plan, seen: Surveyed) -> dict[str, Cost]:
    """Splats laid on the points, and their colours or their training."""
    splats, per_frame = _splats(plan, seen), seen.megapixels / max(1, seen.frames)
    costs = {"splats": Cost(0.1 + 0.085 * seen.megapixels, 20 * MB + 60 * MB * per_frame, 60 * splats)}
    if plan.trained_as is None:
        pictures = 2 * min(FIT_PICTURES, seen.frames)
        work = pictures * (0.015 + per_frame + 2e-7 * splats)
        costs["colours"] = Cost(work, 300 * splats, 200 * splats, 0.57)
    else:
        costs[plan.trained_as] = _training(plan.training.settings(plan.trained_as, seen.megapixels), seen)
    return costs


def _training(settings: Settings, seen: Surveyed) -> Cost:
    """A training's cost: a step is a frame drawn and followed back, and all that is seen of the splats changed."""
    most = min(settings.cap, _START_SHARE * settings.cap + seen.points)
    per_frame = seen.megapixels / max(1, seen.frames)
    step = (0.003 + 6.5e-7 * most + 0.36 * per_frame) * (2 if settings.surfaces else 1)
    ready = 0.5 + 0.2 * seen.megapixels
    work = math.inf if settings.iterations is None else ready + settings.iterations * step
    if settings.budget_s is not None:
        work = min(work, settings.budget_s / (seen.pace * share_of_time(_TRAINING_SHARED)))
    pictures = 4e6 * seen.megapixels + 1.5 * min(KEPT_BYTES, 40e6 * seen.megapixels)
    return Cost(work, 60 * MB + pictures + 1300 * most, 10 * MB + 240 * most, _TRAINING_SHARED)


def _of_files(plan: Plan, seen: Surveyed, *, frames: int) -> dict[str, Cost]:
    """What is written."""
    amounts, per_frame = plan.amounts(), seen.megapixels / max(1, seen.frames)
    points, splats, faces = _points(plan, seen), _splats(plan, seen), min(amounts.faces, _raw_faces(seen))
    texels = 0.5 * amounts.texture**2 * plan.wants_mesh
    work = sum({"splats": 1e-6 * splats, "points": 2e-7 * points}.get(part, 1e-6 * faces) for part in plan.parts)
    held = max(
        {"splats": 500 * splats, "points": 60 * points}.get(part, 200 * faces + 12 * texels) for part in plan.parts
    )
    costs = {"write": Cost(0.1 + work + 5e-7 * texels, held)}
    if "video" in plan.parts:
        costs["film"] = Cost(0.1 + 0.058 * frames * per_frame, 30 * MB + 100 * MB * per_frame)
    return costs


def _draw_splats(plan: Plan, seen: Surveyed, megapixels: float) -> float:
    """Seconds of a picture, so much of which splats cover."""
    return 0.01 + 2e-7 * _splats(plan, seen) + 0.4 * megapixels


def _draw_mesh(plan: Plan, seen: Surveyed, megapixels: float) -> float:
    """Seconds of a picture, drawn with four rays a pixel."""
    return 0.005 + 1.5e-7 * min(plan.amounts().faces, _raw_faces(seen)) + 0.22 * megapixels


def _raw_faces(seen: Surveyed) -> float:
    return FACES_A_BLOCK * sum(seen.blocks)


def _points(plan: Plan, seen: Surveyed) -> float:
    return min(plan.budget.points, seen.points)


def _splats(plan: Plan, seen: Surveyed) -> float:
    """A sky's among them."""
    if plan.trained_as is None:
        return SKY_SPLATS + _points(plan, seen)
    return SKY_SPLATS + plan.training.settings(plan.trained_as, seen.megapixels).cap


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
        if MARGIN * found.peak_bytes <= limit:
            return plan, coarser, found
        can_coarsen = plan.wants_mesh and plan.voxel is None
        if can_coarsen:
            coarser *= COARSER
        if plan.budget.points > MIN_POINTS:
            plan = replace(plan, budget=replace(plan.budget, points=max(MIN_POINTS, round(plan.budget.points / 1.3))))
        elif not can_coarsen:
            break
    raise ExportError(
        f"this export needs about {MARGIN * found.peak_bytes / 1e9:.1f} GB of memory and may use {limit / 1e9:.1f} GB; "
        "try a larger --voxel, a smaller --texture, fewer outputs at a time, or --max-memory if there is more"
    )
