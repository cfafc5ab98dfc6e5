"""How far apart views are, and which of many views tell the least beside the others."""

from __future__ import annotations

import numpy as np
from keepworld.camera import invert_rigid
from numpy.typing import NDArray

ANGLE = np.pi / 4  # turning by 45 degrees counts as much as going one `length`


def pose_distances(a: NDArray[np.float64], b: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """Distances [N, M] between views [N, 4, 4] and [M, 4, 4], world to camera: way / length + angle / 45 degrees.

    The angle is that of the one rotation that takes one camera's axes to the other's.
    """
    centres_a, centres_b = invert_rigid(a)[:, :3, 3], invert_rigid(b)[:, :3, 3]
    way = np.linalg.norm(centres_a[:, None] - centres_b[None], axis=-1)
    traces = np.einsum("nij,mij->nm", a[:, :3, :3], b[:, :3, :3])
    angle = np.arccos(np.clip((traces - 1) / 2, -1, 1))
    return np.asarray(way / length + angle / ANGLE)


def farthest_first(distances: NDArray[np.float64], seeds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order what is not among the seeds so that each next one is as far as can be from the seeds and all before it.

    Greedy farthest-point sampling (Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985). Whichever
    comes last is one of the closest pair, so leaving it out loses least. Of equals the first goes first; without seeds the
    first of all does.

    Args:
        distances: [N, N], symmetric.
        seeds: [S] indices into N.

    Returns:
        [N - S] indices into N.
    """
    num = len(distances)
    nearest = distances[seeds].min(axis=0) if len(seeds) else np.full(num, np.inf)
    nearest[seeds] = -np.inf
    order = np.empty(num - len(seeds), np.int64)
    for place in range(len(order)):
        order[place] = np.argmax(nearest)
        nearest = np.minimum(nearest, distances[order[place]])
        nearest[order[: place + 1]] = -np.inf
    return order
