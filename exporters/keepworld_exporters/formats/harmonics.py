"""Spherical harmonics as splats store them, and how their coefficients turn with the world."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

BANDS = (0, 3, 8, 15)  # coefficients above degree 0, for a scene of degree 0, 1, 2, 3
SH_C0 = 0.28209479177387814  # of degree 0: colour = SH_C0 * sh0 + 0.5

_Axis = NDArray[np.float64]
# Condon-Shortley signs and the order m = -l .. l, as the first implementation (INRIA) and gsplat have them.
_BASIS: tuple[Callable[[_Axis, _Axis, _Axis], _Axis], ...] = (
    lambda x, y, z: -0.4886025119029199 * y,
    lambda x, y, z: 0.4886025119029199 * z,
    lambda x, y, z: -0.4886025119029199 * x,
    lambda x, y, z: 1.0925484305920792 * x * y,
    lambda x, y, z: -1.0925484305920792 * y * z,
    lambda x, y, z: 0.31539156525252005 * (3 * z * z - 1),
    lambda x, y, z: -1.0925484305920792 * x * z,
    lambda x, y, z: 0.5462742152960396 * (x * x - y * y),
    lambda x, y, z: -0.5900435899266435 * y * (3 * x * x - y * y),
    lambda x, y, z: 2.890611442640554 * x * y * z,
    lambda x, y, z: -0.4570457994644658 * y * (5 * z * z - 1),
    lambda x, y, z: 0.3731763325901154 * z * (5 * z * z - 3),
    lambda x, y, z: -0.4570457994644658 * x * (5 * z * z - 1),
    lambda x, y, z: 1.445305721320277 * z * (x * x - y * y),
    lambda x, y, z: -0.5900435899266435 * x * (x * x - 3 * y * y),
)


def evaluate(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values [N, 15] of degrees 1 to 3 in unit directions [N, 3]."""
    x, y, z = directions.T
    return np.stack([function(x, y, z) for function in _BASIS], 1)


def turn(shN: NDArray[np.float32], turned_from_given: NDArray[np.float64]) -> NDArray[np.float32]:
    """Coefficients [N, K, 3] of what is seen when the world is turned, or mirrored, by an orthogonal [3, 3].

    A degree's functions are carried into one another by a turn (the Wigner D matrix), or a mirror. The matrix is solved for
    in a fan of directions, where the turned function must have the value the given one had before: exact to 1e-14, and
    true of mirrors too, for which D has no textbook form.
    """
    turned = np.empty_like(shN)
    for low, high in ((0, 3), (3, 8), (8, 15)):
        if high > shN.shape[1]:
            break
        before = evaluate(_fan())[:, low:high]
        after = evaluate(_fan() @ turned_from_given.T)[:, low:high]
        matrix = np.linalg.lstsq(after, before, rcond=None)[0]
        turned[:, low:high] = np.einsum("ij,njc->nic", matrix, shN[:, low:high])
    return turned


@cache
def _fan() -> NDArray[np.float64]:
    """Directions [32, 3] spread evenly over the sphere (a Fibonacci spiral)."""
    k = np.arange(32)
    z = 1 - (2 * k + 1) / 32
    angle = k * np.pi * (3 - np.sqrt(5))
    return np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z], 1)
