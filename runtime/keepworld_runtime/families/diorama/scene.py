"""The scene: everything that stands still, built once from its spec, and where one can walk in it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keepworld_runtime.families.diorama import body as bodies
from keepworld_runtime.families.diorama.baking import bake_lamps, bake_openness
from keepworld_runtime.families.diorama.biomes import BIOMES
from keepworld_runtime.families.diorama.body import Body
from keepworld_runtime.families.diorama.buildings import STYLES, build_fence, build_house
from keepworld_runtime.families.diorama.landmarks import LANDMARKS, build_bridge, deck_rise
from keepworld_runtime.families.diorama.layout import WATER_LEVEL, Layout
from keepworld_runtime.families.diorama.meshes import Mesh, join
from keepworld_runtime.families.diorama.planting import plant
from keepworld_runtime.families.diorama.spec import Material, Part, SceneSpec
from keepworld_runtime.families.diorama.terrain import Terrain, build_terrain, build_water
from keepworld_runtime.families.family import Surface
from keepworld_runtime.sampling.noise import generator

Floats = NDArray[np.float64]
EYE_HEIGHT = 1.65  # metres
EDGE = 100.0  # metres from the start one can walk
_WADING = 0.45  # metres of water one can stand in
_PORCH = 0.25  # metres houses reach beyond their walls where one walks


class Scene:
    """Everything that stands still.

    Attributes:
        spec: what it was built from.
        start: [4, 4] camera to world of the first camera.
        parts: all meshes, land and water included.
        spots: name -> [N, 3] places on the ground: "clearing", "path" (in order), "shore", "water", "doorstep".
        body: the same triangles, ready for casting.
    """

    def __init__(self, spec: SceneSpec) -> None:
        self.spec = spec
        self._layout = Layout(spec)
        self._terrain = build_terrain(self._layout)
        self._rounds: list[tuple[float, float, float]] = []
        self._walls: list[tuple[float, float, float, float, float]] = []
        self._lamps: list[Floats] = []
        meshes = [*self._houses(), *self._landmarks(), *self._fences()]
        planting = plant(self._layout, self._terrain)
        self._trunks = np.concatenate([planting.trunks, np.array(self._rounds).reshape(-1, 3)])
        solids = join([*meshes, *planting.meshes])
        water = build_water(self._terrain, self._layout)
        land = self._terrain.mesh()
        self.parts: tuple[Part, ...] = tuple(m.to_session() for m in (land, solids, water) if m is not None)
        self.body = _bake(self._terrain, [land, solids, *([water] if water is not None else [])], self._lamps)
        self.start = np.eye(4)
        self.start[1, 3] = self.ground(0.0, 0.0) - EYE_HEIGHT
        self.spots: Mapping[str, Floats] = self._find_spots()

    def ground(self, x: ArrayLike, z: ArrayLike) -> Floats:
        """The y of the ground one walks on, bridges included, at points [...]."""
        x, z = np.asarray(x, np.float64), np.asarray(z, np.float64)
        up = self._terrain.height(x, z)
        crossing = self._layout.crossing
        if crossing is not None:
            along, across = self._on_deck(x, z)
            grand = self.spec.landmark == "bridge"
            deck = self._bank + deck_rise(along, crossing, grand)
            over = (np.abs(along) <= crossing.half_length) & (np.abs(across) <= crossing.half_width)
            up = np.where(over, np.maximum(up, deck), up)
        return np.asarray(-up)

    def blocked(self, x: ArrayLike, z: ArrayLike, radius: float) -> NDArray[np.bool_]:
        """Whether a walker of `radius` metres cannot stand at points [...]: walls, trunks, deep water, the world's edge."""
        x, z = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(z, np.float64))
        points = np.stack([x.ravel(), z.ravel()], -1)
        wall = np.hypot(points[:, 0], points[:, 1]) > EDGE
        if len(self._trunks):
            away = np.linalg.norm(points[:, None] - self._trunks[None, :, :2], axis=-1)
            wall |= (away < self._trunks[:, 2] + radius).any(1)
        for cx, cz, yaw, half_x, half_z in self._walls:
            along, across = _turned(points[:, 0] - cx, points[:, 1] - cz, yaw)
            outside = np.hypot(np.maximum(np.abs(across) - half_x, 0.0), np.maximum(np.abs(along) - half_z, 0.0))
            wall |= outside < radius
        if self._layout.has_water:
            wall |= -self.ground(points[:, 0], points[:, 1]) < WATER_LEVEL - _WADING
        if self._layout.crossing is not None:
            along, across = self._on_deck(points[:, 0], points[:, 1])
            near = np.abs(along) < self._layout.crossing.half_length
            wall |= near & (np.abs(np.abs(across) - self._layout.crossing.half_width) < radius + 0.05)
        return np.asarray(wall.reshape(x.shape))

    def surface(self) -> Surface:
        """The true geometry of all that lasts."""
        offsets = np.cumsum([0] + [len(part.vertices) for part in self.parts[:-1]])
        return Surface(
            vertices=np.concatenate([part.vertices for part in self.parts]).astype(np.float64),
            faces=np.concatenate([p.faces + o for p, o in zip(self.parts, offsets, strict=True)]).astype(np.int32),
        )

    def _houses(self) -> list[Mesh]:
        style = STYLES[BIOMES[self.spec.biome].houses]
        meshes = []
        self._doors: list[tuple[float, float]] = []
        for number, site in enumerate(self._layout.houses):
            house = build_house(style, generator(self.spec.seed, "house", number))
            up = self._up(site.x, site.z)
            meshes.append(house.mesh.placed(site.x, up, site.z, yaw=site.yaw))
            half_x, half_z = house.half_size
            self._walls.append((site.x, site.z, site.yaw, half_x + _PORCH, half_z + _PORCH))
            self._add_lamps(house.lamps, site.x, up, site.z, site.yaw)
            out = half_z + 2.0
            self._doors.append((site.x - out * np.sin(site.yaw), site.z - out * np.cos(site.yaw)))
        return meshes

    def _landmarks(self) -> list[Mesh]:
        meshes = []
        site, crossing, kind = self._layout.landmark, self._layout.crossing, self.spec.landmark
        if site is not None:
            built = LANDMARKS[kind](generator(self.spec.seed, "landmark"))
            up = self._up(site.x, site.z)
            meshes.append(built.mesh.placed(site.x, up, site.z, yaw=site.yaw))
            c, s = np.cos(site.yaw), np.sin(site.yaw)
            self._rounds += [(site.x + c * x + s * z, site.z - s * x + c * z, r) for x, z, r in built.rounds]
            if built.lamps:
                self._add_lamps(np.array(built.lamps), site.x, up, site.z, site.yaw)
        if crossing is not None:
            ends = [
                (
                    crossing.x + s * crossing.half_length * np.sin(crossing.yaw),
                    crossing.z + s * crossing.half_length * np.cos(crossing.yaw),
                )
                for s in (-1.0, 1.0)
            ]
            self._bank = max(self._up(*end) for end in ends) + 0.06
            bed = min(WATER_LEVEL - 1.4, self._up(crossing.x, crossing.z) - 0.4)
            bridge = build_bridge(crossing, self._bank, bed, kind == "bridge")
            meshes.append(bridge.placed(crossing.x, 0.0, crossing.z, yaw=crossing.yaw))
        return meshes

    def _fences(self) -> list[Mesh]:
        """A fence along one side of the path on the way into the settlement."""
        if self.spec.settlement == "none" or self.spec.biome in ("desert", "jungle"):
            return []
        path = self._layout.path
        begin = int(np.argmin(np.hypot(*path.T)))
        stretch = path[begin + 6 : begin + 27 : 2]
        ahead = np.gradient(stretch, axis=0)
        right = np.stack([ahead[:, 1], -ahead[:, 0]], -1) / np.linalg.norm(ahead, axis=1, keepdims=True)
        posts = stretch + right * self._layout.side * 2.3
        dry = self._layout.channel_distance(*posts.T) > 2.6
        if dry.sum() < 3 or (self._layout.shore_distance(*posts.T) < 1.0).any():
            return []
        first = posts[: int(np.argmin(dry)) if not dry.all() else None]
        return [build_fence(first, self._terrain.height(*first.T))] if len(first) > 2 else []

    def _find_spots(self) -> dict[str, Floats]:
        rng = generator(self.spec.seed, "spots")
        layout = self._layout
        x, z = rng.uniform(-26, 26, 1500), rng.uniform(4, 46, 1500)
        path, _ = layout.path_distance(x, z)
        free = ~self.blocked(x, z, 1.8) & (path > 2.2) & (layout.channel_distance(x, z) > 2.0)
        water = np.minimum(layout.shore_distance(x, z), layout.channel_distance(x, z))
        wet = (water < -1.6) & layout.has_water & (self.ground(x, z) > -WATER_LEVEL + 0.2)
        shore = (water > 0.4) & (water < 2.4) & ~self.blocked(x, z, 0.4) & layout.has_water
        doors = np.array(self._doors).reshape(-1, 2)
        places = {"clearing": free & (water > 2.0), "shore": shore, "water": wet}
        spots = {name: self._on_ground(x[chosen], z[chosen]) for name, chosen in places.items()}
        spots["water"][:, 1] = -WATER_LEVEL
        walkable = np.hypot(*layout.path.T) < EDGE
        spots["path"] = self._on_ground(*layout.path[walkable].T)
        spots["doorstep"] = self._on_ground(*doors.T)
        return {name: _nearest_first(places_) if name != "path" else places_ for name, places_ in spots.items()}

    def _on_ground(self, x: Floats, z: Floats) -> Floats:
        return np.stack([x, self.ground(x, z), z], -1)

    def _on_deck(self, x: Floats, z: Floats) -> tuple[Floats, Floats]:
        assert self._layout.crossing is not None
        return _turned(x - self._layout.crossing.x, z - self._layout.crossing.z, self._layout.crossing.yaw)

    def _up(self, x: float, z: float) -> float:
        return float(self._terrain.height(np.array(x), np.array(z)))

    def _add_lamps(self, lamps: Floats, x: float, up: float, z: float, yaw: float) -> None:
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
        placed = np.concatenate([lamps[:, :3] @ turn.T + (x, up, z), lamps[:, 3:] @ turn.T], 1)
        self._lamps.append(placed * (1, -1, 1, 1, -1, 1))


def _turned(x: Floats, z: Floats, yaw: float) -> tuple[Floats, Floats]:
    """How far points are along and across a direction `yaw`."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.asarray(s * x + c * z), np.asarray(c * x - s * z)


def _nearest_first(places: Floats) -> Floats:
    return places[np.argsort(np.hypot(places[:, 0], places[:, 2]), kind="stable")]


def _bake(terrain: Terrain, meshes: list[Mesh], lamps: list[Floats]) -> Body:
    """Join the meshes, the land first, into a body with its fixed light."""
    mesh = join(meshes)
    part = mesh.to_session()
    vertices, faces = part.vertices, part.faces
    normals = bodies.vertex_normals(vertices, faces)
    corners = np.zeros((len(faces), 3, bodies.CORNER_SIZE), np.float32)
    corners[..., bodies.NORMAL : bodies.NORMAL + 3] = bodies.corner_normals(vertices, faces, mesh.material)
    corners[..., bodies.COLOUR : bodies.COLOUR + 3] = mesh.colour[:, None]
    solid = faces[mesh.material != Material.WATER]
    corners[..., bodies.OPENNESS] = bake_openness(vertices, solid, normals)[faces]
    if lamps:
        corners[..., bodies.LAMP] = bake_lamps(vertices, normals, np.concatenate(lamps))[faces]
    land = faces[: len(meshes[0].faces)]
    corners[: len(land), :, bodies.COLOUR : bodies.COLOUR + 3] = terrain.colours.reshape(-1, 3)[land]
    corners[: len(land), :, bodies.WORN] = terrain.worn.ravel()[land]
    return Body(vertices, faces, corners, mesh.material, mesh.variation)


def build_scene(spec: SceneSpec) -> Scene:
    """Build the scene of a spec; the same spec gives the same scene to the byte."""
    return Scene(spec)
