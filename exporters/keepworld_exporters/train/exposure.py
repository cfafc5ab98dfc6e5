"""A brightness and an offset for each frame, so that a camera that adapted to the light does not end up in the splats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.train.parameters import adam

RATE = 2e-3


@dataclass(kw_only=True, slots=True, eq=False)
class Exposures:
    """What makes a rendering look like a frame: rendering * exp(values[f, :3]) + values[f, 3:].

    Attributes:
        values, first, second: [F, 6] float32, and Adam's two moments of them.
        steps: [F] int64, how often each has been changed.
    """

    values: NDArray[np.float32]
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    steps: NDArray[np.int64]

    def apply(self, image: NDArray[np.float32], frame: int) -> NDArray[np.float32]:
        """Make a rendering [H, W, 3] look like it was taken as the frame was."""
        return image * np.exp(self.values[frame, :3]) + self.values[frame, 3:]

    def learn(self, image: NDArray[np.float32], gradient: NDArray[np.float32], frame: int) -> NDArray[np.float32]:
        """Take a step for a frame, and give the loss's gradient by the rendering from that by what `apply` made of it."""
        by_image = gradient * np.exp(self.values[frame, :3])
        by_values = np.zeros_like(self.values)
        by_values[frame] = np.concatenate([(by_image * image).sum((0, 1)), gradient.sum((0, 1))])
        self.steps[frame] += 1
        adam(
            self.values, by_values, self.first, self.second, np.array([frame]), 6, RATE, int(self.steps[frame])
        )  # fmt: skip
        # Brighter splats and darker exposures look the same: on average a frame is as it is.
        self.values -= self.values.mean(0)
        return by_image


def neutral(frames: int) -> Exposures:
    """Exposures that change nothing."""
    nothing = np.zeros((frames, 6), np.float32)
    return Exposures(values=nothing, first=nothing.copy(), second=nothing.copy(), steps=np.zeros(frames, np.int64))
