"""The cameras of latents, and what moved them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from keepworld.camera import invert_rigid
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Views:
    """One view a latent.

    Attributes:
        viewmats: [T, 4, 4] world to camera, float64, OpenCV axes, in the frame of the session's first camera, model units.
        Ks: [T, 3, 3] intrinsics, float64, as fractions of the frame's width and height, the principal point at 0.5.
        actions: [T] int64, the class of the move that led from the latent before to this one, 0 to 80.

    Raises:
        ValueError: the shapes do not fit together.
    """

    viewmats: NDArray[np.float64]
    Ks: NDArray[np.float64]
    actions: NDArray[np.int64]

    def __post_init__(self) -> None:
        num = len(self.actions)
        if self.viewmats.shape != (num, 4, 4) or self.Ks.shape != (num, 3, 3) or self.actions.shape != (num,):
            came = f"{list(self.viewmats.shape)}, {list(self.Ks.shape)} and {list(self.actions.shape)}"
            raise ValueError(f"viewmats, Ks and actions must be [T, 4, 4], [T, 3, 3] and [T], got {came}")

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, chosen: slice | NDArray[np.int64]) -> Views:
        return Views(viewmats=self.viewmats[chosen], Ks=self.Ks[chosen], actions=self.actions[chosen])

    @classmethod
    def none(cls) -> Self:
        """No view at all."""
        return cls(viewmats=np.empty((0, 4, 4)), Ks=np.empty((0, 3, 3)), actions=np.empty(0, np.int64))

    @staticmethod
    def join(parts: Sequence[Views]) -> Views:
        """One after another."""
        return Views(
            viewmats=np.concatenate([part.viewmats for part in parts]),
            Ks=np.concatenate([part.Ks for part in parts]),
            actions=np.concatenate([part.actions for part in parts]),
        )


def rebased(views: Views, to: NDArray[np.float64]) -> Views:
    """The same views told from another camera: the world's frame becomes that of the camera `to`, [4, 4] world to camera.

    In float64, before anything is cast: bfloat16 no longer tells one step from the next 20 units from the origin.
    WorldPlay-5B sees only how cameras lie to each other, so nothing changes for it. WorldPlay-8B's text has no camera and
    stands at the origin, so there the first camera of the session has to remain it.
    """
    return Views(viewmats=views.viewmats @ invert_rigid(to), Ks=views.Ks, actions=views.actions)
