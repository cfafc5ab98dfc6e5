"""How long chunks take here, and whether one more session can be kept to the clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from keepworld_runtime.engine.errors import RealtimeCapacityError
from keepworld_runtime.families.family import Capabilities, WorldSpec

MAX_LOAD = 0.95  # of the worker's time, promised to realtime sessions
_WEIGHT = 0.2  # of the newest measurement
_MAX_WORLDS = 1000  # whose cost is remembered


class ChunkCosts:
    """Measured drawing time, as seconds per frame of a million pixels: moving averages.

    Each world has its own, since some are much dearer than others; until it is known, its family's stands in.
    """

    def __init__(self) -> None:
        self._by_family: dict[str, float] = {}
        self._by_world: OrderedDict[WorldSpec, float] = OrderedDict()

    def measure(self, family: str, spec: WorldSpec, frames: int, chunk_s: float) -> None:
        """Learn from a chunk that took `chunk_s`."""
        cost = chunk_s / (frames * spec.width * spec.height / 1e6)
        world = _of_any_size(spec)
        self._by_family[family] = _mix(self._by_family.get(family), cost)
        self._by_world[world] = _mix(self._by_world.get(world), cost)
        self._by_world.move_to_end(world)
        if len(self._by_world) > _MAX_WORLDS:
            self._by_world.popitem(last=False)

    def expected_s(self, family: str, spec: WorldSpec, frames: int) -> float:
        """How long a chunk will take; 0 before the first was measured."""
        cost = self._by_world.get(_of_any_size(spec), self._by_family.get(family, 0.0))
        return cost * frames * spec.width * spec.height / 1e6

    def load(self, capabilities: Capabilities, spec: WorldSpec) -> float:
        """The share of the worker's time that a world needs to keep to the clock."""
        chunk_s = self.expected_s(capabilities.name, spec, capabilities.chunk_frames)
        return chunk_s * capabilities.fps / capabilities.chunk_frames


def _of_any_size(spec: WorldSpec) -> WorldSpec:
    return replace(spec, width=0, height=0, image=None, clip=None)  # what is remembered holds no pictures


def _mix(known: float | None, newest: float) -> float:
    return newest if known is None else known + _WEIGHT * (newest - known)


def admit_realtime(
    costs: ChunkCosts, capabilities: Capabilities, spec: WorldSpec, others: Iterable[tuple[Capabilities, WorldSpec]]
) -> None:
    """Refuse the clock to a session that would not fit beside the `others` that have it.

    Raises:
        RealtimeCapacityError: with the numbers, and what would fit.
    """
    wanted = costs.load(capabilities, spec)
    taken = sum(costs.load(other, other_spec) for other, other_spec in others)
    if taken + wanted <= MAX_LOAD:
        return
    sizes = ", ".join(
        f"{width}x{height}"
        for width, height in capabilities.sizes
        if taken + costs.load(capabilities, replace(spec, width=width, height=height)) <= MAX_LOAD
    )
    raise RealtimeCapacityError(
        f"keeping {spec.width}x{spec.height} at {capabilities.fps:g} frames a second needs {wanted:.2f} of the worker's time; "
        f"{taken:.2f} is taken and {MAX_LOAD} can be promised. Choose another pace"
        + (f", or a size that fits: {sizes}" if sizes else ""),
        field="pace.mode",
        retry_s=5.0,
        needed=f"{wanted:.3f}",
        taken=f"{taken:.3f}",
        available=f"{MAX_LOAD:.3f}",
        fitting_sizes=sizes,
    )
