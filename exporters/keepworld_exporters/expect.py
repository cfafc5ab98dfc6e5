"""What an export of a source will take, said without reading, refining or making anything."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from keepworld.capture import Capture

from keepworld_exporters.cost import Estimate, priced
from keepworld_exporters.estimate import fitting
from keepworld_exporters.export import MAX_FOUND, begin
from keepworld_exporters.ingest.foresee import costs, foresee
from keepworld_exporters.ingest.sources import is_capture
from keepworld_exporters.ingest.wanted import Wanted
from keepworld_exporters.plan import Plan
from keepworld_exporters.stages.depth import Resolution
from keepworld_exporters.survey import guess


class Expected(NamedTuple):
    """What an export will take on a machine of a pace, and in what cells of how many rings; voxel None where that is open."""

    estimate: Estimate
    pace: float
    voxel: float | None
    rings: int


def expect(source: Path, wanted: Wanted, plan: Plan) -> Expected:
    """Say what exporting a source will take.

    Of a capture some frames are looked at; of anything else only headers are, and how large the place is is guessed from the
    number and size of its pictures.

    Raises:
        ExportError: nothing that is read here, or it would need too much memory.
    """
    ahead = foresee(source, wanted)
    if is_capture(source):
        start = begin(Capture(source), plan)
        seen, then = start.seen, start.expected
        voxel: float | None = seen.resolution.voxel
    else:
        heldout = len(range(plan.holdout // 2, ahead.frames, plan.holdout)) if plan.holdout else 0
        blind = plan.depth in ("sweep", "hybrid") or (plan.depth is None and not ahead.has_depth)
        used = min(MAX_FOUND, ahead.frames - heldout) if blind else ahead.frames - heldout
        seen = guess(used, (ahead.width, ahead.height), Resolution(voxel=1.0, max_depth=1.0))
        then = fitting(plan, seen, frames=ahead.frames, heldout=heldout, blind=blind)[2]
        voxel = plan.voxel
    before = priced(costs(ahead), pace=seen.pace, held=seen.resident)
    return Expected(estimate=then.after(before), pace=seen.pace, voxel=voxel, rings=seen.rings)
