"""The closed ways along which creatures go round: on paths, over clearings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.placing import Ground, Place, Spot, Viewer

Floats = NDArray[np.float64]
_STEP = 0.25  # metres between the points of a route


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A closed way: points [N, 2] of x and z, evenly spaced, the first after the last."""

    points: Floats

    @property
    def length(self) -> float:
        """Once round, in metres."""
        return len(self.points) * _STEP

    def at(self, distance: float) -> tuple[float, float, float]:
        """Where one is after some metres, x and z, and the yaw (from z towards x) in which one walks."""
        here, before, after = (self._point(distance + offset) for offset in (0.0, -0.3, 0.3))
        return float(here[0]), float(here[1]), float(np.arctan2(*(after - before)))

    def _point(self, distance: float) -> Floats:
        at = distance / _STEP
        low = int(np.floor(at))
        a, b = self.points[low % len(self.points)], self.points[(low + 1) % len(self.points)]
        return np.asarray(a + (b - a) * (at - low))


def closed(points: Floats) -> Route:
    """Make a route through corners [N, 2], back to the first, rounded off and evenly spaced."""
    ring = np.concatenate([points, points[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(ring, axis=0), axis=1))])
    count = max(8, int(along[-1] / _STEP))
    at = np.linspace(0.0, along[-1], count, endpoint=False)
    even = np.stack([np.interp(at, along, ring[:, k]) for k in range(2)], -1)
    # Corners become bends: a running mean over 1.5 m, round the whole ring.
    kernel = np.hanning(9)[1:-1] / np.hanning(9).sum()
    wrapped = np.concatenate([even[-3:], even, even[:3]])
    return Route(np.stack([np.convolve(wrapped[:, k], kernel, mode="valid") for k in range(2)], -1))


def circle(place: Ground, spot: Spot, radius: float, entry: int) -> Route:
    """Go round a spot, on the free side of what stands about: the roomiest of several rings that begin there."""
    angle = np.linspace(0.0, 2 * np.pi, 48, endpoint=False) * (1 if entry % 2 else -1)
    best, least = np.zeros((0, 2)), np.inf
    for size in (radius, 0.6 * radius, 0.35 * radius):
        for turn in spot.yaw + np.array([np.pi / 2, -np.pi / 2, np.pi, 0.0]):
            x = spot.x + size * (np.sin(turn) - np.sin(turn + angle))
            z = spot.z + size * (np.cos(turn) - np.cos(turn + angle))
            trouble = float(place.blocked(x, z, 0.5).mean()) + 0.02 * (radius - size)
            if trouble < least:
                best, least = np.stack([x, z], -1), trouble
    return closed(best)


def along_path(place: Place, viewer: Viewer, *, reach: float) -> Route | None:
    """Go to and fro on the stretch of the scene's path that lies ahead; None if there is none in view."""
    path = place.spots.get("path")
    if path is None or len(path) < 2:
        return None
    line = np.asarray(path, np.float64)[:, [0, 2]]
    offset = line - viewer.c2w[[0, 2], 3]
    depth = offset @ np.array([np.sin(viewer.heading), np.cos(viewer.heading)])
    away = np.linalg.norm(offset, axis=1)
    seen = (depth > 6.0) & (away < reach) & (depth > 0.75 * away)
    if seen.sum() < 4:
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[0], seen.astype(int), [0]])))
    runs = edges.reshape(-1, 2)
    first, last = runs[int(np.argmax(runs[:, 1] - runs[:, 0]))]
    if last - first < 4:
        return None
    stretch = line[first:last]
    if away[first] < away[last - 1]:  # begin far away, coming nearer
        stretch = stretch[::-1]
    tangent = np.gradient(stretch, axis=0)
    side = np.stack([tangent[:, 1], -tangent[:, 0]], -1) / np.maximum(
        np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9
    )
    there, back = stretch + 0.4 * side, stretch - 0.4 * side
    ring = np.concatenate([there, back[::-1]])
    middle = len(stretch) // 3  # first seen on the way, not at its far end
    return closed(np.roll(ring, -middle, axis=0))
