"""Few values that stand for many: what packed formats keep of scales, colours and harmonics, and the order that packs best."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 30  # of a line's values, which cost nothing
_ROW_ROUNDS = 6  # of rows, after which less than a hundredth of the error would go
_CHUNK = 1 << 16
_SEED = 20_260


def line_codebook(values: NDArray[np.float32], size: int = 256) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The `size` numbers, ascending, that stand best for many (least squares), and which stands for each of them.

    Lloyd's algorithm on the sorted values, where a round is `size` look-ups. It begins half with places that share the values
    evenly and half with places that share the span evenly, so that far outliers have a number of their own.
    """
    flat = np.sort(values.reshape(-1).astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(flat)])
    shares = (np.arange(size // 2) + 0.5) / (size // 2)
    even = flat[(shares * len(flat)).astype(np.int64)]
    codes = np.sort(np.concatenate([even, np.linspace(flat[0], flat[-1], size - size // 2)]))
    for _ in range(_ROUNDS):
        ends = np.concatenate([[0], np.searchsorted(flat, (codes[1:] + codes[:-1]) / 2), [len(flat)]])
        counts = np.diff(ends)
        codes = np.sort(np.where(counts > 0, np.diff(sums[ends]) / np.maximum(counts, 1), codes))
    book = codes.astype(np.float32)
    middles = (book[1:].astype(np.float64) + book[:-1]) / 2
    return book, np.searchsorted(middles, values.astype(np.float64)).astype(np.uint8)


def row_palette(rows: NDArray[np.float32], size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """About `size` rows [P, D] that stand for many [N, D], and which of them stands for each [N]; never more than `size`.

    k-means in two steps: groups first, then within each group its share of the palette, which costs N sqrt(size) D a round
    instead of N size D. The same rows give the same palette.
    """
    if len(rows) <= size:
        return rows, np.arange(len(rows))
    rng = np.random.default_rng(_SEED)
    groups = _lloyd(rows, _chosen(rows, max(1, int(np.sqrt(size))), rng))[1]
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    starts = np.concatenate([[0], np.cumsum(counts)])
    palette: list[NDArray[np.float32]] = []
    labels = np.empty(len(rows), np.int64)
    used = 0
    for low, high in pairwise(starts.tolist()):
        if low == high:
            continue
        members = rows[order[low:high]]
        # What is left is shared among those that are left: nobody goes without, and the sum fits.
        share = min(high - low, max(1, (size - used) * (high - low) // (len(rows) - low)))
        codes, names = _lloyd(members, _chosen(members, share, rng))
        palette.append(codes)
        labels[order[low:high]] = names + used
        used += len(codes)
    return np.concatenate(palette), labels


def _chosen(rows: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return rows[rng.permutation(len(rows))[:count]].copy()


def _lloyd(rows: NDArray[np.float32], codes: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    for _ in range(_ROW_ROUNDS):
        labels = _nearest(rows, codes)
        order = np.argsort(labels, kind="stable")
        counts = np.bincount(labels, minlength=len(codes))
        there = np.flatnonzero(counts)
        starts = np.concatenate([[0], np.cumsum(counts[there])[:-1]])
        sums = np.add.reduceat(rows[order].astype(np.float64), starts, axis=0)
        codes[there] = (sums / counts[there, None]).astype(np.float32)
    return codes, _nearest(rows, codes)


def _nearest(rows: NDArray[np.float32], codes: NDArray[np.float32]) -> NDArray[np.int64]:
    squares = (codes * codes).sum(1)
    labels = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        labels[part] = (squares - 2 * (rows[part] @ codes.T)).argmin(1)
    return labels


def morton_order(means: NDArray[np.float32]) -> NDArray[np.int64]:
    """The order [N] of places along a Morton curve of 10 bits an axis."""
    if not len(means):
        return np.zeros(0, np.int64)
    low, high = means.min(0).astype(np.float64), means.max(0).astype(np.float64)
    cells = ((means - low) / np.where(high > low, high - low, 1) * 1023).astype(np.uint32)
    codes = np.zeros(len(means), np.uint32)
    for bit in range(10):
        for axis in range(3):
            codes |= ((cells[:, axis] >> np.uint32(bit)) & np.uint32(1)) << np.uint32(3 * bit + axis)
    return np.argsort(codes, kind="stable")
