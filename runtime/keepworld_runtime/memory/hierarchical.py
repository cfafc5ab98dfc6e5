"""WorldScape's memory: anchors for ever, a pool of what was new when it was seen, and the newest latents. A research option."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from keepworld.camera import invert_rigid
from numpy.typing import NDArray
from torch import Tensor

from keepworld_runtime.memory.banked import BankedMemory
from keepworld_runtime.memory.clip import Clip
from keepworld_runtime.memory.context import Context
from keepworld_runtime.memory.frame_bank import Room, clip_distances, probes
from keepworld_runtime.memory.overlap import Field, overlaps
from keepworld_runtime.memory.policies import Plan
from keepworld_runtime.memory.pose_distance import farthest_first
from keepworld_runtime.memory.views import Views

POOL_CLIPS = 16  # as many as WorldScape's Nmax may be; it is not published
FULL_COVERAGE = 0.6
SURPRISE = 0.3
_NEIGHBOURS = 3


class Hierarchical(BankedMemory):
    """Three levels: the first clip (anchors), a global pool, the newest latents. Seen again: all but the pool, and of that
    the best clip for each clip to be made.

    A research option: no released model has been trained to see its past like this.

    Source: WorldScape (worldscape.io and its blog): the three levels, retrieval by a view score S(i, j) from cameras, an
    insertion gate by "surprise" (minimum description length), farthest-point pruning by translation and rotation. None of
    its formulas is published; ours are `view_scores`, `surprise` and `pose_distances`. The gate compares latents as they
    lie on the grid: there is no depth to warp one view into another with, so a shifted view counts as new. A clip is judged
    when it would otherwise be lost: when it leaves the newest latents, which are kept for the decoder too.
    """

    def __init__(self, plan: Plan) -> None:
        rule = plan.retrieval
        recent = max(rule.window, plan.recent)
        room = Room(
            capacity=rule.clip + POOL_CLIPS * rule.clip + recent + 2 * rule.clip,
            clip=rule.clip,
            pinned=rule.clip,
            recent=recent,
            length=rule.field.radius / 2,
        )
        super().__init__("hierarchical", plan, room)

    @property
    def anchors(self) -> list[Clip]:
        """What is kept for ever."""
        return [clip for clip in self.bank.clips if self.bank.is_pinned(clip)]

    @property
    def pool(self) -> list[Clip]:
        """What was taken up, and not pushed out since."""
        return [clip for clip in self.bank.clips if not (self.bank.is_pinned(clip) or self.bank.is_recent(clip))]

    def most_tokens(self, rows: int, columns: int) -> int:
        """How many tokens a context has at most, when a latent has rows × columns of them."""
        rule = self.plan.retrieval
        clips = -(-self.plan.chunk_size // rule.clip)
        return (rule.window + (1 + clips) * rule.clip) * rows * columns

    def select(self, views: Views) -> Context:
        """Choose what the next latents, whose cameras are `views`, need to see again."""
        rule, now = self.plan.retrieval, self.num_latents
        candidates = [
            clip for clip in self.bank.clips if not self.bank.is_pinned(clip) and clip.end <= now - rule.window
        ]
        cloud = self.plan.points(now)
        chosen = set(range(min(rule.clip, now))) | set(range(max(0, now - rule.window), now))
        for ahead in range(0, len(views), rule.clip):
            if candidates:
                best = int(np.argmax(self._scores(views.viewmats[ahead : ahead + rule.clip], candidates, cloud)))
                chosen |= set(range(candidates[best].start, candidates[best].end))
        indices = np.array(sorted(chosen), np.int64)
        latents, seen = self.bank.gather(indices)
        return Context(indices=indices, latents=latents, views=seen, pooling=np.ones(len(indices), np.int64))

    def remember(self, latents: Tensor, views: Views) -> None:
        """Take in the next latents [1, C, T, h, w] with their T cameras; what leaves the newest is taken up or lost.

        Raises:
            ValueError: they do not fit together, or are not like those before.
        """
        for clip in self.bank.cut(latents, views):
            before = {id(old) for old in self.pool}
            self.bank.add(clip)
            for left in [old for old in self.pool if id(old) not in before]:
                self._judge(left)

    def _judge(self, clip: Clip) -> None:
        """Take a clip into the pool or forget it; make room where the pool is full."""
        others = self.anchors + [old for old in self.pool if old is not clip and old.end <= clip.start]
        if not self._is_new(clip, others):
            self.bank.drop(clip)
        pool = self.pool
        if len(pool) > POOL_CLIPS:
            kept = self.anchors + pool
            seeds = np.arange(len(self.anchors))
            self.bank.drop(kept[int(farthest_first(clip_distances(kept, self.bank.room.length), seeds)[-1])])

    def _is_new(self, clip: Clip, others: Sequence[Clip]) -> bool:
        """Whether a clip shows what the others have not seen, or says what they would not have said."""
        views, past = probes([clip])[0], probes(others).reshape(-1, 4, 4)
        cloud = self.plan.points(clip.start)
        if overlaps(views, past, cloud, self.plan.retrieval.field).max(axis=1).mean() < FULL_COVERAGE:
            return True
        nearest = np.argsort(-self._scores(views, others, cloud), kind="stable")[:_NEIGHBOURS]
        return surprise(clip.latents, [others[int(n)].latents for n in nearest]) > SURPRISE

    def _scores(
        self, viewmats: NDArray[np.float64], clips: Sequence[Clip], cloud: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """How well clips [N] serve views [Q, 4, 4], [N], compared by points [P, 3]."""
        past = probes(clips).reshape(-1, 4, 4)
        scores = view_scores(viewmats, past, cloud, self.plan.retrieval.field, self.bank.room.length)
        return np.asarray(scores.reshape(len(viewmats), -1, 2).mean(axis=(0, 2)))


def view_scores(
    queries: NDArray[np.float64], pasts: NDArray[np.float64], points: NDArray[np.float32], field: Field, length: float
) -> NDArray[np.float64]:
    """S(i, j), how well each past view [M, 4, 4] serves each query [Q, 4, 4], [Q, M] in [0, 1].

    Half the overlap, half how near and how alike in direction: exp(-distance / length) · max(0, cosine). Ours: that the score
    comes from cameras alone is published, its formula is not.
    """
    there, here = invert_rigid(queries), invert_rigid(pasts)
    distance = np.linalg.norm(there[:, None, :3, 3] - here[None, :, :3, 3], axis=-1)
    cosine = np.maximum(0, there[:, :3, 2] @ here[:, :3, 2].T)
    return 0.5 * overlaps(queries, pasts, points, field) + 0.5 * np.exp(-distance / length) * cosine


def surprise(latents: Tensor, known: Sequence[Tensor]) -> float:
    """The share, in [0, 1], of what latents [1, C, n, h, w] vary by that others, each like them, do not tell.

    It is what ridge regression leaves: every cell from the channels of the others' cells in the same place and turn. On the
    host in float64, so that it is the same on every device. Latents that do not vary at all are no surprise.
    """
    num = min(each.shape[2] for each in (latents, *known))
    target = _cells(latents, num)
    if float(target.square().sum()) == 0:
        return 0.0
    given = torch.cat([_cells(each, num) for each in known], dim=1)
    gram = given.T @ given
    ridge = 1e-3 * gram.diagonal().mean().clamp_min(1e-12)
    weights = torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), given.T @ target)
    return float((target - given @ weights).square().sum() / target.square().sum())


def _cells(latents: Tensor, num: int) -> Tensor:
    """The cells of the first `num` latents, [num · h · w, C], float64, less their mean."""
    cells = latents[0, :, :num].flatten(1).T.to("cpu", torch.float64)
    return cells - cells.mean(dim=0)


def build(plan: Plan) -> Hierarchical:
    """An empty memory."""
    return Hierarchical(plan)
