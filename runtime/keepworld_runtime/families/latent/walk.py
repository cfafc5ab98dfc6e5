"""From what hands do in each frame to the camera of each frame and the view of each latent.

A world's first latent is one frame, every other is four. The camera of a latent is that of its last frame, so that frame 4i
belongs to latent i, and what the hands do in the four frames before it is what leads there: moving and turning at once is
the class of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from keepworld.motion import Control, Rates, step_along_view, step_on_ground, turned
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FRAMES_A_LATENT = 4
FPS = 24.0
_AXES = ("move_forward", "move_right", "turn_yaw", "turn_pitch", "speed")
MODES = {"walk": _AXES, "fly": _AXES}
# One latent at full deflection: 0.08 units or 3 degrees (the published motion strings).
RATES = Rates(move=0.08 * FPS / FRAMES_A_LATENT, turn=math.radians(3.0) * FPS / FRAMES_A_LATENT)
_MAX_PITCH = math.radians(85.0)


def walked(
    c2w: Floats, controls: Sequence[Control], poses: Sequence[Floats | None], *, mode: str, is_first: bool
) -> list[Floats]:
    """Where the camera is in each frame, [4, 4] each.

    Args:
        c2w: of the frame before, or, if `is_first`, where the world begins: that is the first frame then.
        controls, poses: one a frame; a pose that is given is used as it is.
        mode: "walk" moves level, "fly" along the view; both keep the horizon.
        is_first: whether these are a world's first frames.
    """
    cameras: list[Floats] = []
    for number, (control, pose) in enumerate(zip(controls, poses, strict=True)):
        if pose is not None:
            c2w = np.array(pose, np.float64)
        elif number or not is_first:
            step = step_on_ground if mode == "walk" else step_along_view
            moved = turned(c2w, control, RATES, 1 / FPS, max_pitch=_MAX_PITCH)
            moved[:3, 3] = c2w[:3, 3] + step(moved, control, RATES, 1 / FPS)
            c2w = moved
        cameras.append(c2w)
    return cameras


def latent_cameras(cameras: Sequence[Floats], *, is_first: bool) -> Floats:
    """The cameras [T, 4, 4] of the latents that frames [1 + 4k, 4, 4] (a world's first) or [4k, 4, 4] make."""
    chosen = cameras[0 if is_first else FRAMES_A_LATENT - 1 :: FRAMES_A_LATENT]
    return np.stack(chosen)
