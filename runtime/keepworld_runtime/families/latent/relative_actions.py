"""RELIC's action: how a camera moves and turns in one frame, as 13 numbers, from a path of cameras and back.

Six pairs of magnitudes, the first of a pair one way and the second the other, and a flag:
dolly in, out · truck left, right · pedestal up, down · tilt up, down · pan left, right · roll clockwise, anticlockwise ·
static. Moves are in units of the path's mean step, so that slow and fast walks look alike; angles are radians.
Source: RELIC, arXiv:2512.04040. The order of the three turns is ours, and such that a level walk has no roll: pan, tilt, roll.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from keepworld.camera import invert_rigid
from numpy.typing import NDArray

NAMES = (
    "dolly_in", "dolly_out", "truck_left", "truck_right", "pedestal_up", "pedestal_down", "tilt_up", "tilt_down",
    "pan_left", "pan_right", "roll_clockwise", "roll_anticlockwise", "static",
)  # fmt: skip
_STATIC = len(NAMES) - 1
_LEAST = 1e-9  # units, radians: less is rounding


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RelativeActions:
    """A path told step by step.

    Attributes:
        vectors: [N, 13] float64, as `NAMES`.
        mean_step: how far the camera goes in a step of magnitude 1, in the path's units; 0 if it goes nowhere.
    """

    vectors: NDArray[np.float64]
    mean_step: float


def encode(viewmats: NDArray[np.float64]) -> RelativeActions:
    """Tell a path of cameras [N + 1, 4, 4], world to camera, step by step."""
    after_from_before = viewmats[1:] @ invert_rigid(viewmats[:-1])
    before_from_after = invert_rigid(after_from_before)
    steps = before_from_after[:, :3, 3]  # along the axes of the camera that takes them
    lengths = np.linalg.norm(steps, axis=-1)
    mean_step = float(lengths[lengths > _LEAST].mean()) if (lengths > _LEAST).any() else 0.0
    right, down, forward = (steps / (mean_step or 1.0)).T
    pan, tilt, roll = _angles(before_from_after[:, :3, :3])
    signed = np.stack([forward, -right, -down, tilt, -pan, roll], axis=-1)
    signed[np.abs(signed) <= _LEAST] = 0
    vectors = np.zeros((len(steps), len(NAMES)))
    vectors[:, 0:_STATIC:2] = np.maximum(signed, 0)
    vectors[:, 1:_STATIC:2] = np.maximum(-signed, 0)
    vectors[:, _STATIC] = (signed == 0).all(axis=-1)
    return RelativeActions(vectors=vectors, mean_step=mean_step)


def decode(actions: RelativeActions, start: NDArray[np.float64], *, speed: float = 1.0) -> NDArray[np.float64]:
    """Walk the steps from the camera `start` [4, 4], world to camera.

    Args:
        actions: N of them. A step's moves are taken before its turns; the flag says nothing that the others do not.
        start: where they begin.
        speed: makes every move so much longer; turns stay.

    Returns:
        [N + 1, 4, 4] world to camera.

    Raises:
        ValueError: the vectors are not [N, 13] magnitudes, or a static one moves.
    """
    vectors = actions.vectors
    if vectors.ndim != 2 or vectors.shape[1] != len(NAMES):
        raise ValueError(f"vectors must be [N, {len(NAMES)}], got {list(vectors.shape)}")
    if not (np.isfinite(vectors).all() and (vectors >= 0).all()):
        raise ValueError("vectors must hold finite magnitudes, got one that is negative or no number")
    if ((vectors[:, _STATIC] > 0) & (vectors[:, :_STATIC] > 0).any(axis=-1)).any():
        raise ValueError("a static step must not move or turn")
    c2w = invert_rigid(start)
    path = [c2w]
    for forward, left, up, tilt, pan_left, roll in vectors[:, 0:_STATIC:2] - vectors[:, 1:_STATIC:2]:
        step = np.array([-left, -up, forward]) * actions.mean_step * speed
        after = np.eye(4)
        after[:3, :3] = c2w[:3, :3] @ _rotation(-pan_left, tilt, roll)
        after[:3, 3] = c2w[:3, 3] + c2w[:3, :3] @ step
        path.append(c2w := after)
    return invert_rigid(np.stack(path))


def _angles(rotations: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Pan to the right, tilt up and roll clockwise, [N] each, of rotations [N, 3, 3] = Ry(pan) · Rx(tilt) · Rz(roll)."""
    pan = np.arctan2(rotations[:, 0, 2], rotations[:, 2, 2])
    tilt = np.arctan2(-rotations[:, 1, 2], np.hypot(rotations[:, 0, 2], rotations[:, 2, 2]))
    roll = np.arctan2(rotations[:, 1, 0], rotations[:, 1, 1])
    return pan, tilt, roll


def _rotation(pan: float, tilt: float, roll: float) -> NDArray[np.float64]:
    """The rotation [3, 3] whose `_angles` these are."""
    (sp, st, sr), (cp, ct, cr) = np.sin([pan, tilt, roll]), np.cos([pan, tilt, roll])
    panned = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    tilted = np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]])
    rolled = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(panned @ tilted @ rolled)
