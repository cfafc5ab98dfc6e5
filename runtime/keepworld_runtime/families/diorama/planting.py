"""Where plants and stones stand: thick woods and open glades, clear paths, and a view kept free for the first camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.biomes import BIOMES
from keepworld_runtime.families.diorama.field import fractal, smoothstep
from keepworld_runtime.families.diorama.layout import WATER_LEVEL, Layout
from keepworld_runtime.families.diorama.meshes import Mesh
from keepworld_runtime.families.diorama.plants import KINDS
from keepworld_runtime.families.diorama.terrain import Terrain
from keepworld_runtime.sampling.noise import generator

Floats = NDArray[np.float64]
DENSITY = {"sparse": 0.45, "normal": 1.0, "dense": 1.7}
_CENTRE_Z = 25.0
_TREES_WITHIN, _WOODS_WITHIN, _SMALL_WITHIN = 95.0, 300.0, 36.0
_NEAR, _MIDDLE = 24.0, 58.0  # metres up to which plants have detail 2 and 1
_MOST_WOODS = 1100
_SMALL = ("tuft", "flower", "fern", "scrub")
_GRASSES = ("tuft", "fern", "scrub", "flower")  # variation from 1 on: they yellow, and never blossom
_VARIANTS = (4, 5, 6)


@dataclass(frozen=True, slots=True, eq=False)
class Planting:
    """What grows: the meshes as they stand, and [N, 3] x, z, radius of what is in a walker's way."""

    meshes: list[Mesh]
    trunks: Floats


class _Planter:
    """Grows each kind a few times and sets copies."""

    def __init__(self, layout: Layout, terrain: Terrain) -> None:
        self.layout, self.terrain, self.seed = layout, terrain, layout.spec.seed
        self.biome = BIOMES[layout.spec.biome]
        self.meshes: list[Mesh] = []
        self.trunks: list[tuple[float, float, float]] = []
        self._grown: dict[tuple[str, int, int], Mesh] = {}

    def set(self, kind: str, x: float, z: float, rng: np.random.Generator, scale: float) -> None:
        away = float(np.hypot(x, z))
        detail = 2 if away < _NEAR else 1 if away < _MIDDLE else 0
        variant = int(rng.integers(_VARIANTS[detail]))
        key = (kind, detail, variant)
        if key not in self._grown:
            self._grown[key] = KINDS[kind].grow(generator(self.seed, "grow", *key), detail)
        tint = np.array([1.0, 1.0, 1.0]) * rng.uniform(0.86, 1.14) * (1 + rng.uniform(-0.06, 0.06, 3))
        mesh = self._grown[key]
        if kind == "rock":
            tint *= self.biome.rock
            scale *= 1.3
        up = float(self.terrain.height(np.array(x), np.array(z)))
        placed = mesh.placed(x, up, z, yaw=float(rng.uniform(0, 2 * np.pi)), scale=scale)
        self.meshes.append(placed.varied(float(rng.random()) + (kind in _GRASSES)).tinted(tint))
        if KINDS[kind].trunk > 0:
            self.trunks.append((x, z, KINDS[kind].trunk * scale))

    def scatter(self, purpose: str, kinds: dict[str, float], per_hectare: float, low: float, high: float) -> None:
        """Set kinds, by share, between two distances from the middle, about so many on a hectare of good ground."""
        rng = generator(self.seed, "scatter", purpose)
        spacing = float(np.sqrt(1e4 / (per_hectare * 1.6)))
        count = int(np.ceil(high / spacing))
        i, j = np.meshgrid(np.arange(-count, count + 1), np.arange(-count, count + 1))
        jitter = rng.uniform(-0.48, 0.48, (2, *i.shape))
        x, z = ((i + jitter[0]) * spacing).ravel(), ((j + jitter[1]) * spacing + _CENTRE_Z).ravel()
        lot, pick, size = rng.random((3, x.size))
        far = np.hypot(x, z - _CENTRE_Z)
        clumps = fractal(x, z, self.seed, f"clumps/{purpose}", 21.0, 3)
        chance = smoothstep(-0.45, 0.45, clumps) * 1.25 * self._welcome(x, z, purpose)
        good = np.nonzero((far >= low) & (far < high) & (lot < chance))[0]
        names, shares = list(kinds), np.cumsum(list(kinds.values())) / sum(kinds.values())
        for k in good:
            kind = names[min(int(np.searchsorted(shares, pick[k])), len(names) - 1)]
            self.set(kind, float(x[k]), float(z[k]), rng, 0.8 + 0.45 * float(size[k]))

    def _welcome(self, x: Floats, z: Floats, purpose: str) -> Floats:
        """How welcome a plant is at points [N]: 0 on paths, in water, by houses, in the view."""
        layout, small = self.layout, purpose in _SMALL
        path, _ = layout.path_distance(x, z)
        water = np.minimum(layout.shore_distance(x, z), layout.channel_distance(x, z))
        margin = 1.5 if small else 3.4 if purpose == "trees" else 2.3
        welcome = smoothstep(margin, margin + (1.0 if small else 2.5), path)
        welcome *= water > (0.8 if small else 2.5)
        height = self.terrain.height(x, z)
        welcome *= height > WATER_LEVEL + 0.3
        for site in layout.houses:
            welcome *= np.hypot(x - site.x, z - site.z) > (4.9 if small else 7.2 if purpose == "trees" else 5.8)
        if layout.landmark is not None:
            keep = {"castle": 18.0, "abbey": 11.5, "stones": 10.0}.get(layout.spec.landmark, 6.5)
            away = np.hypot(x - layout.landmark.x, z - layout.landmark.z)
            welcome *= away > (keep * 0.75 if small else keep)
        if not small:
            welcome *= self._out_of_view(x, z)
        slope = np.abs(self.terrain.height(x + 1.5, z) - height) + np.abs(self.terrain.height(x, z + 1.5) - height)
        welcome *= 1.0 - smoothstep(1.4, 2.6, slope)
        return np.asarray(welcome * (1.0 - smoothstep(self.biome.snowline - 25, self.biome.snowline, height)))

    def _out_of_view(self, x: Floats, z: Floats) -> Floats:
        """Thin out what would hide the settlement or the landmark from the first camera."""
        layout, dense = self.layout, self.biome.per_hectare > 100
        targets = [(float(layout.settlement[0]), float(layout.settlement[1]), 0.12 if dense else 0.22)]
        if layout.landmark is not None:
            targets.append((layout.landmark.x, layout.landmark.z, 0.09))
        if layout.spec.water in ("pond", "lake", "sea"):
            targets.append((-11.0 * layout.side, 20.0, 0.28))
        free = np.ones(len(x))
        for tx, tz, width in targets:
            before = (z > -1.0) & (z < tz)
            offset = np.abs(x - tx * z / tz)
            free *= np.where(
                before,
                smoothstep(0.0, 1.0, (offset - 1.8 - width * z) / (1.2 + 0.35 * width * np.maximum(z, 0.0))),
                1.0,
            )
        return np.where(np.hypot(x, z) < 4.0, 0.0, free)

    def frame_view(self) -> None:
        """Set a large tree at either edge of the first view."""
        rng = generator(self.seed, "frame")
        kind = max(self.biome.trees, key=lambda name: self.biome.trees[name])
        for x, z in (
            (self.layout.side * rng.uniform(8.0, 9.5), 12.0),
            (-self.layout.side * rng.uniform(6.0, 7.2), 8.6),
        ):
            at = np.array([x]), np.array([z])
            dry = min(self.layout.shore_distance(*at)[0], self.layout.channel_distance(*at)[0]) > 1.8
            if dry and all(np.hypot(x - site.x, z - site.z) > 7 for site in self.layout.houses):
                self.set(kind, float(x), float(z), rng, 1.2)


def plant(layout: Layout, terrain: Terrain) -> Planting:
    """Plant a scene."""
    planter = _Planter(layout, terrain)
    biome, density = planter.biome, DENSITY[layout.spec.density]
    if layout.spec.density != "sparse":
        planter.frame_view()
    planter.scatter("trees", biome.trees, biome.per_hectare * density, 0.0, _TREES_WITHIN)
    woods = {kind: share for kind, share in biome.trees.items() if kind not in ("palm", "deadwood", "cactus")}
    if woods:
        hectares = (_WOODS_WITHIN**2 - _TREES_WITHIN**2) * np.pi / 1e4
        per_hectare = min(biome.per_hectare * density * 0.8, _MOST_WOODS / hectares / 0.7)
        planter.scatter("woods", woods, per_hectare, _TREES_WITHIN, _WOODS_WITHIN)
    for kind, per_hectare in biome.undergrowth.items():
        within = _SMALL_WITHIN if kind in _SMALL else 70.0
        planter.scatter(kind, {kind: 1.0}, per_hectare * (density if kind in _SMALL else density**0.5), 0.0, within)
    return Planting(planter.meshes, np.array(planter.trunks).reshape(-1, 3))
