"""Which way is up, where the ground is, and how large the world: what pictures alone leave open, from how people take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from keepworld.errors import ExportError
from numpy.typing import NDArray

UP = np.array([0.0, -1.0, 0.0])  # of a session's frame: y points down
TRIES = 2000
MAX_SLOPE = np.deg2rad(12)  # of the ground against the level
MIN_SHARE = 0.1  # of the points below the cameras that must lie on it
FLAT = 0.02  # of the cameras' height: how thick the ground may be
SEED = 20_26


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ground:
    """A plane: `normal` [3] upwards, unit length; places p on it have ``normal @ p == offset``; `share` of the points below."""

    normal: NDArray[np.float64]
    offset: float
    share: float

    def height(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far above it places [..., 3] are."""
        return np.asarray(places @ self.normal - self.offset)


def up_axis(c2ws: NDArray[np.float64]) -> NDArray[np.float64]:
    """The direction [3] that is up in the world of cameras [N, 4, 4] held without roll, however they look up or down.

    Their x axes are level: up is the direction that all of them are most nearly square to, on the side of their own up. Where
    the x axes hardly turn, which leaves it open how far the cameras look up or down, it is the mean of their own up.
    """
    across, own = c2ws[:, :3, 0], -c2ws[:, :3, 1].mean(0)
    spread, axes = np.linalg.eigh(across.T @ across / len(across))
    if spread[1] < 0.01:
        return np.asarray(own / np.linalg.norm(own))
    return np.asarray(axes[:, 0] * np.sign(axes[:, 0] @ own))


def level(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest rotation [3, 3] that takes a direction to up as a session has it."""
    axis, cosine = np.cross(up, UP), float(up @ UP)
    if cosine < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + cosine))


def find_ground(points: NDArray[np.float64], centres: NDArray[np.float64], up: NDArray[np.float64] = UP) -> Ground:
    """The plane below the cameras that most points lie on, nearly level.

    Args:
        points: [P, 3] of the world's surface.
        centres: [N, 3] where the cameras stood.
        up: [3] which way is up, about.

    Raises:
        ExportError: no plane stands out.
    """
    middle = float(np.median(centres @ up))
    below = points[(points @ up < middle) & np.isfinite(points).all(1)]
    if len(below) < 30:
        raise ExportError(f"the ground cannot be found: only {len(below)} points lie below the cameras")
    rng = np.random.default_rng(SEED)
    if len(below) > 20_000:
        below = below[rng.choice(len(below), 20_000, replace=False)]
    best: tuple[float, NDArray[np.float64], float] | None = None
    for corners in rng.choice(len(below), (TRIES, 3)):
        a, b, c = below[corners]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-12:
            continue
        normal = normal / length * np.sign(normal @ up)
        height = middle - float(normal @ a)
        if normal @ up < np.cos(MAX_SLOPE) or height <= 0:
            continue
        share = float((np.abs(below @ normal - normal @ a) < FLAT * height).mean())
        # A table has as many points as a floor: of planes that are about as good the lower one.
        if best is None or share > 1.1 * best[0] or (share > 0.9 * best[0] and normal @ a < best[2]):
            best = (share, normal, float(normal @ a))
    if best is None or best[0] < MIN_SHARE:
        raise ExportError("the ground cannot be found: no level plane below the cameras has enough points on it")
    near = below[np.abs(below @ best[1] - best[2]) < FLAT * (middle - best[2])]
    centre = near.mean(0)
    normal = np.linalg.svd(near - centre)[2][2]
    normal *= np.sign(normal @ up)
    return Ground(normal=normal, offset=float(np.median(near @ normal)), share=best[0])
