"""Where in a scene something goes that an event brings: where the camera of that moment will see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.sampling.noise import generator

Floats = NDArray[np.float64]

_HALF_VIEW = 0.42  # radians to either side that surely are in the picture
_FEW = 60  # of a scene's many spots that are looked at closely
_APART = 3.0  # metres between two things


class Place(Protocol):
    """What placing and walking need to know of a scene; the session's frame, metres, y down."""

    @property
    def spots(self) -> Mapping[str, Floats]:
        """Named points [N, 3]."""
        ...

    def ground(self, x: Floats, z: Floats) -> Floats:
        """Height y of the walkable ground at points [...]."""
        ...

    def blocked(self, x: Floats, z: Floats, radius: float) -> NDArray[np.bool_]:
        """Whether somebody `radius` wide cannot stand at points [...]."""
        ...


@dataclass(frozen=True, slots=True)
class Spot:
    """A chosen place: x, y, z on the ground, and the yaw (from z towards x) that faces the camera."""

    x: float
    y: float
    z: float
    yaw: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Viewer:
    """Who looks on when something is placed.

    Attributes:
        c2w: [4, 4] the camera.
        seed: of the world. entry: which event it is; each event chooses a little differently.
        taken: where things already stand, x and z.
    """

    c2w: Floats
    seed: int
    entry: int
    taken: Sequence[tuple[float, float]] = ()

    @property
    def heading(self) -> float:
        """The yaw the camera looks along, from z towards x."""
        return float(np.arctan2(self.c2w[0, 2], self.c2w[2, 2]))

    def ahead(self, distance: Floats | float, angle: Floats | float = 0.0) -> tuple[Floats, Floats]:
        """The x and z that lie `distance` metres away at `angle` radians right of where the camera looks."""
        bearing = self.heading + np.asarray(angle)
        return self.c2w[0, 3] + distance * np.sin(bearing), self.c2w[2, 3] + distance * np.cos(bearing)


def choose(place: Place, viewer: Viewer, *, distance: float, names: Iterable[str] = (), room: float = 0.8) -> Spot:
    """Find the best place on dry land, about `distance` metres ahead.

    In view, not behind walls or hills, nothing in the way within `room` metres, if possible one of the scene's own spots of
    these `names`. There is always an answer, the least bad one.
    """
    angle, away = np.meshgrid(np.linspace(-_HALF_VIEW, _HALF_VIEW, 15), distance * np.linspace(0.6, 1.8, 13))
    x, z = viewer.ahead(away.ravel(), angle.ravel())
    own = [_in_view(place.spots[name], viewer, distance)[:, [0, 2]] for name in names if name in place.spots]
    named = np.concatenate([*own, np.zeros((0, 2))])
    x, z = np.concatenate([x, named[:, 0]]), np.concatenate([z, named[:, 1]])
    y = place.ground(x, z)
    cost = _cost(place, viewer, np.stack([x, y, z], -1), distance)
    cost += 4.0 * place.blocked(x, z, room) + 4.0 * (y > _water_level(place) - 0.12)
    cost[len(x) - len(named) :] -= 0.5
    best = int(np.argmin(cost))
    return Spot(float(x[best]), float(y[best]), float(z[best]), _facing(viewer, x[best], z[best]))


def choose_among(place: Place, viewer: Viewer, name: str, *, distance: float) -> Spot | None:
    """Find the best of the scene's own spots of one name, or None if it has none."""
    spots = place.spots.get(name)
    if spots is None or not len(spots):
        return None
    spots = _in_view(spots, viewer, distance)
    x, y, z = spots[int(np.argmin(_cost(place, viewer, spots, distance)))]
    return Spot(float(x), float(y), float(z), _facing(viewer, x, z))


def _in_view(spots: Floats, viewer: Viewer, distance: float) -> Floats:
    """The few of many spots [N, 3] that suit a viewer best as far as distance and direction go."""
    return spots[np.argsort(_remoteness(viewer, spots, distance), kind="stable")[:_FEW]]


def _cost(place: Place, viewer: Viewer, points: Floats, distance: float) -> Floats:
    """How ill each point [N, 3] suits a viewer who should see it `distance` metres away, [N]."""
    cost = _remoteness(viewer, points, distance) + 1.5 * _hidden(place, viewer, points)
    for taken_x, taken_z in viewer.taken:
        cost += 3.0 * (np.hypot(points[:, 0] - taken_x, points[:, 2] - taken_z) < _APART)
    return np.asarray(cost + 0.12 * generator(viewer.seed, "place", viewer.entry).random(len(points)))


def _remoteness(viewer: Viewer, points: Floats, distance: float) -> Floats:
    """How far each point [N, 3] is from being `distance` metres straight ahead, [N]; 0 is there, 1 still well in view."""
    dx, dz = points[:, 0] - viewer.c2w[0, 3], points[:, 2] - viewer.c2w[2, 3]
    away = np.hypot(dx, dz)
    off = np.abs((np.arctan2(dx, dz) - viewer.heading + np.pi) % (2 * np.pi) - np.pi)
    return np.asarray(
        1.2 * np.abs(np.log(np.maximum(away, 0.5) / distance)) + off + 3.0 * np.maximum(off - _HALF_VIEW, 0.0)
    )


def _hidden(place: Place, viewer: Viewer, points: Floats) -> Floats:
    """How much of the way from the camera to a metre above each point [N, 3] is blocked or under ground, in [0, 1]."""
    part = np.linspace(0.08, 0.92, 16)[:, None]
    eye, top = viewer.c2w[:3, 3], points - (0.0, 1.0, 0.0)
    x, y, z = (eye[k] + part * (top[:, k] - eye[k]) for k in range(3))
    in_the_way = place.blocked(x, z, 0.05) | (place.ground(x, z) < y)
    return np.minimum(in_the_way.mean(0) * 4.0, 1.0)


def _facing(viewer: Viewer, x: float, z: float) -> float:
    return float(np.arctan2(viewer.c2w[0, 3] - x, viewer.c2w[2, 3] - z))


def _water_level(place: Place) -> float:
    """The y of the scene's water; far below everything if it has none."""
    water = place.spots.get("water")
    return float(np.median(water[:, 1])) if water is not None and len(water) else 1e9
