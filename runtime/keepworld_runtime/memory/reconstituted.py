"""WorldPlay's memory: past latents are chosen afresh for every chunk, and shown to the model again as they are."""

from __future__ import annotations

import numpy as np

from keepworld_runtime.memory.banked import BankedMemory
from keepworld_runtime.memory.context import Context
from keepworld_runtime.memory.frame_bank import Room
from keepworld_runtime.memory.policies import Plan
from keepworld_runtime.memory.retrieval import select
from keepworld_runtime.memory.views import Views


class Reconstituted(BankedMemory):
    """The newest latents, the first ones, and for each clip to be made the past clip that has seen most of the same.

    Source: WorldPlay (HY-World 1.5), "reconstituted context memory", arXiv:2512.14614, and its published code. Departs from
    it in that only as much is kept as there is room for, where the published code keeps, and compares, everything.
    """

    def __init__(self, plan: Plan) -> None:
        rule = plan.retrieval
        room = Room(
            capacity=plan.capacity,
            clip=rule.clip,
            pinned=rule.pinned,
            recent=max(rule.window, plan.recent),
            length=rule.field.radius / 2,
        )
        super().__init__("reconstituted", plan, room)

    def most_tokens(self, rows: int, columns: int) -> int:
        """How many tokens a context has at most, when a latent has rows × columns of them."""
        return self.plan.retrieval.most(self.plan.chunk_size) * rows * columns

    def select(self, views: Views) -> Context:
        """Choose what the next latents, whose cameras are `views`, need to see again."""
        indices = select(self.plan.retrieval, self.bank.history(), views, self.plan.points)
        latents, seen = self.bank.gather(indices)
        return Context(indices=indices, latents=latents, views=seen, pooling=np.ones(len(indices), np.int64))


def build(plan: Plan) -> Reconstituted:
    """An empty memory."""
    return Reconstituted(plan)
