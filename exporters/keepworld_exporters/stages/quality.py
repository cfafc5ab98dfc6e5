"""Which frames show the same world as the rest: of what looks alike in others, how much lies where the cameras say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FITS = 3e-3  # of the picture's width: how far a feature may lie from its epipolar line
MIN_MATCHES = 30  # below which a frame cannot be judged
LEVELS: Mapping[str, float] = {"off": 0.0, "normal": 0.4, "strict": 0.7}


def consistency(errors: Mapping[tuple[int, int], NDArray[np.float64]], count: int, width: int) -> NDArray[np.float64]:
    """A score in [0, 1] for each of `count` frames; NaN where too little is alike to judge.

    Args:
        errors: (i, j) -> [M] distances of matches from their epipolar lines, pixels.
        count: of frames.
        width: of their pictures, pixels.
    """
    fitting, all_ = np.zeros(count), np.zeros(count)
    for pair, distances in errors.items():
        good = float((distances < FITS * width).sum())
        for frame in pair:
            fitting[frame] += good
            all_[frame] += len(distances)
    return np.where(all_ >= MIN_MATCHES, fitting / np.maximum(all_, 1), np.nan)


def passes(scores: NDArray[np.float64], level: str) -> NDArray[np.bool_]:
    """Which frames [N] pass a gate of `LEVELS`; what cannot be judged passes all but the strict one."""
    if level == "off":
        return np.ones(len(scores), np.bool_)
    unknown = np.isnan(scores)
    return np.asarray(np.where(unknown, level != "strict", np.nan_to_num(scores) >= LEVELS[level]))
