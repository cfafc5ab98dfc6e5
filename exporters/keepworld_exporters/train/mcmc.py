"""Where splats are moved, added and shaken, so that a fixed number of them is put to the best use.

Source: Kheradmand et al. 2024, "3D Gaussian splatting as Markov chain Monte Carlo", with gsplat's constants. Departs from it: the
shaking is measured in the scene's size, so that a scene in other units trains the same.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numba import njit
from numpy.typing import NDArray

from keepworld_exporters.rasterize.project import rotation
from keepworld_exporters.train.parameters import Parameters, logit, opacity

DEAD = 0.005  # opacity at which a splat has nothing more to say
_MOST = 51  # copies of one splat
_SHAKE = 5e5
_SHAKEN = 0.15  # opacity above which shaking is nothing


def relocate(
    values: Parameters, moments: tuple[Parameters, Parameters], free: NDArray[np.bool_], rng: np.random.Generator
) -> int:
    """Move dead splats onto living ones, drawn by opacity, so that the picture stays what it was; gives how many."""
    opacities = opacity(values.logits[:, 0])
    dead = np.flatnonzero(free & ((opacities <= DEAD) | ~np.isfinite(opacities)))
    alive = np.flatnonzero(free & (opacities > DEAD))
    if not dead.size or not alive.size:
        return 0
    sources = _draw(alive, opacities, len(dead), rng)
    copies = _shared(values, sources)
    values.put(dead, copies)
    values.put(sources, copies)
    for moment in moments:
        for name in ("means", "quats", "log_scales", "logits", "sh0", "shN"):
            getattr(moment, name)[sources] = 0
            getattr(moment, name)[dead] = 0
    return len(dead)


def grown(values: Parameters, count: int, free: NDArray[np.bool_], rng: np.random.Generator) -> Parameters:
    """At most `count` splats to add: copies of living ones, drawn by opacity, that now share their opacity with them."""
    opacities = opacity(values.logits[:, 0])
    alive = np.flatnonzero(free & (opacities > DEAD))
    sources = _draw(alive, opacities, count if alive.size else 0, rng)
    copies = _shared(values, sources)
    values.put(sources, copies)
    return copies


def shake(
    values: Parameters, free: NDArray[np.bool_], rate: float, scene_size: float, rng: np.random.Generator
) -> None:
    """Push faint splats about at random, along their own axes, further the fainter they are.

    Args:
        values: their means are changed.
        free: [N], which may be moved.
        rate: of the means, in parts of the scene's size.
        scene_size: the capture's units.
        rng: where the randomness comes from.
    """
    opacities = opacity(values.logits[:, 0])
    faint = np.flatnonzero(free & (opacities < _SHAKEN))
    noise = rng.standard_normal((len(faint), 3), np.float32)
    _push(values.means, values.quats, values.log_scales, opacities, faint, noise, rate * _SHAKE / scene_size)


@njit(cache=True)
def _push(
    means: NDArray[np.float32],
    quats: NDArray[np.float32],
    log_scales: NDArray[np.float32],
    opacities: NDArray[np.float32],
    faint: NDArray[np.int64],
    noise: NDArray[np.float32],
    rate: float,
) -> None:
    """Add R S S R^T noise to the means [N, 3] of splats `faint` [F], noise [F, 3] being made less the more they show."""
    R = np.empty((3, 3))
    for f in range(len(faint)):
        i = faint[f]
        much = rate / (1 + np.exp(-100 * (DEAD - opacities[i])))
        rotation(quats[i], R)
        for k in range(3):
            along = R[0, k] * noise[f, 0] + R[1, k] * noise[f, 1] + R[2, k] * noise[f, 2]
            along *= much * np.exp(2 * np.float64(log_scales[i, k]))
            means[i, 0] += R[0, k] * along
            means[i, 1] += R[1, k] * along
            means[i, 2] += R[2, k] * along


def _draw(
    alive: NDArray[np.int64], opacities: NDArray[np.float32], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    heap = np.cumsum(opacities[alive], dtype=np.float64)
    places = rng.random(count) * heap[-1:].sum()
    return alive[np.minimum(np.searchsorted(heap, places), len(alive) - 1)]


def _shared(values: Parameters, sources: NDArray[np.int64]) -> Parameters:
    """The rows of `sources`, each as faint and as small as it must be for all its copies together to look like it did."""
    copies = values.rows(sources)
    times = np.minimum(np.bincount(sources, minlength=len(values))[sources] + 1, _MOST)
    before = opacity(copies.logits[:, 0]).astype(np.float64)
    after = 1 - (1 - before) ** (1 / times)
    total = np.zeros(len(sources))
    for i in range(1, int(times.max(initial=0)) + 1):
        some = times >= i
        for k in range(i):
            total[some] += comb(i - 1, k) * (-1) ** k / np.sqrt(k + 1) * after[some] ** (k + 1)
    after = np.clip(after, DEAD, 1 - 1e-7)
    copies.logits[:, 0] = logit(after.astype(np.float32))
    copies.log_scales += np.log(before / total).astype(np.float32)[:, None]
    return copies
