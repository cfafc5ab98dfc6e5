"""RELIC's memory: everything is seen again, what is older in fewer tokens. A research option."""

from __future__ import annotations

import math

import numpy as np

from keepworld_runtime.memory.banked import BankedMemory
from keepworld_runtime.memory.context import Context
from keepworld_runtime.memory.frame_bank import Room
from keepworld_runtime.memory.policies import Plan
from keepworld_runtime.memory.views import Views

SCHEDULE = (1, 4, 2, 4, 4, 4, 2, 4, 4, 2, 4, 4, 4, 2, 4, 4, 2, 4)
WINDOW = 8
SPAN = 80


def pooling_of(index: int, rows: int, columns: int) -> int:
    """How many tokens a side are averaged into one for latent number `index`, once it is older than the window.

    The schedule's number where it divides the grid of rows × columns tokens, else the largest divisor of both that is
    smaller: nothing is published for grids that it does not divide, as 30 × 52.
    """
    wanted = SCHEDULE[index % len(SCHEDULE)]
    return max(side for side in range(1, wanted + 1) if math.gcd(rows, columns) % side == 0)


class Compressed(BankedMemory):
    """A rolling window of whole latents, and all older ones with their keys and values averaged over squares of tokens.

    A research option: no released model has been trained to see its past like this.

    Source: RELIC, arXiv:2512.04040: the schedule S, by a latent's number modulo 18, each number the side of a square: 18
    older latents take as many tokens as three. That 80 latents take a quarter of their tokens, as claimed there, leaves 8 of
    them whole. Ours: a walk may go on past those 80 latents (20 s); then, the first ones aside, the clip goes that is most
    like the others in pose.
    """

    def __init__(self, plan: Plan) -> None:
        rule = plan.retrieval
        recent = max(WINDOW, plan.recent)
        room = Room(capacity=SPAN, clip=rule.clip, pinned=rule.clip, recent=recent, length=rule.field.radius / 2)
        super().__init__("compressed", plan, room)

    def most_tokens(self, rows: int, columns: int) -> int:
        """How many tokens a context has at most, when a latent has rows × columns of them."""
        tokens = [rows * columns // pooling_of(index, rows, columns) ** 2 for index in range(len(SCHEDULE))]
        return WINDOW * rows * columns + _most_in_runs(tokens, SPAN - WINDOW, self.plan.retrieval.clip)

    def select(self, views: Views) -> Context:
        """All that is kept, whatever the next cameras are."""
        kept = sorted(self.bank.history().indices(np.ones(len(self.bank.clips), np.bool_)))
        latents, seen = self.bank.gather(np.array(kept, np.int64))
        rows, columns = latents.shape[3] // self.plan.patch, latents.shape[4] // self.plan.patch
        whole = self.num_latents - WINDOW
        pooling = [1 if index >= whole else pooling_of(index, rows, columns) for index in kept]
        return Context(
            indices=np.array(kept, np.int64), latents=latents, views=seen, pooling=np.array(pooling, np.int64)
        )


def build(plan: Plan) -> Compressed:
    """An empty memory."""
    return Compressed(plan)


def _most_in_runs(tokens: list[int], num_latents: int, run: int) -> int:
    """The most that `num_latents` latents can take when any runs of `run` of them are kept, by a round of `tokens`.

    Two runs more than would fill them: one at the window's edge, and one that is short, can be there in part.
    """
    runs = [sum(tokens[(at + ahead) % len(tokens)] for ahead in range(run)) for at in range(len(tokens))]
    return (-(-num_latents // run) + 2) * max(runs)
