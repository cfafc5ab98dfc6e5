"""Where an export's files have their origin and what one unit of them is, against the session's frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from keepworld.errors import ExportError
from numpy.typing import NDArray

from keepworld_exporters.scene import Mesh, Points, Scene, Splats

S = TypeVar("S", Points, Mesh, Splats, Scene)
SESSION, GROUND = "session", "ground"
ORIGINS = (SESSION, GROUND)
BESIDE = 0.15  # how far from straight below the camera the ground is looked for, in parts of the distance down
MANY = 8  # places that a ground has


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """A place of the session's frame moved by `shift` (the session's units) and then made `scale` times as large."""

    scale: float = 1.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def matrix(self) -> NDArray[np.float64]:
        """As [4, 4], placed_from_session."""
        out = np.diag([self.scale] * 3 + [1.0])
        out[:3, 3] = self.scale * np.asarray(self.shift)
        return out

    def apply(self, scene: S) -> S:
        """Put a scene of the session's frame there."""
        return _move(scene, self.scale, self.scale * np.asarray(self.shift))

    def undo(self, scene: S) -> S:
        """The inverse of `apply`."""
        return _move(scene, 1 / self.scale, -np.asarray(self.shift))


def _move(scene: S, scale: float, shift: NDArray[np.float64]) -> S:
    if scale == 1.0 and not shift.any():
        return scene

    def moved(places: NDArray[np.float32]) -> NDArray[np.float32]:
        return (scale * places.astype(np.float64) + shift).astype(np.float32)

    out: Points | Mesh | Splats
    match scene:
        case Points():
            out = replace(scene, positions=moved(scene.positions))
        case Mesh():
            out = replace(scene, vertices=moved(scene.vertices))
        case Splats():
            out = replace(scene, means=moved(scene.means), scales=(scene.scales * scale).astype(np.float32))
    return out


def ground_below(eye: NDArray[np.float64], places: NDArray[np.float32]) -> NDArray[np.float64]:
    """The point [3] of the ground straight below a camera at `eye` [3]; places [N, 3] are of surfaces, y points down.

    Raises:
        ExportError: nothing was seen there.
    """
    away = places.astype(np.float64) - eye
    down = away[:, 1]
    below = (down > 0) & (np.hypot(away[:, 0], away[:, 2]) < np.maximum(BESIDE * down, 1e-9))
    width = BESIDE
    while below.sum() < MANY and width < 4:
        # The camera may have seen the ground only some way ahead.
        width *= 2
        below = (down > 0) & (np.hypot(away[:, 0], away[:, 2]) < width * down)
    if below.sum() < MANY:
        raise ExportError("--origin ground: no ground was seen below the first camera; use --origin session")
    nearest = np.sort(down[below])
    return np.array([eye[0], eye[1] + float(np.median(nearest[: max(MANY, len(nearest) // 2)])), eye[2]])
