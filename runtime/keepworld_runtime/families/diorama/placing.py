"""Where in a scene something goes that an event brings: where the camera of that moment will see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.spec import SceneSpec
from keepworld_runtime.sampling.noise import generator

Floats = NDArray[np.float64]

_HALF_VIEW = 0.42  # radians to either side that surely are in the picture
_FEW = 60  # of a scene's many spots that are looked at closely
_VERGE = 2.4  # metres beside the path's middle
_DRAUGHT = 0.6  # metres of water a boat needs
_APART = 3.0  # metres between two things


class Ground(Protocol):
    """What walking needs to know of a scene; the session's frame, metres, y down."""

    def ground(self, x: Floats, z: Floats) -> Floats:
        """Height y of the walkable ground at points [...]."""
        ...

    def blocked(self, x: Floats, z: Floats, radius: float) -> NDArray[np.bool_]:
        """Whether somebody `radius` wide cannot stand at points [...]."""
        ...


class Place(Ground, Protocol):
    """What placing things needs to know of a scene besides."""

    @property
    def spec(self) -> SceneSpec:
        """What it was built from."""
        ...

    @property
    def spots(self) -> Mapping[str, Floats]:
        """Named points [N, 3]."""
        ...

    def sees(self, eye: Floats, points: Floats) -> NDArray[np.bool_]:
        """Whether nothing of the scene is between an eye [3] and each of some points [..., 3]."""
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


def spots_of(place: Place, name: str) -> Floats:
    """The scene's own spots of a name, [N, 3]; none if it has no such spots."""
    return np.asarray(place.spots.get(name, np.zeros((0, 3))), np.float64).reshape(-1, 3)


def wayside(place: Place) -> Floats:
    """Places [N, 3] just off the path, on either side."""
    path = spots_of(place, "path")
    if len(path) < 2:
        return np.zeros((0, 3))
    along = np.gradient(path[:, [0, 2]], axis=0)
    side = np.stack([along[:, 1], -along[:, 0]], -1) / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    x, z = np.concatenate([path[:, [0, 2]] + 1.7 * side, path[:, [0, 2]] - 1.7 * side]).T
    return np.stack([x, place.ground(x, z), z], -1)


def choose(
    place: Place, viewer: Viewer, *, distance: float, among: Floats | None = None, room: float = 0.8, aside: float = 0.0
) -> Spot:
    """Find the best place on dry land, about `distance` metres ahead and `aside` radians to either side.

    In view, not behind walls or hills, nothing in the way within `room` metres, preferably `among` places [N, 3] that suit.
    There is always an answer, the least bad one.
    """
    liked = _in_view(np.zeros((0, 3)) if among is None else among, viewer, distance)
    points = np.concatenate([liked, _fan(place, viewer, distance)])
    cost = _cost(place, viewer, points, distance, aside)
    cost += 4.0 * place.blocked(points[:, 0], points[:, 2], room) + 4.0 * (points[:, 1] > _water_level(place) - 0.12)
    cost[: len(liked)] -= 0.5
    if room >= 1.0:  # what is wide keeps off the path and the fences along it
        cost += 0.8 * (_path_distance(place, points) < _VERGE + room)
    return _spot(viewer, points[int(np.argmin(cost))])


def choose_afloat(place: Place, viewer: Viewer, *, distance: float) -> Spot | None:
    """Find the best place on the water, about `distance` metres ahead; None if no water can be seen from there."""
    own = spots_of(place, "water")
    if not len(own):
        return None
    fan = np.concatenate([_fan(place, viewer, distance), _fan(place, viewer, 2.5 * distance)])
    level = _water_level(place)
    points = np.concatenate([_in_view(own, viewer, distance), fan[fan[:, 1] > level + _DRAUGHT]])
    points[:, 1] = level
    off = _off_axis(viewer, points)
    seen = (off < 1.3 * _HALF_VIEW) & (hidden(place, viewer, points, (0.15, 0.4)) < 0.1)
    if not seen.any():
        return None
    points = points[seen]
    return _spot(viewer, points[int(np.argmin(_cost(place, viewer, points, distance, 0.0)))])


def _fan(place: Place, viewer: Viewer, distance: float) -> Floats:
    """Points [N, 3] on the ground in view, about a distance away."""
    angle, away = np.meshgrid(np.linspace(-1.2, 1.2, 15) * _HALF_VIEW, distance * np.linspace(0.6, 1.8, 13))
    x, z = viewer.ahead(away.ravel(), angle.ravel())
    return np.stack([x, place.ground(x, z), z], -1)


def _spot(viewer: Viewer, point: Floats) -> Spot:
    x, y, z = (float(value) for value in point)
    return Spot(x, y, z, float(np.arctan2(viewer.c2w[0, 3] - x, viewer.c2w[2, 3] - z)))


def _in_view(spots: Floats, viewer: Viewer, distance: float) -> Floats:
    """The few of many spots [N, 3] that suit a viewer best as far as distance and direction go."""
    return spots[np.argsort(_remoteness(viewer, spots, distance), kind="stable")[:_FEW]]


def _cost(place: Place, viewer: Viewer, points: Floats, distance: float, aside: float) -> Floats:
    """How ill each point [N, 3] suits a viewer who should see it `distance` metres away, [N]."""
    cost = _remoteness(viewer, points, distance, aside) + 1.5 * hidden(place, viewer, points)
    for taken_x, taken_z in viewer.taken:
        cost += 3.0 * (np.hypot(points[:, 0] - taken_x, points[:, 2] - taken_z) < _APART)
    return np.asarray(cost + 0.12 * generator(viewer.seed, "place", viewer.entry).random(len(points)))


def _remoteness(viewer: Viewer, points: Floats, distance: float, aside: float = 0.0) -> Floats:
    """How far each point [N, 3] is from being `distance` metres ahead, `aside` radians off; 0 is there, 1 still in view."""
    dx, dz = points[:, 0] - viewer.c2w[0, 3], points[:, 2] - viewer.c2w[2, 3]
    away = np.hypot(dx, dz)
    off = _off_axis(viewer, points)
    return np.asarray(
        1.2 * np.abs(np.log(np.maximum(away, 0.5) / distance))
        + np.abs(off - aside)
        + 3.0 * np.maximum(off - _HALF_VIEW, 0.0)
    )


def _off_axis(viewer: Viewer, points: Floats) -> Floats:
    """How many radians to either side of where the camera looks each point [N, 3] lies, [N]."""
    bearing = np.arctan2(points[:, 0] - viewer.c2w[0, 3], points[:, 2] - viewer.c2w[2, 3])
    return np.asarray(np.abs((bearing - viewer.heading + np.pi) % (2 * np.pi) - np.pi))


def _path_distance(place: Place, points: Floats) -> Floats:
    """Metres from each point [N, 3] to the nearest of the path's, [N]; far if there is no path."""
    path = spots_of(place, "path")
    if not len(path):
        return np.full(len(points), 1e9)
    return np.asarray(np.hypot(*(points[:, None, k] - path[None, :, k] for k in (0, 2))).min(1))


def hidden(place: Place, viewer: Viewer, points: Floats, heights: tuple[float, ...] = (0.3, 1.0, 1.7)) -> Floats:
    """How much cannot be seen of what stands on each point [N, 3], in [0, 1], judged at some heights."""
    up = np.array([(0.0, -height, 0.0) for height in heights])
    return np.asarray(1.0 - place.sees(viewer.c2w[:3, 3], points[:, None] + up).mean(1))


def _water_level(place: Place) -> float:
    """The y of the scene's water; far below everything if it has none."""
    water = spots_of(place, "water")
    return float(np.median(water[:, 1])) if len(water) else 1e9
