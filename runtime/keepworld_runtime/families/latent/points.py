"""The points that views are compared with, of a world's own: from its seed and where it has got to, nothing else."""

from __future__ import annotations

import numpy as np

from keepworld_runtime.memory.overlap import Points, ball_points
from keepworld_runtime.sampling.noise import generator

NUM_POINTS = 50_000


def points_of(seed: int, radius: float) -> Points:
    """Points [50000, 3] spread evenly through a ball: others for every latent's number, the same in any process."""
    return lambda at: ball_points(generator(seed, "retrieval", at).random((3, NUM_POINTS), np.float32), radius)
