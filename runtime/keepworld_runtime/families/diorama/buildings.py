"""Houses: gabled, boarded, whitewashed or of mud, by the style of the country. Each is made at the origin, door to -z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keepworld_runtime.families.diorama.biomes import Colour, srgb
from keepworld_runtime.families.diorama.meshes import Kit, Mesh, faceted, frustum
from keepworld_runtime.families.diorama.spec import Material

_FOUNDATION_DEPTH = 1.4  # metres below the ground, for slopes
_WOOD, _DARK_WOOD, _GLASS = srgb("#8a6544"), srgb("#4d382a"), srgb("#39495a")
_STONE_GREY = srgb("#97928a")


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """What the houses of a country are like.

    Attributes:
        walls: material and the colours to choose from. roofs: colours. trim: frames, doors and beams.
        pitch: height of the roof over half its width. overhang: metres of eaves. beams: whether timbers show.
        storeys: most storeys. stilts: height in metres above the ground.
    """

    walls: tuple[Material, tuple[Colour, ...]]
    roofs: tuple[Colour, ...]
    trim: tuple[Colour, ...]
    pitch: float = 0.85
    overhang: float = 0.5
    beams: bool = False
    storeys: int = 2
    stilts: float = 0.0
    flat: bool = False


STYLES: dict[str, Style] = {
    "timber": Style(
        walls=(Material.PLASTER, (srgb("#ead9b8"), srgb("#e3c9a0"), srgb("#efe6d2"), srgb("#d9b48f"))),
        roofs=(srgb("#a5523b"), srgb("#8f4a3a"), srgb("#b4663f")),
        trim=(srgb("#5b4131"), srgb("#6d4c35")),
        pitch=1.0,
        beams=True,
    ),
    "log": Style(
        walls=(Material.PLANKS, (srgb("#96704a"), srgb("#7f5d40"), srgb("#a58257"))),
        roofs=(srgb("#54624f"), srgb("#5f5149"), srgb("#6d5a48")),
        trim=(srgb("#e3d6b8"), srgb("#4d382a")),
        pitch=1.0,
        overhang=0.7,
        storeys=1,
    ),
    "chalet": Style(
        walls=(Material.PLANKS, (srgb("#8d6242"), srgb("#a4764d"), srgb("#74503a"))),
        roofs=(srgb("#5a5552"), srgb("#6d4f40")),
        trim=(srgb("#efe3c8"), srgb("#a33f34")),
        pitch=0.72,
        overhang=0.95,
    ),
    "adobe": Style(
        walls=(Material.PLASTER, (srgb("#d9a577"), srgb("#e3bd92"), srgb("#c98f64"))),
        roofs=(srgb("#c9986c"),),
        trim=(srgb("#3d7d86"), srgb("#7a4f35")),
        flat=True,
    ),
    "whitewash": Style(
        walls=(Material.PLASTER, (srgb("#f3efe4"), srgb("#f0e2d0"), srgb("#e9eef0"))),
        roofs=(srgb("#c9704a"), srgb("#b75f43"), srgb("#5f7f94")),
        trim=(srgb("#2f6d9b"), srgb("#3b8f8c")),
        pitch=0.6,
        overhang=0.3,
    ),
    "nordic": Style(
        walls=(Material.PLANKS, (srgb("#a5392f"), srgb("#d6a544"), srgb("#3f5f77"), srgb("#e3ddd0"))),
        roofs=(srgb("#4c4f54"), srgb("#5d6a4a")),
        trim=(srgb("#f3efe6"),),
        pitch=1.05,
        storeys=1,
    ),
    "stilt": Style(
        walls=(Material.PLANKS, (srgb("#b48f5c"), srgb("#a17a4c"))),
        roofs=(srgb("#b59a5e"), srgb("#9c854f")),
        trim=(srgb("#6b4a30"),),
        pitch=1.15,
        overhang=0.85,
        storeys=1,
        stilts=1.1,
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class House:
    """A built house.

    Attributes:
        mesh: about the origin, standing on the ground at 0.
        half_size: half its width (x) and depth (z), metres, walls only.
        lamps: [N, 6] middles and outward normals of the windows, for the light they throw at night.
    """

    mesh: Mesh
    half_size: tuple[float, float]
    lamps: np.ndarray


class _Builder:
    """One house under construction."""

    def __init__(self, style: Style, rng: np.random.Generator) -> None:
        self.style, self.rng, self.kit = style, rng, Kit()
        self.width, self.depth = float(rng.uniform(5.6, 7.8)), float(rng.uniform(4.6, 5.8))
        self.storeys = int(rng.integers(1, style.storeys + 1))
        self.base = style.stilts + 0.35
        self.top = self.base + 2.45 * self.storeys + 0.1
        self.material, walls = style.walls
        self.wall = np.array(_choose(rng, walls)) * rng.uniform(0.92, 1.06)
        self.roof = np.array(_choose(rng, style.roofs)) * rng.uniform(0.9, 1.1)
        self.trim = _choose(rng, style.trim)
        self.lamps: list[tuple[float, ...]] = []

    def foundation(self) -> None:
        if self.style.stilts:
            for x in (-0.5, 0, 0.5):
                for z in (-0.5, 0.5):
                    post = frustum([0.13, 0.11], [-_FOUNDATION_DEPTH, self.base], Material.BARK, _WOOD, sides=6)
                    self.kit.add(post.placed(x * (self.width - 0.4), 0, z * (self.depth - 0.4)))
            self.kit.box((0, self.base - 0.1, -0.6), (self.width + 0.4, 0.2, self.depth + 1.4), Material.PLANKS, _WOOD)
            for k in range(4):
                up = (k + 1) * self.base / 5
                self.kit.box((0, up - 0.06, -self.depth / 2 - 2.4 + 0.3 * k), (1.1, 0.12, 0.34), Material.PLANKS, _WOOD)
        else:
            size = (self.width + 0.24, self.base + _FOUNDATION_DEPTH, self.depth + 0.24)
            self.kit.box((0, (self.base - _FOUNDATION_DEPTH) / 2, 0), size, Material.STONE, _STONE_GREY)
            self.kit.box((0.0, 0.02, -self.depth / 2 - 0.6), (1.5, 0.34, 1.0), Material.STONE, _STONE_GREY)

    def gable_and_roof(self) -> None:
        w, d, style = self.width / 2, self.depth / 2, self.style
        rise = d * style.pitch
        a, b, c = (self.top, -d), (self.top, d), (self.top + rise, 0.0)
        ends = [[(x, *a), (x, *b), (x, *c)] for x in (-w, w)]
        slopes = [[(-w, *p), (w, *p), (w, *c), (-w, *c)] for p in (a, b)]
        floor = [(-w, *a), (w, *a), (w, *b), (-w, *b)]
        self.kit.add(faceted([*ends, *slopes, floor], self.material, self.wall * 0.96))
        out, thick = style.overhang, 0.17
        along = w + out * 0.8
        for s in (-1.0, 1.0):
            low = np.array([self.top - out * style.pitch + 0.04, s * (d + out)])
            high = np.array([self.top + rise + 0.05, -s * 0.02])
            lift = np.array([thick * 1.35, 0.0])
            ring = [low, high, high + lift, low + lift]
            sides = [[(x, *p) for p in ring] for x in (-along, along)]
            sides += [
                [(x, *p) for x, p in zip((-along, along, along, -along), (p, p, q, q), strict=True)]
                for p, q in zip(ring, ring[1:] + ring[:1], strict=True)
            ]
            self.kit.add(faceted(sides, Material.ROOF, self.roof))
        ridge = (2 * along + 0.06, 0.16, 0.3)
        self.kit.box((0, self.top + rise + 0.24, 0), ridge, Material.ROOF, self.roof * 0.8)

    def flat_roof(self) -> None:
        w, d = self.width, self.depth
        for x, z, sx, sz in (
            (0, d / 2, w, 0.3),
            (0, -d / 2, w, 0.3),
            (w / 2, 0, 0.3, d + 0.3),
            (-w / 2, 0, 0.3, d + 0.3),
        ):
            self.kit.box((x, self.top + 0.22, z), (sx, 0.5, sz), self.material, self.wall)
        for k in range(5):
            x = (k - 2) * w / 5.6
            self.kit.box((x, self.top - 0.35, 0), (0.16, 0.16, d + 0.9), Material.BARK, _DARK_WOOD)
        if self.storeys == 1 and self.rng.random() < 0.6:
            room = (w * 0.46, 2.0, d * 0.7)
            self.kit.box((w * 0.2, self.top + 1.0, d * 0.1), room, self.material, self.wall * 1.03)
            self.window(w * 0.2, self.top + 1.0, -d * 0.25, 0.0)

    def window(self, x: float, up: float, z: float, yaw: float) -> None:
        """A framed window with a cross, standing out of the wall that looks towards -z turned by `yaw`."""
        piece, wide, tall = Kit(), 0.82, 1.05
        piece.box((0, 0, 0.0), (wide + 0.24, tall + 0.24, 0.10), Material.PLANKS, self.trim)
        piece.box((0, 0, -0.055), (wide, tall, 0.03), Material.WINDOW, _GLASS)
        piece.box((0, 0, -0.07), (0.07, tall, 0.03), Material.PLANKS, self.trim)
        piece.box((0, 0.1, -0.07), (wide, 0.07, 0.03), Material.PLANKS, self.trim)
        piece.box((0, -tall / 2 - 0.14, -0.09), (wide + 0.4, 0.09, 0.28), Material.PLANKS, self.trim)
        if self.style.beams or self.style.overhang < 0.4:
            for s in (-1, 1):
                piece.box((s * (wide / 2 + 0.33), 0, -0.04), (0.38, tall + 0.1, 0.06), Material.PLANKS, self.trim)
        self.kit.add(piece.mesh().placed(x, up, z, yaw=yaw).varied(float(self.rng.random())))
        self.lamps.append((x, up, z, -np.sin(yaw), 0.0, -np.cos(yaw)))

    def openings(self) -> None:
        w, d = self.width / 2, self.depth / 2
        door = (1.0, 2.05)
        self.kit.box(
            (0, self.base + door[1] / 2, -d - 0.02), (door[0] + 0.26, door[1] + 0.16, 0.14), Material.PLANKS, self.trim
        )
        self.kit.box((0, self.base + door[1] / 2, -d - 0.08), (door[0], door[1], 0.06), Material.PLANKS, _WOOD)
        self.kit.box((0.36, self.base + 1.0, -d - 0.13), (0.08, 0.08, 0.07), Material.PLAIN, srgb("#d8b04a"))
        for storey in range(self.storeys):
            up = self.base + 1.4 + 2.5 * storey
            for x in (-w * 0.62, w * 0.62):
                self.window(x, up, -d, 0.0)
                self.window(x, up, d, np.pi)
            if storey:
                self.window(0.0, up, -d, 0.0)
            for s in (-1.0, 1.0):
                self.window(s * w, up, float(self.rng.uniform(-0.2, 0.2)), -s * np.pi / 2)
        if not self.style.flat and self.depth * self.style.pitch > 4.2:
            for s in (-1.0, 1.0):
                self.window(s * w, self.top + 0.75, 0.0, -s * np.pi / 2)

    def timbers(self) -> None:
        w, d, dark = self.width / 2, self.depth / 2, self.trim
        height = self.top - self.base
        for x in (-w, w):
            for z in (-d, d):
                self.kit.box((x, self.base + height / 2, z), (0.24, height, 0.24), Material.PLANKS, dark)
        for level in range(self.storeys + 1):
            up = self.base + 0.12 + (height - 0.24) * level / self.storeys
            for z in (-d, d):
                self.kit.box((0, up, z), (self.width, 0.2, 0.12), Material.PLANKS, dark)
            for x in (-w, w):
                self.kit.box((x, up, 0), (0.12, 0.2, self.depth), Material.PLANKS, dark)
        for x in (-w * 0.3, w * 0.3):
            for z in (-d, d):
                self.kit.box((x, self.base + height / 2, z), (0.16, height, 0.11), Material.PLANKS, dark)

    def chimney(self) -> None:
        w, rise = self.width / 2, self.depth / 2 * self.style.pitch
        x, z = float(self.rng.choice([-1, 1])) * w * 0.55, 0.7
        up = self.top + rise * 0.6
        self.kit.box((x, up + 0.35, z), (0.7, 2.2, 0.7), Material.STONE, _STONE_GREY)
        self.kit.box((x, up + 1.5, z), (0.86, 0.16, 0.86), Material.STONE, np.array(_STONE_GREY) * 0.8)
        self.kit.box((x, up + 1.66, z), (0.4, 0.3, 0.4), Material.PLAIN, srgb("#8f4a3a"))


def _choose(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def build_house(style: Style, rng: np.random.Generator) -> House:
    """Build one house of a style."""
    builder = _Builder(style, rng)
    height = builder.top - builder.base
    builder.foundation()
    middle = (0, builder.base + height / 2, 0)
    builder.kit.box(middle, (builder.width, height, builder.depth), builder.material, builder.wall)
    if style.flat:
        builder.flat_roof()
    else:
        builder.gable_and_roof()
        if not style.stilts:
            builder.chimney()
    builder.openings()
    if style.beams:
        builder.timbers()
    return House(builder.kit.mesh(), (builder.width / 2, builder.depth / 2), np.array(builder.lamps))


def build_fence(points: np.ndarray, heights: np.ndarray) -> Mesh:
    """Posts at points [N, 2] (x, z) on ground of heights [N], two rails between neighbours."""
    kit = Kit()
    for (x, z), up in zip(points, heights, strict=True):
        kit.box((x, up + 0.35, z), (0.13, 1.3, 0.13), Material.PLANKS, _WOOD)
    for k in range(len(points) - 1):
        (x0, z0), (x1, z1) = points[k], points[k + 1]
        length, yaw = np.hypot(x1 - x0, z1 - z0), np.arctan2(x1 - x0, z1 - z0)
        for rail in (0.42, 0.8):
            middle = ((x0 + x1) / 2, (heights[k] + heights[k + 1]) / 2 + rail, (z0 + z1) / 2)
            if abs(heights[k + 1] - heights[k]) < 0.5:
                kit.box(middle, (0.06, 0.12, length), Material.PLANKS, _WOOD, yaw=yaw)
    return kit.mesh()
