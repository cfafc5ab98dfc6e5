"""Which of what is past a view needs to see again: the newest, the first, and the clip that has seen most of the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.memory.overlap import Field, Points, overlaps
from keepworld_runtime.memory.views import Views


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class History:
    """The clips that are kept of a walk, oldest first: runs of latents that are chosen and dropped as one.

    Attributes:
        starts: [N] int64, how many latents the world had before each clip.
        ends: [N] int64, the same after it.
        probes: [N, 2, 4, 4] world to camera: the clip's first latent and its third, which are asked for all of it.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    probes: NDArray[np.float64]

    def indices(self, chosen: NDArray[np.bool_]) -> set[int]:
        """The numbers of the latents in chosen clips [N]."""
        pairs = zip(self.starts[chosen].tolist(), self.ends[chosen].tolist(), strict=True)
        return {index for start, end in pairs for index in range(start, end)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrieval:
    """How context is chosen. The defaults are WorldPlay-8B's; its 5B pins nothing and counts in float32.

    Attributes:
        window: the newest latents, always seen again.
        pinned: the first latents, always seen again.
        clip: latents that are chosen together; one clip for every `clip` latents to be made.
        field: what counts as seen.
    """

    window: int = 12
    pinned: int = 4
    clip: int = 4
    field: Field = field(default_factory=Field)

    def __post_init__(self) -> None:
        if self.window < 1 or self.pinned < 0 or self.clip < 1:
            came = f"{self.window}, {self.pinned} and {self.clip}"
            raise ValueError(f"window and clip must be at least 1 and pinned at least 0, got {came}")

    @property
    def budget(self) -> int:
        """How many latents are seen again at most, by as many as a clip has."""
        return self.most(self.clip)

    def most(self, chunk_size: int) -> int:
        """How many latents are seen again at most, by a chunk of `chunk_size`."""
        return self.window + self.pinned + -(-chunk_size // self.clip) * self.clip


def select(rule: Retrieval, history: History, views: Views, points: Points) -> NDArray[np.int64]:
    """Choose what the latents seen by `views`, which come right after the history, need to see again.

    Every `clip` of them choose for themselves, as if those before them were past already; they see the union of what is
    chosen, without each other. While nothing is longer ago than the budget, that is everything.

    Source: WorldPlay (HY-World 1.5), `arXiv:2512.14614` and its published code, whose choices these are exactly, for chunks
    of one clip and of four.

    Returns:
        [M] int64, ascending: numbers of latents.
    """
    if not len(history.ends):
        return np.empty(0, np.int64)
    now = int(history.ends[-1])
    cloud = points(now)
    chosen: set[int] = set()
    for ahead in range(0, len(views), rule.clip):
        current = now + ahead
        if current <= rule.budget:
            chosen |= history.indices(np.ones(len(history.starts), np.bool_))
            continue
        chosen |= set(range(current - rule.window, now)) | set(range(rule.pinned))
        candidates = (history.starts >= rule.pinned) & (history.ends <= current - rule.window)
        if candidates.any():
            queries = views.viewmats[ahead : ahead + rule.clip]
            costs = clip_costs(queries, history.probes[candidates], cloud, rule.field)
            best = np.flatnonzero(candidates)[np.argmin(costs)]  # the first of equals: the oldest
            chosen |= set(range(int(history.starts[best]), int(history.ends[best])))
    return np.array(sorted(chosen), np.int64)


def clip_costs(
    queries: NDArray[np.float64], probes: NDArray[np.float64], points: NDArray[np.float32], field: Field
) -> NDArray[np.float64]:
    """How much of what queries [Q, 4, 4] see clips [N, 2, 4, 4] have not seen, [N]: the mean of 1 - overlap."""
    seen = overlaps(queries, probes.reshape(-1, 4, 4), points, field).reshape(len(queries), -1, 2)
    return np.asarray((0.5 * ((1 - seen[..., 0]) + (1 - seen[..., 1]))).mean(axis=0))
