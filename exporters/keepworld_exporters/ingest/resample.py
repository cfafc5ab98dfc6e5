"""Pictures through another lens: what a straight lens would have shown, taken from what a bent one did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.ingest.lens import Lens


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Resampling:
    """How the pixels of a picture are found in another.

    Attributes:
        lens: of the picture that is made; straight.
        reduce: by which whole factor the given picture is averaged first, so that no detail is skipped.
        places: [H, W, 2] float32, where each pixel lies in the averaged picture; None where nothing has to be done.
    """

    lens: Lens
    reduce: int
    places: NDArray[np.float32] | None

    def picture(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Make [H, W, 3] of the given [H, W, 3], between four pixels each."""
        if self.places is None:
            return image
        return np.asarray(_bilinear(_averaged(image, self.reduce), self.places))

    def nearest(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Make [H, W] of labels or depth [H, W] of the given picture: the nearest pixel's, nothing mixed."""
        if self.places is None:
            return values
        places = np.floor(self.places * self.reduce).astype(np.int64)
        rows = np.clip(places[..., 1], 0, values.shape[0] - 1)
        return np.asarray(values[rows, np.clip(places[..., 0], 0, values.shape[1] - 1)])


def resampling(lens: Lens, width: int, height: int) -> Resampling:
    """How a lens's pictures become straight ones of a size.

    Raises:
        ValueError: the lens bends so that nothing would be left.
    """
    if lens.is_straight and (width, height) == (lens.width, lens.height):
        return Resampling(lens=lens, reduce=1, places=None)
    straight = lens.straightened(width, height)
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([(u - straight.cx) / straight.fx, (v - straight.cy) / straight.fy], -1)
    places = lens.project(rays)
    step = np.median(np.abs(np.diff(places[..., 0], axis=1))) if width > 1 else 1.0
    reduce = max(1, int(step + 0.01))
    return Resampling(lens=straight, reduce=reduce, places=(places / reduce).astype(np.float32))


def _averaged(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """A picture [H, W, 3] made smaller by a whole factor, over what is left of the last rows and columns too."""
    if factor == 1:
        return image
    from PIL import Image

    return np.asarray(Image.fromarray(image).reduce(factor))


@njit(cache=True, parallel=True)
def _bilinear(image: NDArray[np.uint8], places: NDArray[np.float32]) -> NDArray[np.uint8]:
    height, width = places.shape[0], places.shape[1]
    out = np.empty((height, width, 3), np.uint8)
    rows, columns = image.shape[0], image.shape[1]
    for v in prange(height):
        for u in range(width):
            x = min(max(np.float64(places[v, u, 0]) - 0.5, 0.0), columns - 1.0)
            y = min(max(np.float64(places[v, u, 1]) - 0.5, 0.0), rows - 1.0)
            i, j = int(x), int(y)
            i1, j1 = min(i + 1, columns - 1), min(j + 1, rows - 1)
            a, b = x - i, y - j
            for k in range(3):
                above = image[j, i, k] * (1 - a) + image[j, i1, k] * a
                under = image[j1, i, k] * (1 - a) + image[j1, i1, k] * a
                out[v, u, k] = np.uint8(above * (1 - b) + under * b + 0.5)
    return out
