"""Rays into a scene at a moment, N at a time: what they hit, whether the sun reaches it, what colour they bring back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama import shade
from keepworld_runtime.families.diorama.body import Body
from keepworld_runtime.families.diorama.hits import FAR, Hits
from keepworld_runtime.families.diorama.rows import Rows
from keepworld_runtime.families.diorama.sky import Light

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
STATIC, LASTING, MOVING = 0, 1, 2  # the bodies of a view


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

    def cast(self, origins: F32, dirs: F32, order: I32 | None = None) -> Hits:
        """Find what rays [N, 3] hit first. order: see `tracing.Tracer`."""
        hits = Hits.none(len(dirs))
        for number, body in enumerate(self.bodies):
            if body.tracer is not None:
                body.tracer.find(origins, dirs, order, number, hits)
        return hits

    def light_up(self, origins: F32, dirs: F32, hits: Hits, rows: Rows | None = None) -> tuple[F32, U8]:
        """The developed, linear colours [N, 3] that rays bring back, and whether anything moving had a part in them [N].

        What moves has a part where it is hit, where its shadow falls, and where either is mirrored. rows: what the rays'
        rows are, if they are whole ones.
        """
        rgb, moved, mirror, mirror_dirs = self._shade(origins, dirs, hits, rows)
        starts, towards, index = _room_for(len(dirs))
        found = shade.collect_mirrors(origins, dirs, hits.t, mirror, mirror_dirs, starts, towards, index)
        if found:
            starts, towards, index = starts[:found], towards[:found], index[:found]
            seen, mirrored, _, _ = self._shade(starts, towards, self.cast(starts, towards), None)
            rgb[index] += mirror[index, None] * seen
            moved[index] |= mirrored
        shade.develop(rgb, self.light, rgb)
        return rgb, moved

    def _shade(self, origins: F32, dirs: F32, hits: Hits, rows: Rows | None) -> tuple[F32, U8, F32, F32]:
        """Colours [N, 3] before development; whether anything moving has a part in them [N]; how much [N] of what is seen
        along directions [N, 3] is to be added."""
        count = len(dirs)
        rgb, lit = np.zeros((count, 3), np.float32), self._lit(origins, dirs, hits, rows)
        moved = self._cast_moving_shadows(origins, dirs, hits, lit)
        mirror, mirror_dirs = np.zeros(count, np.float32), np.empty((count, 3), np.float32)
        for number, body in enumerate(self.bodies):
            if number != STATIC and body.tracer is None:
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
        return rgb, moved, mirror, mirror_dirs

    def _cast_moving_shadows(self, origins: F32, dirs: F32, hits: Hits, lit: U8) -> U8:
        """Put out the light, in `lit` [N], where what moves stands in its way; gives where rays hit that or its shadow [N].

        It is a step of its own, so that the rest of the world is lit as if nothing moved.
        """
        moved = ((hits.owner == MOVING) & (hits.prim >= 0)).astype(np.uint8)
        tracer = self.bodies[MOVING].tracer
        if tracer is None:
            return moved
        starts, towards, index = _room_for(len(dirs))
        found = shade.shadow_rays(
            origins, dirs, hits.t, hits.Ng, hits.prim, self.light.key, None, 0, 0, lit, starts, towards, index
        )
        free = np.ones(found, np.uint8)
        tracer.block(starts[:found], towards[:found], FAR, free)
        facing = index[:found]
        moved[facing] |= lit[facing] & (1 - free)
        lit[facing] &= free
        return moved

    def _lit(self, origins: F32, dirs: F32, hits: Hits, rows: Rows | None) -> U8:
        """Whether the key light reaches [N] what rays hit, past what does not move.

        In whole rows every fourth pixel is asked for first, then those in the middle of four, then the rest; see
        `shade.shadow_rays`.
        """
        starts, towards, index = _room_for(len(dirs))
        lit = np.zeros(len(dirs), np.uint8)
        key = self.light.key
        steps: tuple[tuple[I32 | None, int, int], ...] = ((None, 0, 0),)
        if rows is not None:
            corners, middles, others = rows.steps
            steps = ((corners, 0, 0), (middles, rows.width - 1, rows.width + 1), (others, rows.width, 1))
        for order, across, along in steps:
            found = shade.shadow_rays(
                origins, dirs, hits.t, hits.Ng, hits.prim, key, order, across, along, lit, starts, towards, index
            )
            free = np.ones(found, np.uint8)
            for body in self.bodies[:MOVING]:
                if body.tracer is not None:
                    body.tracer.block(starts[:found], towards[:found], FAR, free)
            lit[index[:found]] = free
        return lit


def _room_for(count: int) -> tuple[F32, F32, NDArray[np.int32]]:
    """Space for up to `count` further rays and which ray each belongs to."""
    return np.empty((count, 3), np.float32), np.empty((count, 3), np.float32), np.empty(count, np.int32)
