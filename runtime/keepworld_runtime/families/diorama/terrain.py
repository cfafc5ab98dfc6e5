"""The land: heights on a grid that is fine around the start and coarse towards the horizon, its colours, its water."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.biomes import BIOMES, Biome, srgb
from keepworld_runtime.families.diorama.field import fractal, ridges, smoothstep, value_noise
from keepworld_runtime.families.diorama.layout import HOUSE_CLEARANCE, WATER_LEVEL, Layout
from keepworld_runtime.families.diorama.meshes import Mesh, make_mesh
from keepworld_runtime.families.diorama.spec import Material

Floats = NDArray[np.float64]
_FINE = 1.0  # metres between vertices near the start
_GROWTH = 1.17  # each further one this much farther apart
_HORIZON = 2400.0
PATH_HALF_WIDTH = 1.25
_SNOW = srgb("#f2f5fb")
_SHALLOW, _DEEP = srgb("#3d8f8c"), srgb("#12485c")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Terrain:
    """The land as it is drawn and walked on.

    Attributes:
        xs, zs: [X], [Z] where the grid's lines are.
        heights: [Z, X] up, metres.
        colours: [Z, X, 3] linear RGB of the open ground.
        worn: [Z, X] how much of the ground is bare path, in [0, 1].
    """

    xs: Floats
    zs: Floats
    heights: Floats
    colours: Floats
    worn: Floats

    def height(self, x: Floats, z: Floats) -> Floats:
        """How high the drawn triangles are at points [...], exactly."""
        x, z = np.asarray(x, np.float64), np.asarray(z, np.float64)
        i = np.clip(np.searchsorted(self.xs, x, side="right") - 1, 0, len(self.xs) - 2)
        j = np.clip(np.searchsorted(self.zs, z, side="right") - 1, 0, len(self.zs) - 2)
        a = (x - self.xs[i]) / (self.xs[i + 1] - self.xs[i])
        b = (z - self.zs[j]) / (self.zs[j + 1] - self.zs[j])
        h = self.heights
        h00, h10, h01, h11 = h[j, i], h[j, i + 1], h[j + 1, i], h[j + 1, i + 1]
        near = h00 + a * (h10 - h00) + b * (h01 - h00)
        far = h11 + (1 - a) * (h01 - h11) + (1 - b) * (h10 - h11)
        return np.asarray(np.where(a + b <= 1.0, near, far))

    def mesh(self) -> Mesh:
        """The land's triangles; each cell is cut from its (low x, high z) to its (high x, low z) corner."""
        x, z = np.meshgrid(self.xs, self.zs)
        vertices = np.stack([x, self.heights, z], -1).reshape(-1, 3)
        faces = grid_faces(len(self.xs), np.ones((len(self.zs) - 1, len(self.xs) - 1), bool))
        mesh = make_mesh(vertices, faces, Material.TERRAIN, (0, 0, 0))
        mesh.colour[:] = self.colours.reshape(-1, 3)[faces].mean(1)
        return mesh


def grid_faces(columns: int, wanted: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Triangles [F, 3] over the wanted cells [rows, columns - 1] of a grid of vertices, seen from above."""
    j, i = np.nonzero(wanted)
    a = j * columns + i
    b, c, d = a + 1, a + columns, a + columns + 1
    return np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]).astype(np.int32)


def _lines(low: float, high: float) -> Floats:
    """Grid lines: evenly `_FINE` apart between low and high, then farther and farther out to the horizon."""
    steps = _FINE * _GROWTH ** np.arange(1, 60)
    out = np.cumsum(steps)
    out = out[: int(np.searchsorted(out, _HORIZON)) + 1]
    return np.concatenate([low - out[::-1], np.arange(low, high + _FINE / 2, _FINE), high + out])


def build_terrain(layout: Layout) -> Terrain:
    """Shape and colour the land of a plan."""
    biome = BIOMES[layout.spec.biome]
    xs, zs = _lines(-66.0, 66.0), _lines(-46.0, 96.0)
    x, z = np.meshgrid(xs, zs)
    path, nearest = layout.path_distance(x, z)
    shore, channel = layout.shore_distance(x, z), layout.channel_distance(x, z)
    heights = _natural(x, z, path, shore, layout, biome)
    heights = _carve(heights, shore, channel, x, z, layout)
    heights = _level(heights, x, z, path, nearest, channel, layout)
    fray = value_noise(x, z, layout.spec.seed, "fray", 2.7)
    worn = 1.0 - smoothstep(PATH_HALF_WIDTH - 0.5, PATH_HALF_WIDTH + 1.1, path + 0.35 * fray)
    for site in layout.houses:
        away = np.hypot(x - site.x, z - site.z)
        worn = np.maximum(worn, 0.75 * (1.0 - smoothstep(3.2, 5.6, away + 0.8 * fray)))
    colours = _colour(x, z, heights, np.minimum(shore, channel) if layout.has_water else shore, layout, biome)
    return Terrain(xs=xs, zs=zs, heights=heights, colours=colours, worn=worn)


def _natural(x: Floats, z: Floats, path: Floats, shore: Floats, layout: Layout, biome: Biome) -> Floats:
    """Gentle where one walks, hilly farther off, closed by the backdrop."""
    seed = layout.spec.seed
    gentle = 0.55 * fractal(x, z, seed, "gentle", 55.0, 2) + 0.16 * fractal(x, z, seed, "bumps", 9.0, 2)
    wild = smoothstep(5.0, 60.0, path)
    if layout.spec.water == "sea":
        wild = wild * smoothstep(6.0, 60.0, shore)  # a low coast, so that the sea is seen from the path
    heights = gentle + biome.hills * wild * (0.55 + 0.75 * fractal(x, z, seed, "hills", 46.0, 4))
    far = np.hypot(x, z - 25.0)
    closing = smoothstep(95.0, 520.0, far)
    swell = 0.62 + 0.5 * fractal(x, z, seed, "swell", 170.0, 4)
    spacing = np.maximum(np.gradient(x, axis=1), np.gradient(z, axis=0))
    crags = 1.35 * ridges(x, z, seed, "crags", 260.0, 6, spacing) ** 1.3
    if layout.spec.biome == "desert":
        mesas = smoothstep(-0.02, 0.12, fractal(x, z, seed, "mesas", 120.0, 3))
        swell = 0.16 + 0.84 * mesas * (0.8 + 0.3 * smoothstep(0.25, 0.32, fractal(x, z, seed, "upper", 90.0, 3)))
        closing = smoothstep(95.0, 190.0, far)
    backdrop = biome.backdrop * closing * ((1.0 - biome.jagged) * swell + biome.jagged * crags)
    if layout.spec.water == "sea":
        backdrop *= smoothstep(10.0, 150.0, shore)
    heights += _softened(backdrop, spacing)
    if layout.landmark is not None:
        rise = {"castle": 7.0, "stones": 1.2}.get(layout.spec.landmark, 3.2)
        away = np.hypot(x - layout.landmark.x, z - layout.landmark.z)
        heights += rise * (1.0 - smoothstep(9.0, 34.0, away))
    return heights


def _softened(heights: Floats, spacing: Floats) -> Floats:
    """Heights [Z, X] blended with their neighbours' mean where vertices are far apart, so that no peak is one vertex."""
    padded = np.pad(heights, 1, mode="edge")
    mean = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4.0
    return np.asarray(heights + (mean - heights) * 0.6 * smoothstep(4.0, 14.0, spacing))


def _carve(heights: Floats, shore: Floats, channel: Floats, x: Floats, z: Floats, layout: Layout) -> Floats:
    """Make beds and banks. Outside them the land stays above the water's level."""
    seed = layout.spec.seed
    if layout.has_water:
        heights = np.maximum(heights, WATER_LEVEL + 0.25)
    if layout.spec.water in ("pond", "lake", "sea"):
        bank, slope = (48.0, 0.05) if layout.spec.water == "sea" else (7.0, 0.1)
        beach = WATER_LEVEL + slope * np.maximum(shore, 0.0) + 0.05
        heights = beach + (heights - beach) * smoothstep(0.0, bank, shore)
        bed = WATER_LEVEL - np.clip(-0.34 * shore, 0.0, 6.0) - 0.05
        heights = np.where(shore < 0, bed, heights)
    if layout.has_channel:
        depth = 1.0 if layout.spec.water == "river" else 1.5
        side = WATER_LEVEL + 0.42 * np.maximum(channel, 0.0)
        cut = np.minimum(heights, side + (heights - side) * smoothstep(0.0, 4.0, channel))
        bed = WATER_LEVEL - np.clip(-channel * 0.8, 0.0, depth) + 0.1 * value_noise(x, z, seed, "bed", 2.0)
        heights = np.where(channel < 0, np.minimum(bed, heights), cut)
    return heights


def _level(
    heights: Floats, x: Floats, z: Floats, path: Floats, nearest: NDArray[np.int64], channel: Floats, layout: Layout
) -> Floats:
    """Make the path even, and the ground flat where something is built."""
    rough = Terrain(xs=x[0], zs=z[:, 0], heights=heights, colours=heights, worn=heights)
    along = rough.height(layout.path[:, 0], layout.path[:, 1])
    if layout.has_channel:
        # Over the channel the path runs from bank to bank; the bridge stands in for it.
        gap = layout.channel_distance(layout.path[:, 0], layout.path[:, 1]) < 3.0
        at = np.arange(len(along))
        along = np.interp(at, at[~gap], along[~gap])
    along = np.maximum(along, WATER_LEVEL + 0.35)
    kernel = np.hanning(13)[1:-1] / np.hanning(13).sum()
    along = np.convolve(np.pad(along, 5, mode="edge"), kernel, mode="valid")
    evened = along[nearest] + (heights - along[nearest]) * smoothstep(1.6, 7.0, path)
    heights = np.where(channel < 2.5, heights, evened)
    places = [(site, HOUSE_CLEARANCE, 4.0) for site in layout.houses]
    if layout.landmark is not None:
        places.append(
            (layout.landmark, {"castle": 17.0, "stones": 8.0, "abbey": 9.0}.get(layout.spec.landmark, 5.0), 6.0)
        )
    for site, radius, blend in places:
        level = float(rough.height(np.array(site.x), np.array(site.z)))
        away = np.hypot(x - site.x, z - site.z)
        flat = 1.0 - smoothstep(radius, radius + blend, away)
        heights = heights + (max(level, WATER_LEVEL + 0.6) - heights) * flat
    return heights


def _colour(x: Floats, z: Floats, heights: Floats, water: Floats, layout: Layout, biome: Biome) -> Floats:
    """Grass, fields, rock on slopes, sand beside water, snow on the heights."""
    seed = layout.spec.seed
    blend = 0.5 + 0.8 * fractal(x, z, seed, "grass", 24.0, 4)
    low, high = np.array(biome.grass[0]), np.array(biome.grass[1])
    colours = low + (high - low) * np.clip(blend, 0.0, 1.0)[..., None]
    if layout.spec.biome == "farmland":
        colours = _fields(colours, x, z, layout)
    steep = np.hypot(*np.gradient(heights, z[:, 0], x[0]))
    rocky = smoothstep(0.55, 0.95, steep + 0.25 * fractal(x, z, seed, "rocky", 12.0, 3))
    rocky = (rocky * smoothstep(1.0, 9.0, water))[..., None]
    if layout.spec.biome == "desert":
        strata = 0.82 + 0.3 * value_noise(heights * 2.2, heights * 0.0, seed, "strata", 9.0)[..., None]
        rock = np.array(biome.rock) * strata
    else:
        rock = np.array(biome.rock) * (0.9 + 0.2 * fractal(x, z, seed, "rockhue", 18.0, 2)[..., None])
    colours = colours + (rock - colours) * rocky
    snow = smoothstep(
        -9.0, 9.0, heights - biome.snowline + 12.0 * fractal(x, z, seed, "snow", 60.0, 3) - 14.0 * (steep > 1.4)
    )
    colours = colours + (np.array(_SNOW) - colours) * snow[..., None]
    wide = 7.0 if layout.spec.water == "sea" else 1.1
    sandy = 1.0 - smoothstep(0.2 * wide, wide, water)
    return np.asarray(colours + (np.array(biome.shore) - colours) * (sandy * 0.92)[..., None])


_CROPS = np.array([srgb(c) for c in ("#c9b25a", "#93a548", "#d6c27a", "#7d9a45", "#a98a55", "#b5b85c")])


def _fields(colours: Floats, x: Floats, z: Floats, layout: Layout) -> Floats:
    """Lay a patchwork of crops over the colours [Z, X, 3], with furrows, away from the path."""
    path, _ = layout.path_distance(x, z)
    u, v = 0.94 * x + 0.34 * z, -0.34 * x + 0.94 * z
    i, j = np.floor(u / 30.0).astype(np.int64), np.floor(v / 22.0 + 0.37 * np.floor(u / 30.0)).astype(np.int64)
    crop = _CROPS[(i * 73 + j * 151 + layout.spec.seed % 97) % len(_CROPS)]
    furrow = np.where((i + j) % 2 == 0, np.sin(u * 2 * np.pi / 4.0), np.sin(v * 2 * np.pi / 4.0))
    crop = crop * (1.0 + 0.10 * furrow)[..., None]
    edge = np.maximum(np.abs(u / 30.0 % 1 - 0.5), np.abs((v / 22.0 + 0.37 * np.floor(u / 30.0)) % 1 - 0.5))
    amount = smoothstep(6.0, 9.0, path) * (1.0 - smoothstep(0.45, 0.5, edge)) * 0.85
    return np.asarray(colours + (crop - colours) * amount[..., None])


def build_water(terrain: Terrain, layout: Layout) -> Mesh | None:
    """The water's level surface, over every cell that has some land beneath it."""
    if not layout.has_water:
        return None
    x, z = np.meshgrid(terrain.xs, terrain.zs)
    wet = (layout.shore_distance(x, z) < 3.0) | (layout.channel_distance(x, z) < 3.0)
    wet &= terrain.heights < WATER_LEVEL + 0.02
    cells = wet[:-1, :-1] | wet[1:, :-1] | wet[:-1, 1:] | wet[1:, 1:]
    if not cells.any():
        return None
    faces = grid_faces(len(terrain.xs), cells)
    used, index = np.unique(faces, return_inverse=True)
    vertices = np.stack([x.ravel(), np.full(x.size, WATER_LEVEL), z.ravel()], -1)[used]
    depth = WATER_LEVEL - terrain.heights.ravel()[used]
    mesh = make_mesh(vertices, index.reshape(-1, 3), Material.WATER, (0, 0, 0))
    deep = smoothstep(0.0, 2.2, depth)[:, None]
    colour = np.array(_SHALLOW) + (np.array(_DEEP) - np.array(_SHALLOW)) * deep
    mesh.colour[:] = colour[mesh.faces].mean(1)
    return mesh
