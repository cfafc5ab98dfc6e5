"""What events bring: from a word to something that stands, floats, walks or flies in the scene, at any instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama import creature_meshes, thing_meshes
from keepworld_runtime.families.diorama.biomes import BIOMES
from keepworld_runtime.families.diorama.meshes import Mesh, join
from keepworld_runtime.families.diorama.placing import (
    Place,
    Spot,
    Viewer,
    choose,
    choose_afloat,
    hidden,
    spots_of,
    wayside,
)
from keepworld_runtime.families.diorama.plants import KINDS
from keepworld_runtime.families.diorama.routes import Route, along_path, circle
from keepworld_runtime.families.diorama.shown import Shown
from keepworld_runtime.families.diorama.spec import Part
from keepworld_runtime.families.diorama.spectacles import Explosion, Fireworks, embers
from keepworld_runtime.sampling.noise import generator

Floats = NDArray[np.float64]
_FIRE, _LANTERN = (6.0, 3.1, 1.15), (2.8, 1.85, 0.95)


class Thing(Protocol):
    """Something an event has brought."""

    def show(self, shown: Shown, *, age_s: float, time_s: float, amount: float) -> None:
        """Add it to what is shown, `age_s` after its event began, `amount` in [0, 1] of it being there."""
        ...

    def footprint(self) -> list[tuple[float, float]]:
        """Where it stands, x and z, for others to keep away from; empty if it moves on."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Flame:
    """A fire or lamp that belongs to a thing that stands: where its light is (x, up, z, unturned) and how it burns."""

    at: tuple[float, float, float]
    power: tuple[float, float, float]
    reach: float
    size: float  # of the visible flame; 0 for a lamp


class Standing:
    """Things that grow where they stand and then stay, with or without a fire: part of the lasting world once there."""

    def __init__(self, mesh: Mesh, spots: list[Spot], flame: Flame | None = None) -> None:
        self._mesh, self._spots, self._flame = mesh, spots, flame
        self._whole = self._grown(1.0)

    def _grown(self, amount: float) -> Part:
        size = max(amount, 1e-3)
        placed = [self._mesh.placed(spot.x, -spot.y, spot.z, yaw=spot.yaw, scale=size) for spot in self._spots]
        return join(placed).to_session()

    def show(self, shown: Shown, *, age_s: float, time_s: float, amount: float) -> None:
        """See `Thing`."""
        if amount >= 1.0:
            shown.lasting.append(self._whole)
        else:
            shown.moving.append(self._grown(amount))
        if self._flame is None:
            return
        for number, spot in enumerate(self._spots):
            self._burn(self._flame, spot, time_s + 3.7 * number, amount, shown)

    def _burn(self, flame: Flame, spot: Spot, time_s: float, amount: float, shown: Shown) -> None:
        if flame.size:
            fire = thing_meshes.flame(time_s, flame.size * amount)
            shown.moving.append(fire.placed(spot.x, -spot.y, spot.z, yaw=spot.yaw).to_session())
            embers(shown, spot, time_s, amount)
        flicker = 1.0 + (0.11 * np.sin(9.1 * time_s) + 0.07 * np.sin(15.7 * time_s + 1.0)) * (
            1.0 if flame.size else 0.25
        )
        x, up, z = flame.at
        c, s = np.cos(spot.yaw), np.sin(spot.yaw)
        red, green, blue = (colour * amount * flicker for colour in flame.power)
        at = spot.x + c * x + s * z, spot.y - up * amount, spot.z - s * x + c * z
        shown.lights.append((*at, red, green, blue, flame.reach))

    def footprint(self) -> list[tuple[float, float]]:
        """See `Thing`."""
        return [(spot.x, spot.z) for spot in self._spots]


class Moored:
    """A boat: it glides to its place and lies there still."""

    def __init__(self, spot: Spot) -> None:
        self._spot = spot
        self._whole = self._at(0.0, 1.0)

    def _at(self, back: float, size: float) -> Part:
        spot = self._spot
        x, z = spot.x - back * np.sin(spot.yaw), spot.z - back * np.cos(spot.yaw)
        return thing_meshes.boat().placed(x, -spot.y, z, yaw=spot.yaw, scale=size).to_session()

    def show(self, shown: Shown, *, age_s: float, time_s: float, amount: float) -> None:
        """See `Thing`."""
        if amount >= 1.0:
            shown.lasting.append(self._whole)
        else:
            shown.moving.append(self._at(3.0 * (1.0 - amount), min(1.0, 0.05 + 3.0 * amount)))

    def footprint(self) -> list[tuple[float, float]]:
        """See `Thing`."""
        return [(self._spot.x, self._spot.z)]


class Balloon:
    """A hot-air balloon: it rises from behind the land and drifts round a point in the sky."""

    def __init__(self, centre: Floats, variant: int) -> None:
        self._centre, self._mesh, self._phase = centre, thing_meshes.balloon(variant), 1.3 * variant

    def show(self, shown: Shown, *, age_s: float, time_s: float, amount: float) -> None:
        """See `Thing`."""
        x, y, z = self._centre
        turn = 2 * np.pi * age_s / 75.0 + self._phase
        up = -y + 0.5 * np.sin(age_s * 0.7) - 26.0 * (1.0 - amount)
        floating = self._mesh.placed(x + 4.0 * np.sin(turn), up, z + 2.5 * np.cos(turn), yaw=0.15 * turn)
        shown.moving.append(floating.to_session())

    def footprint(self) -> list[tuple[float, float]]:
        """See `Thing`."""
        return [(float(self._centre[0]), float(self._centre[2]))]


@dataclass(frozen=True, slots=True, eq=False)
class Walking:
    """A creature that goes round a route.

    Attributes:
        pose: its mesh at a point of its stride.
        speed: metres a second. stride: metres of two steps.
    """

    place: Place
    route: Route
    pose: Callable[[float], Mesh]
    speed: float
    stride: float

    def show(self, shown: Shown, *, age_s: float, time_s: float, amount: float) -> None:
        """See `Thing`."""
        gone = self.speed * age_s
        x, z, yaw = self.route.at(gone)
        ground = float(self.place.ground(np.array(x), np.array(z)))
        mesh = self.pose(2 * np.pi * gone / self.stride)
        size = amount ** (1 / 3)  # full-grown soon: what is small looks far away
        shown.moving.append(mesh.placed(x, -ground, z, yaw=yaw, scale=size).to_session())

    def footprint(self) -> list[tuple[float, float]]:
        """See `Thing`."""
        return []


class Flock:
    """Birds that circle above, each a little by itself."""

    _COUNT, _RADIUS, _SPEED = 13, 11.0, 8.0

    def __init__(self, centre: Floats, rng: np.random.Generator) -> None:
        self._centre = centre
        self._offsets = rng.uniform((-3.0, -1.2, -0.30), (3.0, 1.6, 0.30), (self._COUNT, 3))  # outwards, up, round
        self._rhythm = rng.uniform(7.5, 10.5, self._COUNT)

    def show(self, shown: Shown, *, age_s: float, time_s: float, amount: float) -> None:
        """See `Thing`."""
        birds = []
        for (outwards, up, ahead), rhythm in zip(self._offsets, self._rhythm, strict=True):
            radius = self._RADIUS + outwards + 0.6 * np.sin(0.5 * age_s + rhythm)
            turn = self._SPEED * age_s / self._RADIUS + 2.2 * ahead
            x, z = self._centre[0] + radius * np.sin(turn), self._centre[2] + radius * np.cos(turn)
            high = -self._centre[1] + up + 0.5 * np.sin(0.9 * age_s + rhythm)
            flap = 0.15 + 0.65 * np.sin(rhythm * age_s + 9.0 * ahead)
            birds.append(
                creature_meshes.bird(flap).placed(x, high, z, yaw=turn + np.pi / 2, scale=1.5 * amount ** (1 / 3))
            )
        shown.moving.append(join(birds).to_session())

    def footprint(self) -> list[tuple[float, float]]:
        """See `Thing`."""
        return []


def _campfire(place: Place, viewer: Viewer) -> Thing:
    spot = choose(place, viewer, distance=8.5, among=spots_of(place, "clearing"), room=1.4)
    return Standing(thing_meshes.fireplace(), [spot], Flame((0.0, 0.8, 0.0), _FIRE, 16.0, 0.72))


def _lanterns(place: Place, viewer: Viewer) -> Thing:
    spots: list[Spot] = []
    for distance in (6.5, 10.5, 15.0, 20.0):
        taken = (*viewer.taken, *((spot.x, spot.z) for spot in spots))
        there = replace(viewer, taken=taken)
        spots.append(choose(place, there, distance=distance, among=wayside(place), room=0.3))
    return Standing(thing_meshes.lantern_post(), spots, Flame(thing_meshes.LANTERN_LIGHT, _LANTERN, 11.0, 0.0))


def _tree(place: Place, viewer: Viewer) -> Thing:
    rng = generator(viewer.seed, "tree", viewer.entry)
    shares = BIOMES[place.spec.biome].trees
    kind = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    spot = choose(place, viewer, distance=17.0, among=spots_of(place, "clearing"), room=1.6, aside=0.24)
    return Standing(KINDS[kind].grow(rng, 2), [spot])


def _boat(place: Place, viewer: Viewer) -> Thing:
    spot = choose_afloat(place, viewer, distance=16.0)
    if spot is None:  # no water in sight: drawn up on land
        spot = choose(place, viewer, distance=10.0, among=spots_of(place, "shore"), room=1.8)
        return Moored(Spot(spot.x, spot.y - 0.2, spot.z, spot.yaw + 1.1))
    return Moored(Spot(spot.x, spot.y, spot.z, spot.yaw + 1.1))


def _balloon(place: Place, viewer: Viewer) -> Thing:
    side = -0.22 if viewer.entry % 2 else 0.2
    angle, away = (grid.ravel() for grid in np.meshgrid(np.linspace(-0.36, 0.36, 13), (46.0, 58.0, 72.0)))
    x, z = viewer.ahead(away, angle)
    y = np.minimum(viewer.c2w[1, 3] - 0.11 * away, place.ground(x, z) - 4.0)
    places = np.stack([x, y, z], -1)
    cost = (
        3.0 * hidden(place, viewer, places, (1.0, 5.0, 9.0, 14.0)) + np.abs(angle - side) + 0.01 * np.abs(away - 58.0)
    )
    # Where the land lies high it could not rise into the picture.
    cost += 0.15 * np.maximum(viewer.c2w[1, 3] - 0.13 * away - y, 0.0)
    return Balloon(places[int(np.argmin(cost))], viewer.entry)


def _deer(place: Place, viewer: Viewer) -> Thing:
    route = circle(
        place, choose(place, viewer, distance=12.0, among=spots_of(place, "clearing"), room=1.0), 4.5, viewer.entry
    )
    return Walking(place, route, creature_meshes.deer, 0.9, 1.5)


def _fox(place: Place, viewer: Viewer) -> Thing:
    route = circle(place, choose(place, viewer, distance=7.5, among=spots_of(place, "clearing")), 4.0, viewer.entry)
    return Walking(place, route, creature_meshes.fox, 1.6, 0.8)


def _walker(place: Place, viewer: Viewer) -> Thing:
    route = along_path(place, viewer, reach=32.0)
    if route is None:
        route = circle(place, choose(place, viewer, distance=10.0), 5.0, viewer.entry)
    return Walking(place, route, lambda stride: creature_meshes.walker(stride, viewer.entry), 1.2, 1.35)


def _birds(place: Place, viewer: Viewer) -> Thing:
    x, z = viewer.ahead(32.0)
    return Flock(np.array([x, viewer.c2w[1, 3] - 7.5, z], np.float64), generator(viewer.seed, "birds", viewer.entry))


BUILDERS: Mapping[str, Callable[[Place, Viewer], Thing]] = {
    "balloon": _balloon, "campfire": _campfire, "boat": _boat, "lantern": _lanterns, "tree": _tree,
    "deer": _deer, "fox": _fox, "walker": _walker, "birds": _birds,
    "fireworks": Fireworks, "explosion": Explosion,
}  # fmt: skip
