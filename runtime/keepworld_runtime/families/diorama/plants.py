"""Trees, bushes, flowers and stones. Each is made at the origin, growing up; `KINDS` is the table of them all.

`detail` is 2 beside the path, 1 farther off and 0 for the distant woods, where a tree is a few dozen triangles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keepworld_runtime.families.diorama.biomes import srgb
from keepworld_runtime.families.diorama.meshes import Kit, Mesh, beam, blob, frustum, make_mesh
from keepworld_runtime.families.diorama.spec import Material

_ROOT = -0.45  # trunks start this far below the ground, so that they meet slopes
_BARK, _PALE_BARK = srgb("#6b4f3a"), srgb("#d9d4c6")
_LEAF, _DARK_LEAF, _LIGHT_LEAF = srgb("#6d9038"), srgb("#47702f"), srgb("#93ab4a")
_NEEDLE, _PINE = srgb("#3b6344"), srgb("#4c7440")
_STRAW = srgb("#d8b65c")


def _trunk(kit: Kit, height: float, radius: float, colour: tuple[float, float, float], detail: int) -> None:
    sides = 7 if detail == 2 else 5 if detail == 1 else 3
    radii, heights = [radius * 1.55, radius, radius * 0.62], [_ROOT, 0.5, height]
    kit.add(frustum(radii, heights, Material.BARK, colour, sides=sides))


def _broadleaf(rng: np.random.Generator, detail: int, leaf: tuple[float, float, float] = _LEAF) -> Mesh:
    kit = Kit()
    height = rng.uniform(4.6, 7.4)
    spread = height * rng.uniform(0.27, 0.36)
    _trunk(kit, height * 0.62, 0.036 * height, _BARK, detail)
    middle = blob((spread, spread * 0.86, spread), rng, Material.FOLIAGE, leaf, level=min(detail, 1) + (detail == 2))
    kit.add(middle.placed(0, height * 0.68, 0))
    for k in range((2, 3, 5)[detail]):
        angle = 2 * np.pi * (k + rng.uniform(-0.3, 0.3)) / (2, 3, 5)[detail]
        size = spread * rng.uniform(0.52, 0.74)
        lump = blob((size, size * 0.84, size), rng, Material.FOLIAGE, leaf, level=min(detail, 1))
        reach = spread * rng.uniform(0.62, 0.82)
        up = height * rng.uniform(0.54, 0.86)
        kit.add(lump.placed(reach * np.cos(angle), up, reach * np.sin(angle)).tinted(rng.uniform(0.88, 1.12)))
        if detail == 2 and k < 3:
            tip = (reach * 0.8 * np.cos(angle), up - 0.3 * size, reach * 0.8 * np.sin(angle))
            kit.add(beam((0, height * 0.36, 0), tip, 0.024 * height, Material.BARK, _BARK))
    return kit.mesh()


def _birch(rng: np.random.Generator, detail: int) -> Mesh:
    kit = Kit()
    height = rng.uniform(5.2, 8.0)
    _trunk(kit, height * 0.8, 0.017 * height, _PALE_BARK, detail)
    for k in range((2, 4, 6)[detail]):
        t = (k + 0.5) / (2, 4, 6)[detail]
        size = height * (0.17 - 0.07 * t) * rng.uniform(0.9, 1.15)
        angle = rng.uniform(0, 2 * np.pi)
        lump = blob((size, size * 1.15, size), rng, Material.FOLIAGE, _LIGHT_LEAF, level=min(detail, 1))
        kit.add(lump.placed(0.5 * size * np.cos(angle), height * (0.46 + 0.48 * t), 0.5 * size * np.sin(angle)))
    return kit.mesh()


def _poplar(rng: np.random.Generator, detail: int) -> Mesh:
    kit = Kit()
    height, width = rng.uniform(7.5, 10.5), rng.uniform(0.95, 1.3)
    _trunk(kit, height * 0.4, 0.2, _BARK, detail)
    kit.add(
        blob(
            (width, height * 0.44, width), rng, Material.FOLIAGE, _DARK_LEAF, level=max(detail, 1), roughness=0.1
        ).placed(0, height * 0.55, 0)
    )
    return kit.mesh()


def _conifer(rng: np.random.Generator, detail: int) -> Mesh:
    kit = Kit()
    height = rng.uniform(5.0, 10.0)
    width = height * rng.uniform(0.19, 0.25)
    _trunk(kit, height * 0.5, 0.026 * height, _BARK, detail)
    tiers = (2, 4, 5)[detail]
    sides = (5, 7, 9)[detail]
    for k in range(tiers):
        t = k / tiers
        low = height * (0.14 + 0.8 * t * (1 - 0.1 * t))
        top = min(low + height * (0.44 - 0.1 * t), height)
        radius = width * (1.0 - 0.80 * t) * rng.uniform(0.92, 1.08)
        tier = frustum(
            [radius * 0.7, radius, 0.0], [low + 0.05 * height, low, top], Material.NEEDLES, _NEEDLE, sides=sides
        )
        ragged = tier.vertices
        ragged[:, [0, 2]] *= 1.0 + 0.12 * rng.uniform(-1, 1, (len(ragged), 1)) * (ragged[:, 1:2] < low + 0.01)
        kit.add(tier.placed(0, 0, 0, yaw=float(rng.uniform(0, 2))).tinted(0.86 + 0.3 * t))
    return kit.mesh()


def _pine(rng: np.random.Generator, detail: int) -> Mesh:
    kit = Kit()
    height, lean = rng.uniform(5.5, 8.5), rng.uniform(-0.9, 0.9)
    trunk = Kit()
    _trunk(trunk, height * 0.85, 0.024 * height, srgb("#8a5f44"), detail)
    bent = trunk.mesh()
    bent.vertices[:, 0] += lean * (np.maximum(bent.vertices[:, 1], 0) / height) ** 2
    kit.add(bent)
    for k in range((2, 3, 5)[detail]):
        size = height * rng.uniform(0.16, 0.23)
        angle = 2 * np.pi * k / (2, 3, 5)[detail] + rng.uniform(-0.4, 0.4)
        pad = blob((size, size * 0.46, size), rng, Material.NEEDLES, _PINE, level=min(detail, 1))
        kit.add(
            pad.placed(
                lean * 0.8 + 0.75 * size * np.cos(angle), height * rng.uniform(0.78, 0.98), 0.75 * size * np.sin(angle)
            )
        )
    return kit.mesh()


def _palm(rng: np.random.Generator, detail: int) -> Mesh:
    kit = Kit()
    height, lean = rng.uniform(4.5, 7.5), rng.uniform(0.5, 1.6)
    levels = np.linspace(0, 1, (3, 4, 6)[detail])
    trunk = frustum(
        list(0.2 - 0.08 * levels),
        list(_ROOT + (height - _ROOT) * levels),
        Material.BARK,
        srgb("#8f7454"),
        sides=5 + detail,
    )
    trunk.vertices[:, 0] += lean * np.clip(trunk.vertices[:, 1] / height, 0, 1) ** 1.8
    kit.add(trunk)
    fronds = (6, 8, 10)[detail]
    for k in range(fronds):
        angle = 2 * np.pi * (k + rng.uniform(-0.25, 0.25)) / fronds
        kit.add(_frond(rng.uniform(2.0, 2.7), rng.uniform(0.2, 0.75)).placed(lean, height - 0.05, 0, yaw=angle))
    return kit.mesh()


def _frond(length: float, rise: float) -> Mesh:
    """A palm leaf along z that arches up by `rise` and hangs: a roof-shaped, closed strip."""
    t = np.linspace(0, 1, 5)
    z, up = length * t, rise * np.sin(t * np.pi * 0.75) * 1.6 - 1.15 * t**2.4 * length * 0.45
    half = 0.08 + 0.36 * np.sin(np.pi * np.clip(t * 0.94 + 0.04, 0, 1))
    left, spine = np.stack([-half, up - 0.14, z], -1), np.stack([0 * t, up + 0.05, z], -1)
    right, under = np.stack([half, up - 0.14, z], -1), np.stack([0 * t, up - 0.1, z], -1)
    rings = np.stack([left, spine, right, under], 1).reshape(-1, 3)
    faces = [(0, 1, 2), (0, 2, 3), (16, 18, 17), (16, 19, 18)]
    for k in range(4):
        for s in range(4):
            a, b, c, d = 4 * k + s, 4 * k + (s + 1) % 4, 4 * k + 4 + s, 4 * k + 4 + (s + 1) % 4
            faces += [(a, c, b), (b, c, d)]
    return make_mesh(rings, faces, Material.FOLIAGE, srgb("#5f8f3d"))


def _kapok(rng: np.random.Generator, detail: int) -> Mesh:
    kit = Kit()
    height = rng.uniform(8.0, 13.0)
    kit.add(
        frustum(
            [0.09 * height, 0.045 * height, 0.03 * height],
            [_ROOT, 0.16 * height, 0.86 * height],
            Material.BARK,
            srgb("#8b8069"),
            sides=4 + 2 * detail,
        )
    )
    for k in range((3, 4, 6)[detail]):
        size = height * rng.uniform(0.17, 0.25)
        angle = 2 * np.pi * k / (3, 4, 6)[detail] + rng.uniform(-0.5, 0.5)
        leaf = _DARK_LEAF if k % 2 else _LEAF
        pad = blob((size, size * 0.5, size), rng, Material.FOLIAGE, leaf, level=min(detail, 1))
        kit.add(pad.placed(0.8 * size * np.cos(angle), height * rng.uniform(0.74, 1.0), 0.8 * size * np.sin(angle)))
    return kit.mesh()


def _cactus(rng: np.random.Generator, detail: int) -> Mesh:
    kit = Kit()
    green = srgb("#6f8f55")
    height, radius, sides = rng.uniform(2.4, 4.6), rng.uniform(0.2, 0.3), 5 + 2 * detail

    def column(low: float, top: float, r: float) -> Mesh:
        return frustum(
            [r * 0.9, r, r, r * 0.55], [low, low + 0.2, top - 0.22, top], Material.NEEDLES, green, sides=sides
        )

    kit.add(column(_ROOT, height, radius))
    for turn in (-1, 1)[: int(rng.integers(1, 3))]:
        at, reach, r = height * rng.uniform(0.35, 0.55), rng.uniform(0.6, 0.9) * turn, radius * 0.72
        kit.add(beam((0, at, 0), (reach, at + 0.12, 0), r * 1.7, Material.NEEDLES, green))
        kit.add(column(at - 0.12, at + height * rng.uniform(0.3, 0.45), r).placed(reach, 0, 0))
    return kit.mesh()


def _deadwood(rng: np.random.Generator, detail: int) -> Mesh:
    kit = Kit()
    height = rng.uniform(2.6, 4.4)
    grey = srgb("#8d8073")
    _trunk(kit, height, 0.13, grey, detail)
    for k in range(2 + 2 * detail):
        angle, at = rng.uniform(0, 2 * np.pi), height * rng.uniform(0.4, 0.95)
        reach = rng.uniform(0.5, 1.2) * (1.15 - at / height * 0.6)
        tip = (reach * np.cos(angle), at + rng.uniform(0.3, 0.9), reach * np.sin(angle))
        kit.add(beam((0, at, 0), tip, 0.09, Material.BARK, grey).tinted(1.0 + 0.05 * k))
    return kit.mesh()


def _bush(rng: np.random.Generator, detail: int) -> Mesh:
    kit = Kit()
    for _ in range(1 + detail):
        size = rng.uniform(0.4, 0.8)
        lump = blob((size, size * 0.8, size), rng, Material.FOLIAGE, _DARK_LEAF, level=min(detail, 1))
        kit.add(lump.placed(float(rng.uniform(-0.5, 0.5)), size * 0.45, float(rng.uniform(-0.4, 0.4))))
    return kit.mesh()


def _tuft_of(rng: np.random.Generator, blades: int, height: float, width: float, lean: float, colour: object) -> Mesh:
    kit = Kit()
    for _ in range(blades):
        tall = height * rng.uniform(0.6, 1.15)
        blade = frustum([width, 0.0], [-0.06, tall], Material.FOLIAGE, colour, sides=3)  # type: ignore[arg-type]
        angle, out = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.16)
        tip = blade.vertices[:, 1] > 0
        blade.vertices[tip, 0] += lean * tall * np.cos(angle)
        blade.vertices[tip, 2] += lean * tall * np.sin(angle)
        kit.add(blade.placed(out * np.cos(angle), 0, out * np.sin(angle)))
    return kit.mesh()


def _tuft(rng: np.random.Generator, detail: int) -> Mesh:
    return _tuft_of(rng, 5, 0.42, 0.045, 0.35, srgb("#94a552"))


def _scrub(rng: np.random.Generator, detail: int) -> Mesh:
    return _tuft_of(rng, 8, 0.6, 0.06, 0.7, srgb("#8d8450"))


def _fern(rng: np.random.Generator, detail: int) -> Mesh:
    return _tuft_of(rng, 7, 0.85, 0.13, 0.85, srgb("#56803a"))


_PETALS = [srgb(c) for c in ("#e8c33c", "#d9534f", "#f0ead8", "#a27bc4", "#5f86d8", "#e88aa8")]


def _flower(rng: np.random.Generator, detail: int) -> Mesh:
    kit = Kit()
    petals = _PETALS[int(rng.integers(len(_PETALS)))]
    for _ in range(3 + 2 * detail):
        x, z, up = *rng.uniform(-0.35, 0.35, 2), rng.uniform(0.2, 0.42)
        kit.add(frustum([0.018, 0.0], [-0.05, up], Material.FOLIAGE, _LIGHT_LEAF, sides=3).placed(x, 0, z))
        head = frustum([0.0, 0.062, 0.0], [up - 0.03, up + 0.02, up + 0.06], Material.PLAIN, petals, sides=4)
        kit.add(head.placed(x, 0, z))
    return kit.mesh()


def _rock(rng: np.random.Generator, detail: int) -> Mesh:
    size = float(rng.uniform(0.25, 0.6) ** 1.0 * rng.choice([1.0, 1.0, 1.0, 2.1]))
    radii = size * rng.uniform(0.75, 1.3, 3) * (1.0, 0.72, 1.0)
    return blob(radii, rng, Material.ROCK, (1.0, 1.0, 1.0), level=1, roughness=0.22).placed(0, 0.18 * size, 0)


def _haybale(rng: np.random.Generator, detail: int) -> Mesh:
    bale = frustum([0.72, 0.72], [-0.6, 0.6], Material.PLAIN, _STRAW, sides=12)
    bale.vertices[:] = bale.vertices[:, [1, 0, 2]]
    return Mesh(
        bale.vertices + np.array([0, 0.66, 0]), bale.faces[:, ::-1].copy(), bale.material, bale.colour, bale.variation
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """How to grow one kind, and the radius in metres a walker keeps away from its middle (0: walks through)."""

    grow: Callable[[np.random.Generator, int], Mesh]
    trunk: float


KINDS: dict[str, Kind] = {
    "broadleaf": Kind(_broadleaf, 0.35),
    "birch": Kind(_birch, 0.25),
    "poplar": Kind(_poplar, 0.35),
    "conifer": Kind(_conifer, 0.35),
    "pine": Kind(_pine, 0.3),
    "palm": Kind(_palm, 0.3),
    "kapok": Kind(_kapok, 0.7),
    "cactus": Kind(_cactus, 0.35),
    "deadwood": Kind(_deadwood, 0.25),
    "bush": Kind(_bush, 0.0),
    "scrub": Kind(_scrub, 0.0),
    "tuft": Kind(_tuft, 0.0),
    "fern": Kind(_fern, 0.0),
    "flower": Kind(_flower, 0.0),
    "rock": Kind(_rock, 0.5),
    "haybale": Kind(_haybale, 0.8),
}
