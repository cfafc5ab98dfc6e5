"""A look at a capture before anything is made of it: how large the world is that it shows, and what that will cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from keepworld.capture import CapturedFrame

from keepworld_exporters import memory
from keepworld_exporters.pace import pace
from keepworld_exporters.stages.depth import Resolution, View, load_view
from keepworld_exporters.stages.fuse import STEP, rings_of
from keepworld_exporters.stages.points import FINER, count_points
from keepworld_exporters.stages.select import evenly
from keepworld_exporters.stages.sources import DepthSource
from keepworld_exporters.stages.stereo import SWEEP_WIDTH
from keepworld_exporters.stages.tsdf import SIDE, blocks_needed

LOOKS = 12  # frames that are looked at
MAX_RINGS = 5
BUDGET_BYTES = 2 * 2**30  # of a distance field
CELL_PIXELS, LAYERS = 1.5, 3  # a cell in pixels, about, and how many blocks deep a surface is
PROGRAM_BYTES = 250_000_000  # about what the program itself holds
FAR = 0.995  # of what is seen is to lie within the mesh, with its rings


@dataclass(frozen=True, kw_only=True, slots=True)
class Surveyed:
    """What a look showed.

    Attributes:
        resolution: cell size and range.
        rings: how many coarser rings it takes to reach nearly everything that is seen.
        blocks: [1 + rings] about how many blocks of cells each range needs.
        lasting: the share of the pixels that shows the lasting world.
        megapixels: of all the frames that are to be used.
        frames: how many these are.
        points: about how many a cloud in the finest cells would have.
        swept: megapixels of the frames as small as planes are swept in, where their depth is to be found.
        resident: bytes that the program holds already, its libraries and compiled code above all.
        pace: of this machine, as `pace.pace` says.
    """

    resolution: Resolution
    rings: int
    blocks: tuple[int, ...]
    lasting: float
    megapixels: float
    frames: int
    points: int
    swept: float = 0.0
    resident: int = PROGRAM_BYTES
    pace: float = 1.0


NOTHING = Surveyed(
    resolution=Resolution(voxel=1.0, max_depth=1.0), rings=0, blocks=(), lasting=0.0, megapixels=0.0, frames=0, points=0
)  # of an export that uses no frames


def look(
    frames: Sequence[CapturedFrame], source: DepthSource | None, resolution: Resolution, *, backdrop: bool
) -> Surveyed:
    """Look at a few of the frames that are to be used.

    Raises:
        ExportError: so fine a surface would not fit into memory.
    """
    views = [load_view(frame, source) for frame in evenly(frames, LOOKS)]
    seen = np.concatenate([view.depth[(view.depth > 0) & np.isfinite(view.depth)][::7] for view in views])
    further = float(np.quantile(seen, FAR)) / resolution.max_depth if seen.size else 1.0
    rings = min(MAX_RINGS, max(0, math.ceil(math.log(max(further, 1e-9), STEP)))) if backdrop else 0
    blocks = tuple(_blocks(views, ring.nearest, ring.resolution, len(frames)) for ring in rings_of(resolution, rings))
    lasting = float(np.mean([np.isfinite(view.depth).mean() for view in views]))
    points = _points(views, resolution.voxel / FINER, len(frames))
    del views, seen  # or they would count as held
    camera = frames[0].camera
    return Surveyed(
        resolution=resolution,
        rings=rings,
        blocks=blocks,
        lasting=lasting,
        megapixels=len(frames) * camera.width * camera.height / 1e6,
        frames=len(frames),
        points=points,
        resident=_resident(),
        pace=pace(),
    )


def guess(count: int, size: tuple[int, int], resolution: Resolution) -> Surveyed:
    """What may be said of frames whose depth is yet to be found: all of them show surfaces, each in part what others do.

    Args:
        count: of the frames that will be used.
        size: their width and height, pixels.
        resolution: cell size and range.
    """
    pixels = size[0] * size[1]
    blocks = LAYERS * pixels / (CELL_PIXELS * SIDE) ** 2 * math.sqrt(count)
    return Surveyed(
        resolution=resolution,
        rings=0,
        blocks=(round(blocks),),
        lasting=1.0,
        megapixels=count * pixels / 1e6,
        frames=count,
        points=round(pixels * math.sqrt(count)),
        swept=count * pixels / max(1, round(size[0] / SWEEP_WIDTH)) ** 2 / 1e6,
        resident=_resident(),
        pace=pace(),
    )


def _resident() -> int:
    """Bytes that are held before an export begins."""
    memory.give_back()
    return memory.resident() or PROGRAM_BYTES


def _blocks(views: Sequence[View], nearest: float, resolution: Resolution, frames: int) -> int:
    """How many blocks all frames will need, from how the number grew when twice as many were looked at."""
    near = [replace(view, depth=np.where(view.depth >= nearest, view.depth, np.float32(0))) for view in views]
    whole = blocks_needed(near, resolution, budget_bytes=BUDGET_BYTES)
    if frames <= len(views):
        return whole
    half = max(1, blocks_needed(near[::2], resolution, budget_bytes=BUDGET_BYTES))
    slope = min(1.0, math.log2(max(1.0, whole / half)))
    return round(whole * (frames / len(views)) ** slope)


def _points(views: Sequence[View], voxel: float, frames: int) -> int:
    """How many points all frames will make, likewise; the number grows the more slowly, the more frames there are."""
    whole = count_points(views, voxel)
    if frames <= len(views):
        return whole
    slope = math.log2(max(1.0, whole / max(1, count_points(views[::2], voxel))))
    return round(whole * (frames / len(views)) ** (slope / 2))
