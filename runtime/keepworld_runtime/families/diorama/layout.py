"""Where things go: a composition made for the first camera, which stands at the origin and looks along +z.

A path runs from behind the camera past the settlement to the landmark. The settlement stands to one side of the middle,
the landmark behind it to the other, and still water lies in front of the landmark. Plan coordinates are (x, z), metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.field import value_noise
from keepworld_runtime.families.diorama.spec import SceneSpec
from keepworld_runtime.sampling.noise import generator

Floats = NDArray[np.float64]
HOUSES = {"none": 0, "cottage": 1, "hamlet": 5, "village": 12}
WATER_LEVEL = -1.0  # metres; the land around the start lies about 0
HOUSE_CLEARANCE = 5.4  # metres from a house's middle to where it surely ends
_PATH_STEP = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A place for a building: its middle, and `yaw` radians from z towards x that its back faces."""

    x: float
    z: float
    yaw: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """Where the path crosses the channel: middle, direction, and half the length and width of the deck, metres."""

    x: float
    z: float
    yaw: float
    half_length: float
    half_width: float


class Layout:
    """The plan of one scene.

    Attributes:
        side: +1 or -1, on which side of the view the settlement stands.
        path: [N, 2] points one metre apart, from behind the camera to beyond the landmark.
        houses: sites, the nearest to the camera first.
        landmark: its site, if there is one that is not a bridge.
        crossing: the bridge, if the path crosses a channel.
        has_water: whether anything is filled.
    """

    def __init__(self, spec: SceneSpec) -> None:
        rng = generator(spec.seed, "layout")
        self.spec = spec
        self.side = float(rng.choice([-1.0, 1.0]))
        self.has_water = spec.water != "none"
        self.has_channel = spec.water == "river" or spec.landmark == "bridge"
        self._phase = float(rng.uniform(0, 2 * np.pi))
        self._channel_z = float(rng.uniform(17.5, 20.0))
        self._channel_half_width = 3.4 if spec.water == "river" else 2.6
        self.settlement = np.array([self.side * rng.uniform(4.0, 7.0), rng.uniform(33.0, 37.0)])
        self.landmark = self._place_landmark(rng)
        self.path = self._draw_path(rng)
        self.crossing = self._find_crossing()
        self.houses = self._place_houses(rng)

    def shore_distance(self, x: Floats, z: Floats) -> Floats:
        """Metres to the nearest still water or sea at points [...]: negative inside, large when there is none."""
        x, z = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(z, np.float64))
        wobble = value_noise(x, z, self.spec.seed, "shore", 13.0)
        if self.spec.water == "sea":
            inland = 25.0 + self.side * x + 5.0 * wobble + 3.0 * np.sin(z / 23.0 + self._phase)
            ahead = 98.0 - z + 8.0 * wobble
            return np.asarray(np.minimum(inland, ahead) - 4.0 * np.exp(-(((inland - ahead) / 12.0) ** 2)))
        if self.spec.water in ("pond", "lake"):
            cx, cz, rx, rz = (-10.5, 18.5, 7.2, 6.4) if self.spec.water == "pond" else (-31.0, 42.0, 24.0, 28.0)
            reach = np.hypot((x - cx * self.side) / rx, (z - cz) / rz)
            return np.asarray((reach - 1.0) * min(rx, rz) + (0.9 if self.spec.water == "pond" else 2.6) * wobble)
        return np.full(x.shape, 1e3)

    def channel_distance(self, x: Floats, z: Floats) -> Floats:
        """Metres to the bank of the river or ravine at points [...]: negative inside, large when there is none."""
        if not self.has_channel:
            return np.full(np.broadcast(x, z).shape, 1e3)
        return np.asarray(np.abs(z - self._channel_line(x)) * 0.93 - self._channel_half_width)

    def path_distance(self, x: Floats, z: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """Metres to the path's middle at points [...], and which point of the path is nearest."""
        points = np.stack([np.ravel(x), np.ravel(z)], -1)
        squared = (points**2).sum(1)[:, None] - 2.0 * points @ self.path.T + (self.path**2).sum(1)
        nearest = squared.argmin(1)
        distance = np.sqrt(np.maximum(np.take_along_axis(squared, nearest[:, None], 1)[:, 0], 0.0))
        shape = np.shape(x)
        return distance.reshape(shape), nearest.reshape(shape)

    def _channel_line(self, x: Floats) -> Floats:
        return np.asarray(self._channel_z + 4.5 * (np.sin(x / 21.0 + self._phase) - np.sin(self._phase)))

    def _place_landmark(self, rng: np.random.Generator) -> Site | None:
        kind = self.spec.landmark
        if kind in ("none", "bridge"):
            return None
        x, z = -self.side * rng.uniform(9.0, 13.0), rng.uniform(58.0, 66.0)
        if self.spec.settlement == "none" or kind == "stones":
            x, z = -self.side * rng.uniform(4.0, 7.0), rng.uniform(40.0, 44.0)
        if kind == "castle":
            x, z = -self.side * rng.uniform(8.0, 12.0), rng.uniform(76.0, 80.0)
        if self.spec.water == "lake":
            # The lake lies there: across the path from it instead, or well behind.
            x, z = self.side * rng.uniform(2.0, 5.0), rng.uniform(84.0, 88.0)
            if self.spec.settlement == "none":
                x, z = self.side * rng.uniform(9.0, 12.0), rng.uniform(42.0, 46.0)
        return Site(x=x, z=z, yaw=float(np.arctan2(x, z) + rng.uniform(-0.3, 0.3)))

    def _draw_path(self, rng: np.random.Generator) -> Floats:
        sx, sz = self.settlement
        w = rng.uniform(-1.0, 1.0, 6)
        if self.landmark is not None and abs(self.landmark.z - sz) > 16:
            turn = np.sign(self.landmark.x - sx) * 15.0
            end = [
                (self.landmark.x - turn, self.landmark.z - 6.0),
                (self.landmark.x - turn * 1.2, self.landmark.z + 12.0),
            ]
        else:
            end = [(sx - self.side * 6.0, sz + 26.0 + 3 * w[0]), (sx + self.side * 4.0, sz + 44.0)]
        knots = [(14 * w[1], -112.0), (9 * w[2], -70.0), (5 * w[3], -36.0), (0.5 * w[4], -10.0), (0.0, 0.0)]
        knots += [(0.2 * self.side, 7.0), (-self.side * 1.6, 16.0), (self.side * 0.2, 24.5), (sx - self.side * 3.5, sz)]
        knots += [*end, (end[-1][0] + 10 * w[5], 118.0)]
        return _through(np.array(knots))

    def _find_crossing(self) -> Crossing | None:
        if not self.has_channel:
            return None
        at = int(np.argmin(np.abs(self.path[:, 1] - self._channel_line(self.path[:, 0]))))
        (x, z), ahead, back = self.path[at], self.path[at + 2], self.path[at - 2]
        yaw = float(np.arctan2(*(ahead - back)))
        grand = self.spec.landmark == "bridge"
        return Crossing(
            x=float(x),
            z=float(z),
            yaw=yaw,
            half_length=self._channel_half_width + (3.6 if grand else 2.2),
            half_width=1.9 if grand else 1.25,
        )

    def _place_houses(self, rng: np.random.Generator) -> list[Site]:
        wanted = HOUSES[self.spec.settlement]
        first = int(np.argmin(np.abs(self.path[:, 1] - (self.settlement[1] - 7.0))))
        sites: list[Site] = []
        tries = [
            (first + step, turn, row) for row in (0, 1) for step in range(0, 46, 3) for turn in (self.side, -self.side)
        ]
        if wanted == 1:
            tries = [(first + 5, self.side, 0), *tries]
        for index, turn, row in tries:
            if len(sites) == wanted:
                break
            at = min(index + int(rng.integers(0, 3)), len(self.path) - 3)
            ahead = self.path[at + 1] - self.path[at - 1]
            right = np.array([ahead[1], -ahead[0]]) / np.linalg.norm(ahead)
            x, z = self.path[at] + right * turn * (7.2 + 12.0 * row + rng.uniform(0.0, 1.8))
            yaw = float(np.arctan2(*(right * turn)) + rng.uniform(-0.22, 0.22))
            if self._is_free(x, z, sites):
                sites.append(Site(x=float(x), z=float(z), yaw=yaw))
        return sorted(sites, key=lambda site: site.z)

    def _is_free(self, x: float, z: float, sites: list[Site]) -> bool:
        here = np.array(x), np.array(z)
        on_land = self.shore_distance(*here) > 7.5 and self.channel_distance(*here) > 7.0
        off_path = self.path_distance(*here)[0] > 6.4
        apart = all(np.hypot(x - site.x, z - site.z) > 11.5 for site in sites)
        mark = self.landmark
        reach = 26.0 if self.spec.landmark == "castle" else 15.0
        return bool(on_land and off_path and apart and (mark is None or np.hypot(x - mark.x, z - mark.z) > reach))


def _through(knots: Floats) -> Floats:
    """A smooth line (Catmull-Rom) through knots [N, 2], as points a metre apart."""
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0.0, 1.0, 48, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        pieces.append(b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))))
    dense = np.concatenate([*pieces, knots[-1:]])
    run = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    at = np.arange(0.0, run[-1], _PATH_STEP)
    return np.stack([np.interp(at, run, dense[:, 0]), np.interp(at, run, dense[:, 1])], -1)
