"""The meshes of what events bring and that stands or floats: balloon, campfire, boat, lantern.

Built as in `meshes`: metres, (x, up, z), standing on the origin and facing +z.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from keepworld_runtime.families.diorama.biomes import srgb
from keepworld_runtime.families.diorama.meshes import Kit, Mesh, beam, blob, box, frustum, join, make_mesh
from keepworld_runtime.families.diorama.spec import Material
from keepworld_runtime.sampling.noise import generator

_WOOD, _DARK_WOOD, _BARK = srgb("#9a6f43"), srgb("#5b4028"), srgb("#6b4a30")
_IRON, _ROPE, _STONE = srgb("#2e2c2b"), srgb("#8d7a58"), srgb("#8b8780")
_LIVERIES = (("#d8452e", "#f6e3b4"), ("#2f6fb0", "#f4d35e"), ("#7a3f98", "#f2a65a"), ("#1f8a70", "#fbf3e0"))


@lru_cache(maxsize=8)
def balloon(variant: int) -> Mesh:
    """A hot-air balloon, 15 m high, its basket on the origin."""
    first, second = (srgb(code) for code in _LIVERIES[variant % len(_LIVERIES)])
    bend = np.linspace(0.0, 1.0, 10)
    radii = 4.6 * np.sin(np.pi * (0.10 + 0.90 * bend) ** 0.82)
    radii[-1] = 0.0
    heights = 3.6 + 11.2 * (0.5 - 0.5 * np.cos(np.pi * (0.06 + 0.94 * bend)))
    envelope = frustum(radii.tolist(), heights.tolist(), Material.PLAIN, first, sides=24)
    middle = envelope.vertices[envelope.faces].mean(1)
    gore = np.floor((np.arctan2(middle[:, 2], middle[:, 0]) / (2 * np.pi) + 0.5) * 12 - 1e-6).astype(int)
    belt = np.abs(middle[:, 1] - 8.6) < 0.75
    envelope.colour[gore % 2 == 1] = second
    envelope.colour[belt] = np.array(second) * 0.5 + np.array(first) * 0.1
    kit = Kit()
    kit.add(envelope)
    kit.add(frustum([0.75, 0.85], [0.0, 1.05], Material.PLANKS, _WOOD, sides=8))
    kit.add(frustum([0.92, 0.92], [0.98, 1.12], Material.PLAIN, _DARK_WOOD, sides=8))
    for angle in np.arange(6) * np.pi / 3:
        at = np.array([np.cos(angle), 0.0, np.sin(angle)])
        kit.add(beam(at * 0.82 + (0, 1.0, 0), at * 1.35 + (0, 4.1, 0), 0.05, Material.PLAIN, _ROPE))
    kit.add(box((0.0, 2.05, 0.0), (0.4, 0.3, 0.4), Material.PLAIN, _IRON))
    return kit.mesh()


@lru_cache(maxsize=1)
def fireplace() -> Mesh:
    """A ring of stones with a cone of logs, without the flame."""
    rng = generator(0, "mesh", "fireplace")
    kit = Kit()
    for angle in np.arange(9) * (2 * np.pi / 9):
        stone = blob(rng.uniform(0.10, 0.17, 3), rng, Material.ROCK, _STONE, level=1)
        kit.add(stone.placed(0.62 * np.cos(angle), 0.07, 0.62 * np.sin(angle)))
    for angle in np.arange(6) * (2 * np.pi / 6) + 0.3:
        foot = np.array([0.42 * np.cos(angle), 0.02, 0.42 * np.sin(angle)])
        kit.add(beam(foot, (-foot[0] * 0.12, 0.58, -foot[2] * 0.12), 0.11, Material.BARK, _BARK))
    kit.add(frustum([0.5, 0.0], [0.0, 0.09], Material.PLAIN, srgb("#1d1815"), sides=9))
    for side in (-1, 1):  # two logs to sit on
        log = frustum([0.17, 0.17], [-0.75, 0.75], Material.BARK, _BARK, sides=8)
        lying = make_mesh(log.vertices[:, [1, 0, 2]] * (1, -1, 1), log.faces, Material.BARK, _BARK)
        kit.add(lying.placed(side * 1.45, 0.15, -0.45, yaw=side * 1.25))
    return kit.mesh()


@lru_cache(maxsize=1)
def _tongues() -> tuple[Mesh, ...]:
    return (
        frustum([0.30, 0.36, 0.20, 0.0], [0.0, 0.28, 0.78, 1.35], Material.GLOW, (0.42, 0.055, 0.004), sides=8),
        frustum([0.22, 0.27, 0.13, 0.0], [0.0, 0.22, 0.60, 1.02], Material.GLOW, (0.62, 0.15, 0.012), sides=7).placed(
            0.1, 0, -0.14
        ),
        frustum([0.20, 0.22, 0.10, 0.0], [0.0, 0.20, 0.52, 0.86], Material.GLOW, (0.70, 0.23, 0.02), sides=7).placed(
            -0.13, 0, -0.1
        ),
        frustum([0.16, 0.19, 0.09, 0.0], [0.0, 0.16, 0.40, 0.70], Material.GLOW, (0.85, 0.50, 0.12), sides=7).placed(
            0.02, 0, -0.22
        ),
    )


def flame(time_s: float, size: float) -> Mesh:
    """A fire's flame at a time: tongues that lick and sway; `size` 1 for a campfire."""
    licking = []
    for which, tongue in enumerate(_tongues()):
        x, up, z = tongue.vertices.T
        sway = 0.16 * up**1.5
        x = x + sway * (np.sin(7.1 * time_s + 2.6 * up) + 0.5 * np.sin(12.7 * time_s + which))
        z = z + sway * (np.sin(8.3 * time_s + 2.2 * up + 1.0) + 0.5 * np.cos(11.1 * time_s + which))
        up = 0.08 + up * (0.92 + 0.14 * np.sin(9.7 * time_s + 1.7 * which) + 0.06 * np.sin(17.0 * time_s))
        licking.append(replace(tongue, vertices=np.stack([x, up, z], -1) * size))
    return join(licking)


@lru_cache(maxsize=1)
def lantern_post() -> Mesh:
    """A wooden post with an arm, and a lantern hanging from it, 2.4 m high; the light is at `LANTERN_LIGHT`."""
    kit = Kit()
    kit.add(frustum([0.16, 0.12], [0.0, 0.22], Material.STONE, _STONE, sides=8))
    kit.add(beam((0, 0.1, 0), (0, 2.4, 0), 0.10, Material.BARK, _DARK_WOOD))
    kit.add(beam((0, 2.28, 0), (0.5, 2.28, 0), 0.07, Material.BARK, _DARK_WOOD))
    kit.add(beam((0, 1.95, 0), (0.3, 2.26, 0), 0.05, Material.BARK, _DARK_WOOD))
    kit.add(beam((0.42, 2.26, 0), (0.42, 2.12, 0), 0.02, Material.PLAIN, _IRON))
    kit.add(frustum([0.17, 0.03], [2.02, 2.15], Material.PLAIN, _IRON, sides=6).placed(0.42, 0, 0))
    kit.add(frustum([0.09, 0.12], [1.76, 2.02], Material.GLOW, (0.75, 0.42, 0.12), sides=6).placed(0.42, 0, 0))
    kit.add(frustum([0.07, 0.11], [1.70, 1.76], Material.PLAIN, _IRON, sides=6).placed(0.42, 0, 0))
    for angle in np.arange(6) * np.pi / 3:
        at = np.array([np.cos(angle), 0.0, np.sin(angle)])
        kit.add(beam(at * 0.095 + (0.42, 1.74, 0), at * 0.125 + (0.42, 2.04, 0), 0.018, Material.PLAIN, _IRON))
    return kit.mesh()


LANTERN_LIGHT = (0.42, 1.9, 0.0)


@lru_cache(maxsize=1)
def boat() -> Mesh:
    """A rowing boat, 4 m long, floating with the water's level at up = 0."""
    along = np.linspace(-2.0, 2.0, 9)
    swell = np.clip(1.0 - ((along + 0.25) / 2.25) ** 2, 0.0, 1.0) ** 0.55
    swell[-1] = 0.02
    sheer = 0.42 + 0.07 * (along / 2.0) ** 2 + 0.12 * np.clip(along / 2.0, 0, 1) ** 2
    kit = Kit()
    for colour, inset, floor in ((srgb("#b8402f"), 0.0, -0.22), (srgb("#c79a63"), 0.06, -0.12)):
        wide = np.maximum(0.74 * swell - inset, 0.0)
        rim = np.stack([wide, sheer, along * (1 - inset * 0.3)], -1)
        bilge = np.stack([wide * 0.72, np.full(9, floor * 0.25), along * (0.95 - inset * 0.3)], -1)
        keel = np.stack([wide * 0.0, np.full(9, floor), along * (0.9 - inset * 0.3)], -1)
        rows = np.stack([rim, bilge, keel, bilge * (-1, 1, 1), rim * (-1, 1, 1)])  # [5, 9, 3]
        index = np.arange(45).reshape(5, 9)
        a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
        faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, c, b), (b, c, d))])
        normal = np.cross(*(rows.reshape(-1, 3)[faces[:, k]] - rows.reshape(-1, 3)[faces[:, 0]] for k in (1, 2)))
        away = rows.reshape(-1, 3)[faces].mean(1) - (0.0, 0.6, 0.0)
        flip = ((away * normal).sum(-1) < 0) == (inset == 0.0)  # the inner skin faces inwards
        kit.add(make_mesh(rows.reshape(-1, 3), np.where(flip[:, None], faces[:, ::-1], faces), Material.PLANKS, colour))
        if inset == 0.0:
            for side in (-1, 1):
                ends = list(zip(rim[:-1] * (side, 1, 1), rim[1:] * (side, 1, 1), strict=True))
                kit.pieces += [
                    beam(p, q, 0.07, Material.PLAIN, _DARK_WOOD) for p, q in ends if np.linalg.norm(q - p) > 0.05
                ]
    for z, width in ((-1.1, 1.0), (-0.1, 1.24), (0.95, 0.98)):
        kit.box((0.0, 0.24, z), (width, 0.05, 0.3), Material.PLANKS, _WOOD)
    for side in (-1, 1):
        kit.add(beam((side * 0.35, 0.46, -0.5), (side * 1.35, 0.02, 0.9), 0.05, Material.PLAIN, _WOOD))
        kit.add(beam((side * 1.35, 0.02, 0.9), (side * 1.62, -0.1, 1.25), 0.12, Material.PLAIN, _WOOD))
    return kit.mesh()
