"""How long chunks take here, and whether one more session can be kept to the clock."""

from __future__ import annotations

from collections.abc import Iterable

from keepworld_runtime.engine.errors import RealtimeCapacityError
from keepworld_runtime.families.family import Capabilities, WorldSpec

MAX_LOAD = 0.95  # of the worker's time, promised to realtime sessions
_WEIGHT = 0.2  # of the newest measurement


class ChunkCosts:
    """Measured drawing time, as seconds per frame of a million pixels, for each family: a moving average."""

    def __init__(self) -> None:
        self._costs: dict[str, float] = {}

    def measure(self, family: str, width: int, height: int, frames: int, chunk_s: float) -> None:
        """Learn from a chunk that took `chunk_s`."""
        cost = chunk_s / (frames * width * height / 1e6)
        known = self._costs.get(family)
        self._costs[family] = cost if known is None else known + _WEIGHT * (cost - known)

    def expected_s(self, family: str, width: int, height: int, frames: int) -> float:
        """How long a chunk will take; 0 before the first was measured."""
        return self._costs.get(family, 0.0) * frames * width * height / 1e6

    def load(self, capabilities: Capabilities, width: int, height: int) -> float:
        """The share of the worker's time that a session of this size needs to keep to the clock."""
        chunk_s = self.expected_s(capabilities.name, width, height, capabilities.chunk_frames)
        return chunk_s * capabilities.fps / capabilities.chunk_frames


def admit_realtime(
    costs: ChunkCosts, capabilities: Capabilities, spec: WorldSpec, others: Iterable[tuple[Capabilities, WorldSpec]]
) -> None:
    """Refuse the clock to a session that would not fit beside the `others` that have it.

    Raises:
        RealtimeCapacityError: with the numbers, and what would fit.
    """
    wanted = costs.load(capabilities, spec.width, spec.height)
    taken = sum(costs.load(other, other_spec.width, other_spec.height) for other, other_spec in others)
    if taken + wanted <= MAX_LOAD:
        return
    fitting = [size for size in capabilities.sizes if taken + costs.load(capabilities, *size) <= MAX_LOAD]
    sizes = ", ".join(f"{width}x{height}" for width, height in fitting)
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
