"""What is trained: splats as unbounded numbers, and the steps of Adam that change them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.scene import Splats

NAMES = ("means", "quats", "log_scales", "logits", "sh0", "shN")
_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-15


@dataclass(kw_only=True, slots=True, eq=False)
class Parameters:
    """Splats as they are trained, all float32: `log_scales` [N, 3] and `logits` [N, 1] of opacity, the rest as in `Splats`.

    Adam's two moments of them have the same shapes and are kept in the same class. shN is [N, 3 K] here.
    """

    means: NDArray[np.float32]
    quats: NDArray[np.float32]
    log_scales: NDArray[np.float32]
    logits: NDArray[np.float32]
    sh0: NDArray[np.float32]
    shN: NDArray[np.float32]  # noqa: N815  gsplat's name

    def __len__(self) -> int:
        """How many splats."""
        return len(self.means)

    def splats(self, *, antialiased: bool) -> Splats:
        """The splats they stand for; what is not changed by a function is shared, not copied."""
        return Splats(
            means=self.means,
            quats=self.quats,
            scales=np.exp(self.log_scales),
            opacities=opacity(self.logits[:, 0]),
            sh0=self.sh0,
            shN=self.shN.reshape(len(self), -1, 3),
            antialiased=antialiased,
        )

    def rows(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Parameters:
        """Some of them, copied."""
        return Parameters(**{name: getattr(self, name)[which] for name in NAMES})

    def put(self, which: NDArray[np.int64], rows: Parameters) -> None:
        """Overwrite some of them."""
        for name in NAMES:
            getattr(self, name)[which] = getattr(rows, name)

    def joined(self, more: Parameters) -> Parameters:
        """These, and then others."""
        return Parameters(**{name: np.concatenate([getattr(self, name), getattr(more, name)]) for name in NAMES})


def parameters(splats: Splats) -> Parameters:
    """Make splats, of any degree, ready to train to degree 3."""
    count = len(splats.means)
    harmonics = np.zeros((count, 15, 3), np.float32)
    harmonics[:, : splats.shN.shape[1]] = splats.shN
    return Parameters(
        means=splats.means.copy(),
        quats=splats.quats.copy(),
        log_scales=np.log(np.maximum(splats.scales, 1e-9)),
        logits=logit(splats.opacities)[:, None],
        sh0=splats.sh0.copy(),
        shN=harmonics.reshape(count, 45),
    )


def zeros(count: int) -> Parameters:
    """Moments of nothing yet."""
    widths = dict(zip(NAMES, (3, 4, 3, 1, 3, 45), strict=True))
    return Parameters(**{name: np.zeros((count, width), np.float32) for name, width in widths.items()})


def opacity(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Opacities in (0, 1) from numbers without bounds."""
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def logit(opacities: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of `opacity`, kept finite."""
    held = np.clip(opacities.astype(np.float64), 1e-5, 1 - 1e-5)
    return np.log(held / (1 - held)).astype(np.float32)


@njit(cache=True, parallel=True)
def adam(
    values: NDArray[np.float32],
    gradient: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    rows: NDArray[np.int64],
    width: int,
    rate: float,
    step: int,
) -> None:
    """Take one step of Adam in the first `width` columns of some rows only; the others keep their moments too.

    Args:
        values, gradient, first, second: [N, K], what to change, the loss's gradient by it, and its two moments.
        rows: the splats that were seen. What was not seen has a gradient of 0, which is no reason to forget.
        width: how many columns.
        rate: the learning rate.
        step: counted from 1, for the correction of the moments' start at 0.

    Source: Kingma and Ba 2015; selective as Mallick et al. 2024, "Taming 3DGS".
    """
    scale = np.float32(rate / (1 - _BETA1**step))
    correction = np.float32(1 / (1 - _BETA2**step))
    keep1, keep2, eps = np.float32(_BETA1), np.float32(_BETA2), np.float32(_EPS)
    for r in prange(len(rows)):
        i = rows[r]
        for k in range(width):
            g = gradient[i, k]
            m = keep1 * first[i, k] + (np.float32(1) - keep1) * g
            v = keep2 * second[i, k] + (np.float32(1) - keep2) * g * g
            first[i, k], second[i, k] = m, v
            values[i, k] -= scale * m / (np.sqrt(v * correction) + eps)
