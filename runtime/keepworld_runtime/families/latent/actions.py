"""The 81 classes that a move from one latent's camera to the next falls into: 9 ways of going times 9 ways of turning.

Source: WorldPlay (HY-World 1.5), its published code and weights: both models were trained with these numbers.
"""

from __future__ import annotations

import numpy as np
from keepworld.camera import invert_rigid
from numpy.typing import NDArray

MOVES = ("stay", "forward", "back", "right", "left", "forward+right", "forward+left", "back+right", "back+left")
TURNS = ("none", "right", "left", "up", "down", "right+up", "right+down", "left+up", "left+down")
NUM_ACTIONS = len(MOVES) * len(TURNS)

_LEAST_STEP = 1e-4  # the model's units
_LEAST_TURN = 0.05  # degrees
_SECTOR = 60.0  # degrees to either side of an axis: a diagonal is within two of them
# [one way, the other or neither along the first axis][the same along the second]: the order of MOVES and TURNS
_CLASSES = np.array([[0, 3, 4], [1, 5, 6], [2, 7, 8]])


def actions_of(viewmats: NDArray[np.float64], *, turns_only: bool = False) -> NDArray[np.int64]:
    """The class of the move that led to each camera from the one before it.

    Args:
        viewmats: [T, 4, 4] world to camera, OpenCV axes, the model's units.
        turns_only: a camera that turns is not said to move: one that goes round somebody does both.

    Returns:
        [T] int64, 0 to 80; the first camera's is 0.
    """
    actions = np.zeros(len(viewmats), np.int64)
    before_from_after = viewmats[:-1] @ invert_rigid(viewmats[1:])
    turn, turning = _turns(before_from_after[:, :3, :3])
    move = _moves(before_from_after[:, :3, 3])
    actions[1:] = len(TURNS) * np.where(turning & turns_only, 0, move) + turn
    return actions


def words_of(action: int) -> tuple[str, str]:
    """How a class moves and how it turns: one of `MOVES` and one of `TURNS`.

    Raises:
        ValueError: there is no such class.
    """
    if not 0 <= action < NUM_ACTIONS:
        raise ValueError(f"action must be 0 to {NUM_ACTIONS - 1}, got {action}")
    return MOVES[action // len(TURNS)], TURNS[action % len(TURNS)]


def action_named(move: str, turn: str) -> int:
    """The class that moves and turns like this: the inverse of `words_of`.

    Raises:
        ValueError: a word is none of `MOVES`, or none of `TURNS`.
    """
    if move not in MOVES or turn not in TURNS:
        raise ValueError(
            f"move must be one of {', '.join(MOVES)} and turn of {', '.join(TURNS)}, got {move!r}, {turn!r}"
        )
    return MOVES.index(move) * len(TURNS) + TURNS.index(turn)


def _moves(steps: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places in `MOVES` [N] of steps [N, 3] along the camera's axes before them."""
    lengths = np.linalg.norm(steps, axis=-1)
    is_step = lengths > _LEAST_STEP
    cosines = np.clip(steps / np.where(is_step, lengths, 1)[:, None], -1, 1)
    along_x, _, along_z = np.degrees(np.arccos(cosines)).T
    return np.where(is_step, _classes(along_z, along_x, _SECTOR, 180 - _SECTOR), 0)


def _turns(rotations: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Places in `TURNS` [N] of rotations [N, 3, 3], camera after to camera before, and whether they turn at all.

    By the angles of R = Rz(c) · Ry(b) · Rx(a): b is positive to the right, a upwards.
    """
    up = np.degrees(np.arctan2(rotations[:, 2, 1], rotations[:, 2, 2]))
    right = np.degrees(np.arctan2(-rotations[:, 2, 0], np.hypot(rotations[:, 0, 0], rotations[:, 1, 0])))
    turning = (np.abs(right) > _LEAST_TURN) | (np.abs(up) > _LEAST_TURN)
    return _classes(-right, -up, -_LEAST_TURN, _LEAST_TURN), turning


def _classes(first: NDArray[np.float64], second: NDArray[np.float64], below: float, above: float) -> NDArray[np.int64]:
    """The class [N] of two values [N] each: one way is below the first bound, the other way above the second."""
    ways = [np.where(values < below, 1, np.where(values > above, 2, 0)) for values in (first, second)]
    return np.asarray(_CLASSES[ways[0], ways[1]])
