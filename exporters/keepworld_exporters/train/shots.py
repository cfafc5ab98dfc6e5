"""The frames that splats are trained to look like, made ready to be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.rasterize.rasterizer import Pinhole
from keepworld_exporters.train.loss import Photo, photo

KEPT_BYTES = 400_000_000  # of photographs made ready; the others are made ready each time they are looked at


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shot:
    """A frame to look like: image [H, W, 3] uint8 sRGB, its camera, and mask [H, W] of which pixels count (None: all)."""

    image: NDArray[np.uint8]
    camera: Pinhole
    mask: NDArray[np.bool_] | None = None


class Gallery:
    """Shots as training looks at them: their photographs are kept as long as there is room."""

    def __init__(self, shots: Sequence[Shot]) -> None:
        self._shots = shots
        self._kept: dict[int, Photo] = {}
        self._room = KEPT_BYTES

    def look(self, number: int) -> tuple[Pinhole, Photo]:
        """A shot's camera, as it was given, and its photograph."""
        shot = self._shots[number]
        if number in self._kept:
            return shot.camera, self._kept[number]
        ready = photo(shot.image, shot.mask)
        if ready.nbytes <= self._room:
            self._room -= ready.nbytes
            self._kept[number] = ready
        return shot.camera, ready
