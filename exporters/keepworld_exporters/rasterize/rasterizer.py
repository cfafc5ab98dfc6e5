"""The seam between what needs pictures of splats, with gradients, and what draws them.

Conventions are gsplat's: quats w x y z of any length, scales linear, opacities in [0, 1], harmonics to degree 3, viewmat world to
camera, K in pixels with centres at half integers, 0.3 pixels squared of low-pass filter. Splats that are `antialiased` also lose
in opacity what the filter adds to their area (Yu et al. 2024, "Mip-Splatting"); for the others it is left at that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.scene import Splats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pinhole:
    """A camera: viewmat [4, 4] world to camera and K [3, 3] in pixels, both float64, and the picture's size."""

    viewmat: NDArray[np.float64]
    K: NDArray[np.float64]
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gradients:
    """A loss's gradients by splats and camera, each in the shape of what it is by; 0 for splats that were not seen."""

    means: NDArray[np.float32]
    quats: NDArray[np.float32]
    scales: NDArray[np.float32]
    opacities: NDArray[np.float32]
    sh0: NDArray[np.float32]
    shN: NDArray[np.float32]  # noqa: N815  gsplat's name
    viewmat: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawing:
    """What a camera sees, and the way back.

    Attributes:
        out: [H, W, 5] float32: red, green, blue (sRGB in [0, 1], a little beyond where harmonics overshoot, over black), alpha
            (how much of the pixel is covered) and depth (along +z, weighted like the colours; divide by alpha for the mean).
        seen: [N] bool, the splats that can reach the picture.
        pull: gives the gradients of a loss from its gradient by `out`.
    """

    out: NDArray[np.float32]
    seen: NDArray[np.bool_]
    pull: Callable[[NDArray[np.float32]], Gradients]


class Rasterizer(Protocol):
    """Draws splats so that a loss on the picture can be followed back to them."""

    def draw(self, splats: Splats, camera: Pinhole, *, degree: int) -> Drawing:
        """Draw splats with their harmonics up to `degree`."""
        ...
