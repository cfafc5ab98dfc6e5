"""How sharp a picture is, to compare it with others of the same place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)


def sharpness(image: NDArray[np.uint8]) -> float:
    """Energy of the finest detail against that of the coarser detail; [H, W, 3] uint8, of at least 8 x 8 pixels.

    A ratio, so that contrast and light do not count, and a place with much to see is not called sharp for that. Blur takes
    the finest detail first. Source: the variance of the Laplacian (Pech-Pacheco et al. 2000), here at two scales.
    """
    grey = image.astype(np.float32) @ _WEIGHTS
    half = grey[: grey.shape[0] // 2 * 2, : grey.shape[1] // 2 * 2]
    half = (half[::2, ::2] + half[1::2, ::2] + half[::2, 1::2] + half[1::2, 1::2]) / 4
    fine, coarse = float(_laplacian(grey).var()), float(_laplacian(half).var())
    return fine / (coarse + 1.0)


def _laplacian(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    inner = grey[1:-1, 1:-1]
    return np.asarray(grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner)
