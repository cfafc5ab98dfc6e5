"""Cameras that may be a little off, moved with the splats until both agree with the frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from keepworld_exporters.train.parameters import adam

# What a small turn about each axis and a small step along it do to points before a camera, [6, 4, 4].
_GENERATORS = np.zeros((6, 4, 4))
for _axis, (_row, _column) in enumerate(((2, 1), (0, 2), (1, 0))):
    _GENERATORS[_axis, _row, _column], _GENERATORS[_axis, _column, _row] = 1, -1
    _GENERATORS[3 + _axis, _axis, 3] = 1


@dataclass(kw_only=True, slots=True, eq=False)
class Poses:
    """The frames' cameras as they are now.

    Attributes:
        viewmats: [F, 4, 4] float64, world to camera.
        given: [F, 4, 4] float64, as they were at first.
        first, second: [F, 6] float32, Adam's two moments of turns and steps.
        steps: [F] int64, how often each has been moved.
    """

    viewmats: NDArray[np.float64]
    given: NDArray[np.float64]
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    steps: NDArray[np.int64]

    def learn(self, by_viewmat: NDArray[np.float64], frame: int, rate: float, size: float) -> None:
        """Take a step for a frame.

        Args:
            by_viewmat: [4, 4], the loss's gradient by the frame's viewmat.
            frame: which.
            rate: radians, and parts of the scene's size.
            size: of the scene, its units.
        """
        units = np.array([1, 1, 1, size, size, size])
        by = np.einsum("ij,kij->k", by_viewmat @ self.viewmats[frame].T, _GENERATORS) * units
        steps, gradient = np.zeros_like(self.first), np.zeros_like(self.first)
        gradient[frame] = by
        self.steps[frame] += 1
        adam(steps, gradient, self.first, self.second, np.array([frame]), 6, rate, int(self.steps[frame]))
        self.viewmats[frame] = _motion(steps[frame] * units) @ self.viewmats[frame]

    def settle(self) -> None:
        """Take out what moves all cameras alike: only the splats' frame of reference would move with it."""
        c2ws, before = np.linalg.inv(self.viewmats), np.linalg.inv(self.given)
        turn = Rotation.from_matrix((c2ws @ self.given)[:, :3, :3]).mean().as_matrix()
        alike = np.eye(4)
        alike[:3, :3] = turn
        alike[:3, 3] = c2ws[:, :3, 3].mean(0) - turn @ before[:, :3, 3].mean(0)
        self.viewmats = self.viewmats @ alike


def unmoved(viewmats: Sequence[NDArray[np.float64]]) -> Poses:
    """Cameras [F] of [4, 4] as they were given."""
    given = np.array(viewmats, np.float64).reshape(-1, 4, 4)
    nothing = np.zeros((len(given), 6), np.float32)
    return Poses(
        viewmats=given.copy(), given=given, first=nothing, second=nothing.copy(), steps=np.zeros(len(given), np.int64)
    )  # fmt: skip


def _motion(twist: NDArray[np.float64]) -> NDArray[np.float64]:
    """A turn [0:3] and a step [3:6] as a matrix [4, 4]."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(twist[:3]).as_matrix()
    matrix[:3, 3] = twist[3:]
    return matrix
