"""The renderer: casts a picture's rays in bands of rows, lights what they hit, smooths the edges.

Bands are fixed and every pixel is worked out on its own, so the picture does not depend on the number of threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from keepworld.camera import intrinsics
from numpy.typing import NDArray

from keepworld_runtime.families.diorama import antialias, shade
from keepworld_runtime.families.diorama.body import Body, body_of, empty_body
from keepworld_runtime.families.diorama.scene import Scene, build_scene
from keepworld_runtime.families.diorama.sky import Light, light_of
from keepworld_runtime.families.diorama.spec import Conditions, Moment, Part, SceneSpec
from keepworld_runtime.families.family import Label

F32 = NDArray[np.float32]
_BAND_ROWS = 16
_MISS = np.float32(1e30)  # Embree's distances beyond this mean that nothing was hit
_STATIC, _LASTING, _MOVING = 0, 1, 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """One rendered view.

    Attributes:
        image: [H, W, 3] uint8 sRGB.
        depth: [H, W] float32 metres along +z through the pixel's centre, 0 for sky.
        labels: [H, W] uint8 of `Label`.
        confidence: [H, W] uint8: the share of the pixel that shows its centre's surface, less where seen at a glance.
    """

    image: NDArray[np.uint8]
    depth: F32
    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Hits:
    """What N rays hit: distance in rays, barycentrics, normal, face (-1: nothing), and which body."""

    t: F32
    u: F32
    v: F32
    Ng: F32
    prim: NDArray[np.int32]
    owner: NDArray[np.uint8]


class _View:
    """What does not change within one picture."""

    def __init__(self, bodies: tuple[Body, Body, Body], light: Light, lamps: F32, pixel: float) -> None:
        self.bodies, self.light, self.lamps, self.pixel = bodies, light, lamps, pixel

    def cast(self, origins: F32, dirs: F32) -> _Hits:
        """Find what rays [N, 3] hit first."""
        static = self.bodies[_STATIC].scene.run(origins, dirs, output=True)
        hits = _Hits(
            static["tfar"], static["u"], static["v"], static["Ng"], static["primID"], np.zeros(len(dirs), np.uint8)
        )
        for number in (_LASTING, _MOVING):
            scene = self.bodies[number].scene
            if scene is None:
                continue
            found = scene.run(origins, dirs, dists=hits.t, output=True)
            nearer = np.nonzero(found["primID"] >= 0)[0]
            for mine, name in ((hits.t, "tfar"), (hits.u, "u"), (hits.v, "v"), (hits.Ng, "Ng"), (hits.prim, "primID")):
                mine[nearer] = found[name][nearer]
            hits.owner[nearer] = number
        return hits

    def light_up(self, origins: F32, dirs: F32, hits: _Hits, *, mirrors: bool) -> F32:
        """The linear colours [N, 3] that rays bring back."""
        count = len(dirs)
        rgb, lit = np.zeros((count, 3), np.float32), self._lit(origins, dirs, hits)
        mirror, mirror_dirs = np.zeros(count, np.float32), np.empty((count, 3), np.float32)
        for number, body in enumerate(self.bodies):
            if number == _STATIC or body.scene is not None:
                shade.shade(
                    number, hits.owner, origins, dirs, hits.t, hits.u, hits.v, hits.prim, lit, self.pixel,
                    body.corners, body.material, body.variation, self.lamps, self.light, rgb, mirror, mirror_dirs,
                )  # fmt: skip
        if mirrors:
            self._add_mirrors(origins, dirs, hits, mirror, mirror_dirs, rgb)
        return rgb

    def _lit(self, origins: F32, dirs: F32, hits: _Hits) -> NDArray[np.uint8]:
        """Whether the key light reaches [N] what rays hit."""
        count = len(dirs)
        lit = np.zeros(count, np.uint8)
        starts, towards, index = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32), np.empty(count, np.int32)
        found = shade.shadow_rays(
            origins, dirs, hits.t, hits.Ng, hits.prim, self.light.key, starts, towards, index
        )
        if found == 0:
            return lit
        index = index[:found]
        free = np.ones(found, np.uint8)
        for body in self.bodies:
            if body.scene is not None:
                free &= body.scene.run(starts[:found], towards[:found], query="OCCLUDED") < 0
        lit[index] = free
        return lit

    def _add_mirrors(self, origins: F32, dirs: F32, hits: _Hits, mirror: F32, mirror_dirs: F32, rgb: F32) -> None:
        count = len(dirs)
        starts, towards, index = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32), np.empty(count, np.int32)
        found = shade.collect_mirrors(origins, dirs, hits.t, mirror, mirror_dirs, starts, towards, index)
        if found:
            starts, towards, index = starts[:found], towards[:found], index[:found]
            seen = self.light_up(starts, towards, self.cast(starts, towards), mirrors=False)
            rgb[index] += mirror[index, None] * seen

    def trace(self, origins: F32, dirs: F32) -> tuple[F32, _Hits]:
        """Follow rays all the way to developed, linear colours [N, 3]."""
        hits = self.cast(origins, dirs)
        rgb = self.light_up(origins, dirs, hits, mirrors=True)
        shade.develop(rgb, self.light, rgb)
        return rgb, hits


class Renderer:
    """Renders views of one scene at one size.

    Args:
        scene: what to look at.
        width, height: pixels.
        num_threads: how many to work with; the pictures are the same with any.
    """

    def __init__(self, scene: Scene, width: int, height: int, num_threads: int) -> None:
        self.scene, self.width, self.height = scene, width, height
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="diorama") if num_threads > 1 else None
        self._bands = [(y, min(_BAND_ROWS, height - y)) for y in range(0, height, _BAND_ROWS)]
        self._table = antialias.srgb_table()
        self._lasting: tuple[tuple[Part, ...], Body] = ((), empty_body())
        self._moving: tuple[tuple[Part, ...], Body] = ((), empty_body())

    def render(self, c2w: NDArray[np.float64], K: NDArray[np.float64], moment: Moment) -> Picture:
        """Render the view of a camera c2w [4, 4], K [3, 3] at a moment."""
        self._lasting = _renewed(self._lasting, moment.lasting)
        self._moving = _renewed(self._moving, moment.moving)
        lamps = np.zeros((0, 7), np.float32) if moment.lights is None else np.asarray(moment.lights, np.float32)
        light = light_of(self.scene.spec, moment.conditions, moment.time_s)
        view = _View((self.scene.body, self._lasting[1], self._moving[1]), light, lamps, 1.0 / float(K[0, 0]))
        frame = _Frame(view, c2w, K, self.width, self.height, self._table)
        for stage in (frame.draw, frame.finish):
            list(self._pool.map(stage, self._bands)) if self._pool else [stage(band) for band in self._bands]
        return frame.picture()


class _Frame:
    """One picture while it is being made."""

    def __init__(
        self, view: _View, c2w: NDArray[np.float64], K: NDArray[np.float64], width: int, height: int, table: NDArray[np.uint8]
    ) -> None:
        self._view, self._table, self._width = view, table, width
        self._eye = c2w[:3, 3].astype(np.float32)
        self._rays_from_pixels = np.ascontiguousarray(c2w[:3, :3] @ np.linalg.inv(K))
        self._linear = np.empty((height, width, 3), np.float32)
        self._smoothed = np.empty((height, width, 3), np.float32)
        self._image = np.empty((height, width, 3), np.uint8)
        self._depth = np.empty((height, width), np.float32)
        self._labels = np.empty((height, width), np.uint8)
        self._share = np.ones((height, width), np.float32)
        self._facing = np.empty((height, width), np.float32)

    def draw(self, band: tuple[int, int]) -> None:
        """Trace a band's pixel centres."""
        first, rows = band
        there = slice(first, first + rows)
        dirs = np.empty((rows * self._width, 3), np.float32)
        antialias.camera_rays(first, rows, self._width, self._rays_from_pixels, dirs)
        rgb, hits = self._view.trace(self._from_eye(len(dirs)), dirs)
        sky = hits.prim < 0
        self._linear[there] = rgb.reshape(rows, -1, 3)
        self._depth[there] = np.where(sky, np.float32(0.0), hits.t).reshape(rows, -1)
        labels = np.where(sky, np.uint8(Label.SKY), np.where(hits.owner == _MOVING, np.uint8(Label.MOVING), np.uint8(0)))
        self._labels[there] = labels.reshape(rows, -1)
        across = np.abs((hits.Ng * dirs).sum(1))
        length = np.sqrt((hits.Ng**2).sum(1) * (dirs**2).sum(1))
        self._facing[there] = np.where(sky, np.float32(1.0), across / np.maximum(length, np.float32(1e-12))).reshape(rows, -1)

    def finish(self, band: tuple[int, int]) -> None:
        """Add samples where a band has edges, and turn it into bytes. All bands must have been drawn."""
        first, rows = band
        there = slice(first, first + rows)
        index = np.empty(rows * self._width, np.int32)
        index = index[: antialias.find_edges(first, rows, self._linear, self._depth, index)]
        self._smoothed[there] = self._linear[there]
        if len(index):
            dirs = np.empty((len(index) * len(antialias.OFFSETS), 3), np.float32)
            antialias.sample_rays(index, self._width, self._rays_from_pixels, antialias.OFFSETS, dirs)
            rgb, hits = self._view.trace(self._from_eye(len(dirs)), dirs)
            depth = np.where(hits.prim < 0, np.float32(0.0), hits.t)
            antialias.merge_samples(
                index, rgb, depth, self._smoothed.reshape(-1, 3), self._depth.reshape(-1), self._share.reshape(-1)
            )
        antialias.encode(self._smoothed[there].reshape(-1, 3), self._table, self._image[there].reshape(-1, 3))

    def picture(self) -> Picture:
        """The finished picture."""
        # A surface seen at less than about 12 degrees says little about where it is.
        sure = self._share * np.minimum(self._facing / np.float32(0.2), np.float32(1.0))
        return Picture(
            image=self._image,
            depth=self._depth,
            labels=self._labels,
            confidence=np.round(sure * np.float32(255.0)).astype(np.uint8),
        )

    def _from_eye(self, count: int) -> F32:
        return np.broadcast_to(self._eye, (count, 3)).copy()


def _renewed(held: tuple[tuple[Part, ...], Body], parts: tuple[Part, ...]) -> tuple[tuple[Part, ...], Body]:
    """The body of these parts; the one already held, if they are the very same."""
    old = held[0]
    if len(old) == len(parts) and all(a is b for a, b in zip(old, parts, strict=True)):
        return held
    return parts, body_of(parts)


def warm_up() -> None:
    """Compile or load all kernels, by rendering a tiny picture of a small scene."""
    spec = SceneSpec(
        seed=0, biome="desert", settlement="none", density="sparse", palette="natural", landmark="none", water="pond"
    )
    renderer = Renderer(build_scene(spec), 32, 18, 1)
    renderer.render(renderer.scene.start, intrinsics(32, 18, 1.2), Moment(time_s=0.0, conditions=Conditions()))
