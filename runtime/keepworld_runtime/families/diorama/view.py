"""Rays into a scene at a moment, N at a time: what they hit, whether the sun reaches it, what colour they bring back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama import shade
from keepworld_runtime.families.diorama.body import Body
from keepworld_runtime.families.diorama.sky import Light

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
_NAMES = ("tfar", "u", "v", "Ng", "primID")  # as Embree calls what a ray hit
STATIC, LASTING, MOVING = 0, 1, 2  # the bodies of a view


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What N rays hit: distance in rays, barycentrics, normal, face (-1: nothing), and which body."""

    t: F32
    u: F32
    v: F32
    Ng: F32
    prim: I32
    owner: NDArray[np.uint8]

    def only(self, index: NDArray[np.int32]) -> Hits:
        """Those of the rays `index` [M]."""
        return Hits(self.t[index], self.u[index], self.v[index], self.Ng[index], self.prim[index], self.owner[index])


class View:
    """What there is to see and the light it is in.

    Args:
        bodies: what stands still, what has come to stay, what moves.
        light: the moment's.
        lamps: [L, 7] point lights.
        pixel: a pixel's width one metre away.
    """

    def __init__(self, bodies: tuple[Body, Body, Body], light: Light, lamps: F32, pixel: float) -> None:
        self.bodies, self.light, self.lamps, self.pixel = bodies, light, lamps, pixel

    def cast(self, origins: F32, dirs: F32) -> Hits:
        """Find what rays [N, 3] hit first."""
        still = self.bodies[STATIC].run(origins, dirs)
        t, u, v, Ng, prim = (still[name] for name in _NAMES)
        hits = Hits(t, u, v, Ng, prim, np.zeros(len(dirs), np.uint8))
        for number in (LASTING, MOVING):
            scene = self.bodies[number].scene
            if scene is None:
                continue
            found = scene.run(origins, dirs, dists=hits.t, output=True)
            nearer = np.nonzero(found["primID"] >= 0)[0]
            for mine, name in zip((hits.t, hits.u, hits.v, hits.Ng, hits.prim), _NAMES, strict=True):
                mine[nearer] = found[name][nearer]
            hits.owner[nearer] = number
        return hits

    def light_up(self, origins: F32, dirs: F32, hits: Hits, *, row_length: int = 0) -> F32:
        """The developed, linear colours [N, 3] that rays bring back; whole rows of neighbours if `row_length` is given."""
        rgb, mirror, mirror_dirs = self._shade(origins, dirs, hits, row_length)
        starts, towards, index = _room_for(len(dirs))
        found = shade.collect_mirrors(origins, dirs, hits.t, mirror, mirror_dirs, starts, towards, index)
        if found:
            starts, towards, index = starts[:found], towards[:found], index[:found]
            seen, _, _ = self._shade(starts, towards, self.cast(starts, towards), 0)
            rgb[index] += mirror[index, None] * seen
        shade.develop(rgb, self.light, rgb)
        return rgb

    def _shade(self, origins: F32, dirs: F32, hits: Hits, row_length: int) -> tuple[F32, F32, F32]:
        """Colours [N, 3] before development; how much [N] of what is seen along directions [N, 3] is to be added."""
        count = len(dirs)
        rgb, lit = np.zeros((count, 3), np.float32), self._lit(origins, dirs, hits, row_length)
        mirror, mirror_dirs = np.zeros(count, np.float32), np.empty((count, 3), np.float32)
        for number, body in enumerate(self.bodies):
            if number != STATIC and body.scene is None:
                continue
            shade.shade(
                number,
                hits.owner,
                origins,
                dirs,
                hits.t,
                hits.u,
                hits.v,
                hits.prim,
                lit,
                self.pixel,
                body.corners,
                body.material,
                body.variation,
                self.lamps,
                self.light,
                rgb,
                mirror,
                mirror_dirs,
            )
        return rgb, mirror, mirror_dirs

    def _lit(self, origins: F32, dirs: F32, hits: Hits, row_length: int) -> NDArray[np.uint8]:
        """Whether the key light reaches [N] what rays hit.

        In whole rows every fourth pixel is asked for first, then those in the middle of four, then the rest; one
        between four of its own surface that agree is taken to be like them.
        """
        starts, towards, index = _room_for(len(dirs))
        lit = np.zeros(len(dirs), np.uint8)
        key = self.light.key
        for step in (0, 1, 2) if row_length else (-1,):
            found = shade.shadow_rays(
                origins, dirs, hits.t, hits.Ng, hits.prim, key, row_length, step, lit, starts, towards, index
            )
            free = np.ones(found, np.uint8)
            for body in self.bodies:
                if body.scene is not None and found:
                    free &= body.scene.run(starts[:found], towards[:found], query="OCCLUDED") < 0
            lit[index[:found]] = free
        return lit


def _room_for(count: int) -> tuple[F32, F32, NDArray[np.int32]]:
    """Space for up to `count` further rays and which ray each belongs to."""
    return np.empty((count, 3), np.float32), np.empty((count, 3), np.float32), np.empty(count, np.int32)
