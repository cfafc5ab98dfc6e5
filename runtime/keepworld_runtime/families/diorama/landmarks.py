"""What one walks towards: windmill, tower, lighthouse, abbey, bridge, standing stones, castle. `LANDMARKS` lists them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from keepworld_runtime.families.diorama.biomes import srgb
from keepworld_runtime.families.diorama.layout import Crossing
from keepworld_runtime.families.diorama.meshes import Kit, Mesh, beam, blob, faceted, frustum
from keepworld_runtime.families.diorama.spec import Material

_STONE, _DARK_STONE, _PALE = srgb("#a8a194"), srgb("#7d776d"), srgb("#efe8da")
_WOOD, _DARK_WOOD, _SAIL = srgb("#7d5c40"), srgb("#4d382a"), srgb("#e9dfc6")
_SLATE, _RED, _GLASS, _FLAME = srgb("#51647a"), srgb("#c2452f"), srgb("#39495a"), srgb("#ffd27a")
_MEGALITH = srgb("#9a958b")
_DEPTH = -2.0  # walls start this far below the ground


@dataclass(frozen=True, slots=True, eq=False)
class Landmark:
    """A built landmark about the origin.

    Attributes:
        mesh: its triangles.
        rounds: (x, z, radius) of what a walker cannot stand on.
        lamps: [x, up, z, nx, nup, nz] of each lit window.
    """

    mesh: Mesh
    rounds: list[tuple[float, float, float]]
    lamps: list[tuple[float, ...]] = field(default_factory=list)


def _pane(kit: Kit, lamps: list[tuple[float, ...]], radius: float, up: float, angle: float, variation: float) -> None:
    """A narrow window in a round wall of `radius`, at `angle` from -z towards -x."""
    piece = Kit()
    piece.box((0, 0, -radius), (0.8, 1.3, 0.3), Material.STONE, _DARK_STONE)
    piece.box((0, 0, -radius - 0.14), (0.5, 1.0, 0.06), Material.WINDOW, _GLASS)
    kit.add(piece.mesh().placed(0, up, 0, yaw=angle).varied(variation))
    lamps.append((-radius * np.sin(angle), up, -radius * np.cos(angle), -np.sin(angle), 0.0, -np.cos(angle)))


def _door(kit: Kit, radius: float) -> None:
    kit.box((0, 1.15, -radius), (1.5, 2.5, 0.5), Material.STONE, _DARK_STONE)
    kit.box((0, 1.05, -radius - 0.2), (1.1, 2.1, 0.2), Material.PLANKS, _WOOD)


def _crenellate(kit: Kit, radius: float, up: float, count: int, colour: tuple[float, float, float]) -> None:
    for k in range(count):
        angle = 2 * np.pi * k / count
        centre = (radius * np.sin(angle), up, radius * np.cos(angle))
        kit.box(centre, (radius * 3.3 / count, 0.9, 0.45), Material.STONE, colour, yaw=angle)


def _windmill(rng: np.random.Generator) -> Landmark:
    kit, lamps = Kit(), []  # type: tuple[Kit, list[tuple[float, ...]]]
    kit.add(frustum([3.5, 3.2, 3.15], [_DEPTH, 1.6, 1.8], Material.STONE, _STONE, sides=12))
    kit.add(frustum([3.05, 2.1], [1.8, 9.6], Material.PLASTER, _PALE, sides=12))
    kit.add(frustum([3.9, 3.9], [3.4, 3.6], Material.PLANKS, _WOOD, sides=12))
    kit.add(frustum([2.35, 2.4, 1.5, 0.0], [9.5, 10.0, 11.5, 12.4], Material.ROOF, srgb("#7a4634"), sides=12))
    _door(kit, 3.25)
    for up, angle in ((5.2, 0.0), (7.6, 0.0), (5.6, 2.1), (5.6, -2.1)):
        _pane(kit, lamps, 3.05 - 0.122 * (up - 1.8), up, angle, float(rng.random()))
    sails = Kit()
    kit.add(beam((0, 10.2, -1.4), (0, 10.2, -3.5), 0.42, Material.BARK, _DARK_WOOD))
    turn = float(rng.uniform(0.25, 0.6))
    for k in range(4):
        c, s = np.cos(turn + k * np.pi / 2), np.sin(turn + k * np.pi / 2)

        def at(out: float, across: float, c: float = c, s: float = s) -> tuple[float, float, float]:
            return (out * s + across * c, 10.2 + out * c - across * s, -3.3)

        sails.add(beam(at(0, 0), at(7.4, 0), 0.22, Material.BARK, _DARK_WOOD))
        sails.add(beam(at(1.4, 1.5), at(7.3, 1.5), 0.1, Material.BARK, _DARK_WOOD))
        for bar in range(7):
            out = 1.5 + bar * 0.96
            sails.add(beam(at(out, 0), at(out, 1.5), 0.09, Material.BARK, _DARK_WOOD))
        quad = np.array([at(1.5, 0.08), at(7.2, 0.08), at(7.2, 1.42), at(1.5, 1.42)])
        back = quad + np.array([0, 0, 0.08])
        sides = [quad, back] + [np.stack([quad[i], quad[(i + 1) % 4], back[(i + 1) % 4], back[i]]) for i in range(4)]
        sails.add(faceted(sides, Material.PLAIN, _SAIL))
    kit.add(sails.mesh())
    return Landmark(kit.mesh(), [(0.0, 0.0, 3.6)], lamps)


def _tower(rng: np.random.Generator) -> Landmark:
    kit, lamps = Kit(), []  # type: tuple[Kit, list[tuple[float, ...]]]
    kit.add(frustum([3.9, 3.3, 2.9], [_DEPTH, 1.2, 12.5], Material.STONE, _STONE, sides=14))
    kit.add(frustum([2.9, 3.5, 3.5], [12.2, 13.2, 14.2], Material.STONE, _DARK_STONE, sides=14))
    _crenellate(kit, 3.3, 14.5, 10, _STONE)
    kit.add(frustum([2.7, 2.85, 0.0], [14.0, 14.3, 19.2], Material.ROOF, _SLATE, sides=14))
    _door(kit, 3.35)
    for up, angle in ((4.5, 0.25), (8.0, -0.3), (11.2, 0.2), (6.5, 1.7), (9.5, -1.8), (11.2, 2.9)):
        _pane(kit, lamps, 3.3 - 0.035 * (up - 1.2), up, angle, float(rng.random()))
    kit.add(beam((0, 19.0, 0), (0, 21.5, 0), 0.12, Material.BARK, _DARK_WOOD))
    flag = [[(0, 21.4, z), (0, 20.3, z), (1.8, 20.9, z)] for z in (-0.04, 0.04)]
    edges = [
        [(a), (b), (*b[:2], 0.04), (*a[:2], 0.04)] for a, b in zip(flag[0], flag[0][1:] + flag[0][:1], strict=True)
    ]
    kit.add(faceted([*flag, *edges], Material.PLAIN, _RED))
    return Landmark(kit.mesh(), [(0.0, 0.0, 3.8)], lamps)


def _lighthouse(rng: np.random.Generator) -> Landmark:
    kit, lamps = Kit(), []  # type: tuple[Kit, list[tuple[float, ...]]]
    kit.add(frustum([4.2, 3.8], [_DEPTH, 1.0], Material.STONE, _STONE, sides=14))
    bands = np.linspace(1.0, 14.5, 6)
    for k in range(5):
        radii = [2.75 - 0.075 * (h - 1.0) for h in bands[k : k + 2]]
        kit.add(frustum(radii, list(bands[k : k + 2]), Material.PLASTER, _RED if k % 2 else _PALE, sides=16))
    kit.add(frustum([2.5, 2.5], [14.4, 14.8], Material.STONE, _DARK_STONE, sides=16))
    for k in range(10):
        angle = 2 * np.pi * k / 10
        x, z = 2.35 * np.sin(angle), 2.35 * np.cos(angle)
        kit.box((x, 15.2, z), (0.08, 0.9, 0.08), Material.PLAIN, _DARK_STONE)
    kit.add(frustum([2.4, 2.4], [15.6, 15.72], Material.PLAIN, _DARK_STONE, sides=16))
    kit.add(frustum([1.25, 1.25], [14.8, 16.9], Material.WINDOW, _FLAME, sides=10).varied(0.0))
    kit.add(frustum([1.65, 1.6, 0.0], [16.8, 17.05, 18.6], Material.ROOF, _RED, sides=12))
    _door(kit, 2.75)
    for up, angle in ((4.6, 0.1), (8.6, -0.2), (11.9, 0.15), (6.6, 2.4)):
        _pane(kit, lamps, 2.75 - 0.075 * (up - 1.0), up, angle, float(rng.random()))
    lamps += [(1.4 * s, 15.8, 1.4 * c, s, 0.0, c) for s, c in ((0, 1), (1, 0), (0, -1), (-1, 0))]
    return Landmark(kit.mesh(), [(0.0, 0.0, 4.1)], lamps)


def _abbey(rng: np.random.Generator) -> Landmark:
    """A roofless nave: two rows of pointed arches, an east gable with a great window, fallen stones."""
    kit = Kit()
    rounds: list[tuple[float, float, float]] = []
    for side in (-1.0, 1.0):
        for k in range(5):
            x, z = side * 4.2, -6.8 + 3.4 * k
            tall = 6.2 if rng.random() < 0.75 else float(rng.uniform(2.0, 4.2))
            kit.box((x, (tall + _DEPTH) / 2, z), (0.95, tall - _DEPTH, 0.95), Material.STONE, _STONE)
            kit.box((x, 0.25, z), (1.25, 0.6, 1.25), Material.STONE, _DARK_STONE)
            rounds.append((x, z, 0.7))
            if k < 4 and rng.random() < 0.78:
                _pointed_arch(kit, (x, 4.3, z + 0.45), (x, 4.3, z + 2.95), 1.9, 0.7)
                if rng.random() < 0.6:
                    kit.box((x, 6.9, z + 1.7), (0.8, float(rng.uniform(0.8, 1.9)), 3.4), Material.STONE, _STONE)
    for x in (-3.3, 3.3):
        kit.box((x, 3.6, 8.2), (2.6, 11.2, 1.0), Material.STONE, _STONE)
        rounds += [(x - 0.7, 8.2, 0.9), (x + 0.7, 8.2, 0.9)]
    gable = [[(-4.6, 9.1, z), (4.6, 9.1, z), (0.3, 13.6, z), (-0.6, 12.9, z)] for z in (7.7, 8.7)]
    edges = [[gable[0][i], gable[0][(i + 1) % 4], gable[1][(i + 1) % 4], gable[1][i]] for i in range(4)]
    kit.add(faceted([*gable, *edges], Material.STONE, _STONE))
    _pointed_arch(kit, (-2.0, 6.6, 8.2), (2.0, 6.6, 8.2), 2.4, 0.9)
    kit.box((0, 4.8, 8.2), (0.3, 8.6, 0.4), Material.STONE, _DARK_STONE)
    kit.box((0, 1.2, 8.2), (4.2, 1.0, 0.9), Material.STONE, _STONE)
    rounds.append((0.0, 8.2, 1.6))
    for _ in range(14):
        x, z = rng.uniform(-6.5, 6.5), rng.uniform(-9, 9)
        size = rng.uniform(0.35, 0.8)
        kit.box((x, 0.12, z), (size * 1.5, size, size), Material.STONE, _DARK_STONE, yaw=float(rng.uniform(0, 3)))
    return Landmark(kit.mesh(), rounds)


def _pointed_arch(kit: Kit, start: tuple[float, ...], end: tuple[float, ...], rise: float, thickness: float) -> None:
    a, b = np.array(start), np.array(end)
    for s, t in ((a, b), (b, a)):
        curve = [s + (t - s) * f + (0.0, rise * g, 0.0) for f, g in ((0, 0), (0.1, 0.42), (0.27, 0.76), (0.52, 1.0))]
        for p, q in itertools.pairwise(curve):
            kit.add(beam(p, q + (q - p) * 0.12, thickness, Material.STONE, _DARK_STONE))


def _stones(rng: np.random.Generator) -> Landmark:
    kit = Kit()
    rounds: list[tuple[float, float, float]] = []
    count, radius = 12, 6.4
    for k in range(count):
        angle = 2 * np.pi * k / count
        tall, x, z = rng.uniform(3.0, 3.9), radius * np.sin(angle), radius * np.cos(angle)
        if rng.random() < 0.12:
            fallen = _megalith(rng, 1.0).placed(x, 0.4, z, yaw=angle + 0.6)
            kit.add(fallen)
        else:
            kit.add(_megalith(rng, tall).placed(x, 0, z, yaw=angle))
            rounds.append((x, z, 1.0))
        if k % 3 == 0:
            middle = angle + np.pi / count
            lintel = (radius * 0.985 * np.sin(middle), 3.85, radius * 0.985 * np.cos(middle))
            kit.box(lintel, (4.1, 0.75, 1.0), Material.ROCK, _MEGALITH, yaw=middle)
    altar = blob((1.7, 0.6, 1.0), rng, Material.ROCK, _MEGALITH, level=1, roughness=0.1)
    kit.add(altar.placed(0, 0.35, 0))
    rounds.append((0.0, 0.0, 1.6))
    return Landmark(kit.mesh(), rounds)


def _megalith(rng: np.random.Generator, tall: float) -> Mesh:
    lean = rng.uniform(-0.12, 0.12, 2)
    low = np.array([(-0.95, -0.8, -0.5), (0.95, -0.8, -0.5), (0.95, -0.8, 0.5), (-0.95, -0.8, 0.5)])
    high = low * (0.78, 0, 0.8) + (lean[0], tall, lean[1]) + rng.uniform(-0.1, 0.1, (4, 3))
    sides = [np.stack([low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]]) for i in range(4)]
    return faceted([*sides, low, high], Material.ROCK, _MEGALITH)


def _castle(rng: np.random.Generator) -> Landmark:
    kit, lamps = Kit(), []  # type: tuple[Kit, list[tuple[float, ...]]]
    rounds: list[tuple[float, float, float]] = []
    reach, wall = 11.0, 6.2
    for x in (-reach, reach):
        for z in (-reach, reach):
            tower = Kit()
            tall = 10.5 + 1.5 * (z > 0)
            tower.add(frustum([2.9, 2.5, 2.4], [2 * _DEPTH, 0.8, tall], Material.STONE, _STONE, sides=12))
            tower.add(
                frustum([2.4, 2.85, 2.85], [tall - 0.4, tall + 0.4, tall + 1.2], Material.STONE, _DARK_STONE, sides=12)
            )
            tower.add(frustum([3.05, 0.0], [tall + 1.1, tall + 5.6], Material.ROOF, _SLATE, sides=12))
            _pane(tower, [], 2.42, tall - 2.6, 0.3, float(rng.random()))
            lamps.append((x, tall - 2.6, z - 2.5, 0.0, 0.0, -1.0))
            kit.add(tower.mesh().placed(x, 0, z))
            rounds.append((x, z, 3.0))
    for turn in range(4):
        piece = Kit()
        spans = ((-reach, -1.9), (1.9, reach)) if turn == 0 else ((-reach, reach),)
        for a, b in spans:
            middle = ((a + b) / 2, (wall + 2 * _DEPTH) / 2, -reach)
            piece.box(middle, (b - a, wall - 2 * _DEPTH, 1.5), Material.STONE, _STONE)
        for k in range(11):
            piece.box(((k - 5) * 1.75, wall + 0.35, -reach - 0.5), (0.95, 0.8, 0.5), Material.STONE, _STONE)
        if turn == 0:
            piece.box((0, 5.3, -reach), (4.0, 2.6, 2.2), Material.STONE, _STONE)
            _pointed_arch(piece, (-1.75, 2.3, -reach - 0.6), (1.75, 2.3, -reach - 0.6), 1.6, 0.6)
            for s in (-1.0, 1.0):
                piece.box((s * 2.3, 3.0, -reach), (0.9, 10.0, 2.6), Material.STONE, _DARK_STONE)
        kit.add(piece.mesh().placed(0, 0, 0, yaw=turn * np.pi / 2))
        c, s = np.cos(turn * np.pi / 2), np.sin(turn * np.pi / 2)
        rounds += [
            (c * k - s * reach, -s * k - c * reach, 1.2)
            for k in np.arange(-reach, reach + 1, 1.5)
            if turn or abs(k) > 2.2
        ]
    kit.box((1.5, 5.0, 3.5), (9.5, 14.0, 7.5), Material.STONE, np.array(_STONE) * 1.05)
    for x in np.arange(-2.6, 6.0, 1.72):
        for z in (-0.1, 7.1):
            kit.box((float(x), 12.35, z), (0.9, 0.8, 0.5), Material.STONE, _STONE)
    rounds += [(x, z, 2.8) for x in (-0.9, 1.5, 3.9) for z in (2.0, 5.0)]
    for x in (-1.5, 1.5, 4.5):
        for up in (4.6, 9.0):
            piece = Kit()
            piece.box((0, 0, 0), (1.1, 1.7, 0.3), Material.STONE, _DARK_STONE)
            piece.box((0, 0, -0.14), (0.75, 1.35, 0.06), Material.WINDOW, _GLASS)
            kit.add(piece.mesh().placed(x, up, -0.27).varied(float(rng.random())))
            lamps.append((x, up, -0.4, 0.0, 0.0, -1.0))
    spire = Kit()
    spire.add(frustum([1.8, 1.8], [6.0, 17.0], Material.STONE, _STONE, sides=10))
    spire.add(frustum([2.3, 0.0], [16.8, 22.0], Material.ROOF, _SLATE, sides=10))
    _pane(spire, [], 1.75, 14.6, 0.2, 0.1)
    kit.add(spire.mesh().placed(-2.6, 0, 6.2))
    return Landmark(kit.mesh(), rounds, lamps)


LANDMARKS: dict[str, Callable[[np.random.Generator], Landmark]] = {
    "windmill": _windmill,
    "tower": _tower,
    "lighthouse": _lighthouse,
    "abbey": _abbey,
    "stones": _stones,
    "castle": _castle,
}


def deck_rise(along: np.ndarray, crossing: Crossing, grand: bool) -> np.ndarray:
    """How much higher the deck is `along` metres [...] from its middle than at its ends."""
    return np.asarray(
        (1.15 if grand else 0.35) * np.cos(np.clip(along / crossing.half_length, -1, 1) * np.pi / 2) ** 1.3
    )


def build_bridge(crossing: Crossing, bank: float, bed: float, grand: bool) -> Mesh:
    """A bridge along z about the origin: of stone with an arch if `grand`, else of planks. `bank`, `bed`: heights."""
    kit = Kit()
    half, wide = crossing.half_length, crossing.half_width
    material, colour = (Material.STONE, _STONE) if grand else (Material.PLANKS, _WOOD)
    stations = np.linspace(-half, half, 13)
    top = bank + deck_rise(stations, crossing, grand)
    arch = half * 0.72
    crown = bank + deck_rise(np.zeros(1), crossing, grand)[0] - 0.5
    for k in range(12):
        (z0, z1), (u0, u1) = stations[k : k + 2], top[k : k + 2]
        if grand:
            under = [
                bed + (crown - bed) * np.sqrt(max(0.0, 1 - (z / arch) ** 2)) if abs(z) < arch else bed for z in (z0, z1)
            ]
        else:
            under = [u0 - 0.16, u1 - 0.16]
        ring = [(u0, z0), (u1, z1), (under[1], z1), (under[0], z0)]
        _slab(kit, ring, -wide, wide, material, colour)
        for s in (-1.0, 1.0):
            if grand:
                rail = [(u0 - 0.1, z0), (u1 - 0.1, z1), (u1 + 0.75, z1), (u0 + 0.75, z0)]
                _slab(kit, rail, s * wide - 0.2, s * wide + 0.2, material, _DARK_STONE)
            else:
                kit.add(beam((s * wide, u0 + 0.8, z0), (s * wide, u1 + 0.8, z1), 0.1, material, _DARK_WOOD))
                kit.box((s * wide, u0 + 0.3, z0), (0.12, 1.2, 0.12), material, _DARK_WOOD)
    return kit.mesh()


def _slab(
    kit: Kit,
    ring: list[tuple[float, float]],
    x0: float,
    x1: float,
    material: Material,
    colour: tuple[float, float, float],
) -> None:
    """A solid from a side view, four (up, z), that reaches from x0 to x1."""
    ends = [[(x, *p) for p in ring] for x in (x0, x1)]
    edges = [[ends[0][i], ends[0][(i + 1) % 4], ends[1][(i + 1) % 4], ends[1][i]] for i in range(4)]
    kit.add(faceted([*ends, *edges], material, colour))
