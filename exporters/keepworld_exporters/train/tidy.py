"""What is left out of trained splats: what shows nothing, and what floats far outside of the scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.scene import Splats
from keepworld_exporters.train.mcmc import DEAD

FAR = 20.0  # distances from the middle, in that of the median splat
FURTHER = 1.5  # or in that of the furthest splat there was at first: hills on the horizon are of the scene
HUGE = 20.0  # sizes, in that same distance


def tidy(splats: Splats, free: NDArray[np.bool_], *, begun: NDArray[np.float32]) -> Splats:
    """Drop splats that are too faint, too far out or too large to be of the scene; those not `free` [N] all stay.

    Args:
        splats: as they were trained.
        free: [N] whether each could go anywhere.
        begun: [M, 3] where the free ones were at first.
    """
    middle = np.median(splats.means[free], 0) if free.any() else np.zeros(3, np.float32)
    furthest = float(np.linalg.norm(begun - middle, axis=1).max(initial=0))
    distances = np.linalg.norm(splats.means - middle, axis=1)
    typical = float(np.median(distances[free])) if free.any() else 0.0
    sound = np.isfinite(splats.means).all(1) & np.isfinite(splats.scales).all(1) & np.isfinite(splats.quats).all(1)
    small = splats.scales.max(1) <= HUGE * max(typical, 1e-6)
    limit = max(FAR * typical, FURTHER * furthest, 1e-6)
    keep = sound & (~free | ((splats.opacities > DEAD) & (distances <= limit) & small))
    quats = splats.quats[keep]
    return replace(
        splats,
        means=splats.means[keep],
        quats=quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12),
        scales=splats.scales[keep],
        opacities=splats.opacities[keep],
        sh0=splats.sh0[keep],
        shN=splats.shN[keep],
    )
