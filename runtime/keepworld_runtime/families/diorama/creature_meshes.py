"""The meshes of what moves by itself, posed for an instant: deer, fox, walker, bird.

Built as in `meshes`: metres, (x, up, z), standing on the origin and facing +z. A stride is an angle that goes once round
with every two steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from keepworld_runtime.families.diorama.biomes import srgb
from keepworld_runtime.families.diorama.meshes import Mesh, beam, blob, frustum, join, make_mesh
from keepworld_runtime.families.diorama.spec import Material
from keepworld_runtime.sampling.noise import generator


@dataclass(frozen=True, slots=True, eq=False)
class Limb:
    """A rigid piece that swings about its pivot [3], in the plane of walking: by `swing` radians times a sine of the stride."""

    mesh: Mesh
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)
    swing: float = 0.0
    phase: float = 0.0


def posed(limbs: Sequence[Limb], stride: float) -> Mesh:
    """Put limbs together as they are at one point of the stride."""
    return join([_swung(limb, limb.swing * np.sin(stride + limb.phase)) if limb.swing else limb.mesh for limb in limbs])


def _swung(limb: Limb, angle: float) -> Mesh:
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    pivot = np.array(limb.pivot)
    return replace(limb.mesh, vertices=(limb.mesh.vertices - pivot) @ turn.T + pivot)


def _leg(at: tuple[float, float, float], length: float, thick: float, colour: ArrayLike, foot: ArrayLike) -> Mesh:
    x, up, z = at
    leg = frustum(
        [thick * 0.55, thick * 0.5, thick], [up - length, up - 0.5 * length, up], Material.PLAIN, colour, sides=6
    )
    hoof = frustum([thick * 0.7, thick * 0.6], [up - length, up - length + 0.07], Material.PLAIN, foot, sides=6)
    return join([leg, hoof]).placed(x, 0.0, z)


def _ball(centre: tuple[float, float, float], radii: ArrayLike, colour: ArrayLike) -> Mesh:
    x, up, z = centre
    rng = generator(0, "mesh", "creature")
    return blob(radii, rng, Material.PLAIN, colour, level=2, roughness=0.0).placed(x, up, z)


def _pitched(mesh: Mesh, angle: float, at: tuple[float, float, float]) -> Mesh:
    """Tilt a mesh about its own origin so that its front rises by `angle`, then move it."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    return replace(mesh, vertices=mesh.vertices @ turn.T + np.array(at))


@lru_cache(maxsize=1)
def _deer_limbs() -> tuple[Limb, ...]:
    coat, belly, dark = srgb("#9a6a3f"), srgb("#e6d5b8"), srgb("#3b2a1e")
    still = [
        _ball((0, 1.02, 0), (0.24, 0.27, 0.60), coat),
        _ball((0, 0.93, 0.02), (0.19, 0.22, 0.48), belly),
        _ball((0, 1.08, 0.38), (0.21, 0.27, 0.26), coat),
        _ball((0, 1.10, -0.60), (0.08, 0.12, 0.08), belly),
        beam((0, 1.16, 0.48), (0, 1.62, 0.78), 0.20, Material.PLAIN, coat),
        _ball((0, 1.66, 0.86), (0.11, 0.12, 0.16), coat),
        _ball((0, 1.61, 1.04), (0.065, 0.065, 0.14), coat),
        _ball((0, 1.615, 1.17), (0.035, 0.035, 0.03), dark),
    ]
    for side in (-1, 1):
        still.append(_pitched(_ball((0, 0, 0), (0.05, 0.13, 0.03), coat), 0.2, (side * 0.14, 1.80, 0.80)))
        still.append(_ball((side * 0.095, 1.69, 0.92), (0.022, 0.022, 0.022), dark))
        antler = [(0.06, 1.76, 0.82), (0.20, 2.00, 0.74), (0.27, 2.24, 0.80), (0.22, 2.44, 0.92)]
        points = [np.array(point) * (side, 1, 1) for point in antler]
        still += [beam(a, b, 0.035, Material.PLAIN, belly) for a, b in pairwise(points)]
        still.append(beam(points[1], points[1] + (side * 0.02, 0.2, 0.2), 0.03, Material.PLAIN, belly))
        still.append(beam(points[2], points[2] + (side * 0.12, 0.17, 0.02), 0.03, Material.PLAIN, belly))
    legs = [
        Limb(_leg((x, 0.98, z), 0.98, 0.085, coat, dark), (x, 0.98, z), 0.42, phase)
        for x, z, phase in (
            (-0.13, 0.40, 0.0),
            (0.13, 0.40, np.pi),
            (-0.13, -0.42, 0.6 * np.pi),
            (0.13, -0.42, 1.6 * np.pi),
        )
    ]
    return Limb(join(still)), *legs


@lru_cache(maxsize=1)
def _fox_limbs() -> tuple[Limb, ...]:
    coat, white, dark = srgb("#c8622a"), srgb("#f1e7d8"), srgb("#2b211c")
    still = [
        _ball((0, 0.42, 0), (0.12, 0.13, 0.34), coat),
        _ball((0, 0.40, 0.22), (0.10, 0.12, 0.14), white),
        _ball((0, 0.58, 0.40), (0.115, 0.10, 0.12), coat),
        _pitched(frustum([0.075, 0.0], [0.0, 0.2], Material.PLAIN, white, sides=6), np.pi / 2 - 3.3, (0, 0.56, 0.48)),
        _ball((0, 0.545, 0.66), (0.022, 0.02, 0.02), dark),
    ]
    for side in (-1, 1):
        still.append(frustum([0.05, 0.0], [0.0, 0.14], Material.PLAIN, dark, sides=4).placed(side * 0.07, 0.64, 0.38))
        still.append(_ball((side * 0.06, 0.61, 0.495), (0.016, 0.016, 0.016), dark))
    tail = [_ball((0, 0.42, -0.50), (0.085, 0.085, 0.25), coat), _ball((0, 0.42, -0.74), (0.06, 0.06, 0.1), white)]
    legs = [
        Limb(_leg((x, 0.40, z), 0.40, 0.05, coat, dark), (x, 0.40, z), 0.6, phase)
        for x, z, phase in ((-0.07, 0.22, 0.0), (0.07, 0.22, np.pi), (-0.07, -0.24, np.pi), (0.07, -0.24, 0.0))
    ]
    return Limb(join(still)), *legs, Limb(join(tail), (0, 0.45, -0.32), 0.16, 0.7)


@lru_cache(maxsize=4)
def _walker_limbs(variant: int) -> tuple[Limb, ...]:
    coat = srgb(("#a83f39", "#3f6d8f", "#7c8a3d", "#8a5a9b")[variant % 4])
    skin, trousers, boots, straw = srgb("#d9a881"), srgb("#5a5148"), srgb("#38291f"), srgb("#d8bd7a")
    still = [
        frustum([0.25, 0.20, 0.22, 0.10], [0.74, 1.02, 1.34, 1.46], Material.PLAIN, coat, sides=9),
        _ball((0, 1.62, 0.01), (0.115, 0.14, 0.125), skin),
        frustum([0.30, 0.29], [1.68, 1.71], Material.PLAIN, straw, sides=12),
        frustum([0.15, 0.12], [1.70, 1.84], Material.PLAIN, straw, sides=10),
        frustum([0.165, 0.16], [1.705, 1.74], Material.PLAIN, srgb("#7a2f2a"), sides=10),
        _ball((0, 1.18, -0.26), (0.17, 0.24, 0.13), srgb("#7d6a43")),
    ]
    limbs = [Limb(join(still))]
    for side, phase in ((-1, 0.0), (1, np.pi)):
        leg = _leg((side * 0.10, 0.82, 0.0), 0.82, 0.10, trousers, boots)
        shoe = _ball((side * 0.10, 0.05, 0.06), (0.065, 0.05, 0.13), boots)
        limbs.append(Limb(join([leg, shoe]), (side * 0.10, 0.82, 0.0), 0.46, phase))
        arm = beam((side * 0.24, 1.38, 0.0), (side * 0.31, 0.92, 0.06), 0.10, Material.PLAIN, coat)
        hand = [_ball((side * 0.31, 0.88, 0.07), (0.05, 0.06, 0.05), skin)]
        if side == 1:
            hand.append(beam((0.33, 1.25, 0.16), (0.33, 0.02, 0.12), 0.035, Material.BARK, srgb("#6b4a30")))
        limbs.append(Limb(join([arm, *hand]), (side * 0.24, 1.38, 0.0), 0.34 if side == -1 else 0.16, phase + np.pi))
    return tuple(limbs)


def deer(stride: float) -> Mesh:
    """A stag, 1.7 m high at the head, at one point of its stride."""
    return posed(_deer_limbs(), stride)


def fox(stride: float) -> Mesh:
    """A fox, 0.7 m high, at one point of its stride."""
    return posed(_fox_limbs(), stride)


def walker(stride: float, variant: int) -> Mesh:
    """Someone on a walk, with hat, pack and stick."""
    return posed(_walker_limbs(variant), stride)


def bird(flap: float) -> Mesh:
    """A bird with a span of 1.3 m; `flap` is how far its wings are up, in radians."""
    dark, pale = srgb("#33363d"), srgb("#d9dadb")
    c, s = 0.65 * np.cos(flap), 0.65 * np.sin(flap)
    wings = np.array(
        [[[0, 0, 0.16], [side * c * 0.55, s * 0.7, 0.13], [side * c, s, -0.06], [0, 0, -0.16]] for side in (-1, 1)]
    )
    upper = np.array([[0, 1, 2], [0, 2, 3]])
    both = np.concatenate([upper, upper[:, ::-1], upper + 4, upper[:, ::-1] + 4])
    body = _ball((0, 0, 0), (0.07, 0.065, 0.27), pale)
    tail = frustum([0.0, 0.09], [0.0, 0.2], Material.PLAIN, dark, sides=4)
    return join(
        [make_mesh(wings.reshape(-1, 3), both, Material.PLAIN, dark), body, _pitched(tail, -np.pi / 2, (0, 0, -0.2))]
    )
