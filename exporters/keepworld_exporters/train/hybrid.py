"""Depth from pictures where several views agree on it, and from trained splats where they do not: walls without a texture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from keepworld.capture import CapturedFrame

from keepworld_exporters.rasterize.rasterizer import Pinhole
from keepworld_exporters.rasterize.surface_depth import surface_depth
from keepworld_exporters.scene import Splats
from keepworld_exporters.stages.agree import agree
from keepworld_exporters.stages.neighbours import choose_neighbours
from keepworld_exporters.stages.sources import DepthMap, DepthSource, FoundDepth

WITNESSES, MIN_VOTES = 6, 2  # other views asked, and those that must see the splats' surface at the same place
BASELINE = 0.1  # between cameras that are compared, shares of the typical depth
TRUST = 0.3  # in a depth from splats: it counts where nothing better does


def hybrid_depth(
    frames: Sequence[CapturedFrame],
    source: DepthSource,
    splats: Splats,
    *,
    typical: float,
    on_view: Callable[[], None],
) -> FoundDepth:
    """Fill what a source does not know with the depth of splats.

    Args:
        frames: whose depth is wanted.
        source: what is known.
        splats: trained on the frames.
        typical: median depth of the world, the capture's units.
        on_view: called once a frame.
    """
    c2ws = np.stack([frame.camera.c2w for frame in frames])
    cameras = [
        Pinhole(viewmat=frame.camera.viewmat, K=frame.camera.K, width=frame.camera.width, height=frame.camera.height)
        for frame in frames
    ]
    drawn = [surface_depth(splats, camera) for camera in cameras]
    maps = {}
    for index, frame in enumerate(frames):
        near = choose_neighbours(c2ws, index, distance=BASELINE * typical, count=WITNESSES)
        others = [(drawn[k], cameras[k].viewmat, cameras[k].K) for k in near]
        mean, votes, _ = agree(drawn[index], cameras[index].viewmat, cameras[index].K, others)
        known = source.of(frame)
        use = (known.depth == 0) & (votes >= MIN_VOTES)
        confidence = np.ones(use.shape, np.float32) if known.confidence is None else known.confidence
        maps[frame.number] = DepthMap(
            depth=np.where(use, mean, known.depth), confidence=np.where(use, np.float32(TRUST), confidence)
        )
        on_view()
    return FoundDepth(maps)
