"""The renderer: casts a picture's rays in bands of rows, lights what they hit, smooths the edges.

Bands are fixed and every pixel is worked out on its own, so the picture does not depend on the number of threads. With more
than one, the next picture's bands are begun while the last of this one's are still being worked on: nobody waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama import antialias
from keepworld_runtime.families.diorama.body import Body, body_of, empty_body
from keepworld_runtime.families.diorama.crew import Crew
from keepworld_runtime.families.diorama.hits import Hits
from keepworld_runtime.families.diorama.rows import Rows, rows_of
from keepworld_runtime.families.diorama.scene import Scene
from keepworld_runtime.families.diorama.sky import light_of
from keepworld_runtime.families.diorama.spec import Moment, Part
from keepworld_runtime.families.diorama.view import STATIC, View
from keepworld_runtime.families.family import Label

F32 = NDArray[np.float32]
_BAND_ROWS = 24
_CODES = (int(Label.SKY), int(Label.MOVING))


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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shot:
    """A view to be rendered: of a camera c2w [4, 4], K [3, 3], at a moment."""

    c2w: NDArray[np.float64]
    K: NDArray[np.float64]
    moment: Moment


class Renderer:
    """Renders views of one scene at one size.

    Args:
        scene: what to look at.
        width, height: pixels.
        num_threads: how many to work with; the pictures are the same with any.
    """

    def __init__(self, scene: Scene, width: int, height: int, num_threads: int) -> None:
        self.scene, self.width, self.height = scene, width, height
        self._crew = Crew(num_threads) if num_threads > 1 else None
        self._bands = [(y, min(_BAND_ROWS, height - y)) for y in range(0, height, _BAND_ROWS)]
        self._rows = {count: rows_of(count, width) for _, count in self._bands}
        self._maps = deque(_Maps(height, width) for _ in range(2 if self._crew else 1))
        self._table = antialias.srgb_table()
        self._lasting: tuple[tuple[Part, ...], Body] = ((), empty_body())
        self._moving: tuple[tuple[Part, ...], Body] = ((), empty_body())

    def render(self, shot: Shot) -> Picture:
        """Render one view."""
        return self._begin(shot)()

    def render_all(self, shots: Iterable[Shot], *, ahead: bool = True) -> Generator[Picture, None, None]:
        """Render views in their order, which are asked for one ahead. Nothing else is to be rendered meanwhile.

        ahead: whether the second one is begun while the first is not complete.
        """
        begun: deque[Callable[[], Picture]] = deque()
        most = len(self._maps) if ahead else 1
        try:
            for shot in shots:
                begun.append(self._begin(shot))
                if len(begun) == most:
                    yield begun.popleft()()
                    most = len(self._maps)
            while begun:
                yield begun.popleft()()
        finally:
            for complete in begun:  # nobody wants them, but their maps are needed again
                complete()

    def _begin(self, shot: Shot) -> Callable[[], Picture]:
        """Have a view rendered; gives what waits for it. The one before the last must be complete."""
        self._lasting = _renewed(self._lasting, shot.moment.lasting)
        self._moving = _renewed(self._moving, shot.moment.moving)
        lights = shot.moment.lights
        lamps = np.zeros((0, 7), np.float32) if lights is None else np.asarray(lights, np.float32)
        light = light_of(self.scene.spec, shot.moment.conditions, shot.moment.time_s)
        view = View((self.scene.body, self._lasting[1], self._moving[1]), light, lamps, 1.0 / float(shot.K[0, 0]))
        self._maps.rotate()
        frame = _Frame(view, shot.c2w, shot.K, self._maps[0], self._rows, self._table)
        steps = [[partial(stage, band) for band in self._bands] for stage in (frame.draw, frame.finish)]
        if self._crew is None:
            for step in steps:
                for part in step:
                    part()
            return frame.picture
        wait = self._crew.begin(steps)

        def complete() -> Picture:
            wait()
            return frame.picture()

        return complete


class _Maps:
    """What is known of a picture's pixels beside what is given out: used again for the next picture."""

    def __init__(self, height: int, width: int) -> None:
        self.linear = np.empty((height, width, 3), np.float32)
        self.bright = np.empty((height, width), np.float32)
        self.smoothed = np.empty((height, width, 3), np.float32)
        self.normal = np.empty((height, width, 3), np.float32)
        self.face = np.empty((height, width), np.int32)
        self.body = np.empty((height, width), np.uint8)
        self.share = np.empty((height, width), np.float32)
        self.moved = np.empty((height, width), np.uint8)
        self.touched = np.empty((height, width), np.uint8)


class _Frame:
    """One picture while it is being made: maps [H, W, ...] that bands of rows fill in, all with `draw`, then with `finish`."""

    def __init__(
        self,
        view: View,
        c2w: NDArray[np.float64],
        K: NDArray[np.float64],
        maps: _Maps,
        rows: Mapping[int, Rows],
        table: NDArray[np.uint8],
    ) -> None:
        height, self._width = maps.face.shape
        self._view, self._maps, self._rows, self._table = view, maps, rows, table
        most = max(rows) * self._width * len(antialias.OFFSETS)
        self._eyes = np.broadcast_to(c2w[:3, 3], (most, 3)).astype(np.float32)
        self._rays_from_pixels = np.ascontiguousarray(c2w[:3, :3] @ np.linalg.inv(K))
        self.depth = np.empty((height, self._width), np.float32)
        self.image = np.empty((height, self._width, 3), np.uint8)
        self.labels = np.empty((height, self._width), np.uint8)
        self.confidence = np.empty((height, self._width), np.uint8)

    def draw(self, band: tuple[int, int]) -> None:
        """Trace a band's pixel centres."""
        first, rows = band
        dirs = np.empty((rows * self._width, 3), np.float32)
        antialias.camera_rays(first, rows, self._width, self._rays_from_pixels, dirs)
        origins = self._eyes[: len(dirs)]
        hits = self._view.cast(origins, dirs, self._rows[rows].order)
        rgb, self._maps.moved.reshape(-1)[first * self._width :][: len(dirs)] = self._view.light_up(
            origins, dirs, hits, self._rows[rows]
        )
        self._keep(first, dirs, hits, rgb)

    def finish(self, band: tuple[int, int]) -> None:
        """Add samples where a band has edges, label and encode it. All bands must have been drawn."""
        first, rows = band
        there = slice(first, first + rows)
        static, maps = self._view.bodies[STATIC], self._maps
        maps.share[there], maps.touched[there] = 1.0, 0
        index = np.empty(rows * self._width, np.int32)
        index = index[
            : antialias.find_edges(
                first,
                rows,
                static.material,
                maps.linear,
                maps.bright,
                self.depth,
                maps.normal,
                maps.face,
                maps.body,
                maps.smoothed,
                index,
            )
        ]
        if len(index):
            self._sample(index)
        antialias.label(
            first,
            self._rays_from_pixels,
            self.depth[there],
            maps.normal[there],
            maps.moved,
            maps.share[there],
            maps.touched[there],
            self.labels[there],
            self.confidence[there],
            _CODES,
        )
        antialias.encode(maps.smoothed[there].reshape(-1, 3), self._table, self.image[there].reshape(-1, 3))

    def picture(self) -> Picture:
        """What has been made."""
        return Picture(image=self.image, depth=self.depth, labels=self.labels, confidence=self.confidence)

    def _sample(self, index: NDArray[np.int32]) -> None:
        """Cast extra rays in pixels `index` [N]; light only those that show what no pixel about them shows."""
        count = len(index) * len(antialias.OFFSETS)
        dirs, samples = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
        antialias.sample_rays(index, self._width, self._rays_from_pixels, antialias.OFFSETS, dirs)
        origins = self._eyes[:count]
        hits = self._view.cast(origins, dirs)
        static, maps = self._view.bodies[STATIC], self._maps
        new, moved = np.empty(count, np.int32), np.zeros(count, np.uint8)
        found = antialias.reuse_samples(
            index,
            antialias.OFFSETS,
            hits.t,
            hits.Ng,
            hits.prim,
            hits.owner,
            static.material,
            static.variation,
            maps.linear,
            self.depth,
            maps.normal,
            maps.face,
            maps.body,
            samples,
            new,
        )
        if found:
            new = new[:found]
            samples[new], moved[new] = self._view.light_up(origins[new], dirs[new], hits.only(new))
        antialias.merge_samples(
            index,
            samples,
            hits.t,
            hits.prim,
            moved,
            maps.smoothed.reshape(-1, 3),
            self.depth.reshape(-1),
            maps.share.reshape(-1),
            maps.touched.reshape(-1),
        )

    def _keep(self, first: int, dirs: F32, hits: Hits, rgb: F32) -> None:
        maps = self._maps
        antialias.keep_hits(
            first,
            self._width,
            dirs,
            hits.t,
            hits.Ng,
            hits.prim,
            hits.owner,
            rgb,
            maps.linear.reshape(-1, 3),
            maps.bright.reshape(-1),
            self.depth.reshape(-1),
            maps.normal.reshape(-1, 3),
            maps.face.reshape(-1),
            maps.body.reshape(-1),
        )


def _renewed(held: tuple[tuple[Part, ...], Body], parts: tuple[Part, ...]) -> tuple[tuple[Part, ...], Body]:
    """The body of these parts; the one already held, if they are the very same."""
    old = held[0]
    if len(old) == len(parts) and all(a is b for a, b in zip(old, parts, strict=True)):
        return held
    return parts, body_of(parts)
