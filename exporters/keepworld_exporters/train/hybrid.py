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
    """Fill what a source does not know with the depth of splats, where other views show the same and none sees through it.

    What other views know counts as what they show; only where they know nothing, their splats do. Further away than
    anything that is known splats stand for the sky.

    Args:
        frames: whose depth is wanted.
        source: what is known.
        splats: trained on the frames.
        typical: median depth of the world, the capture's units.
        on_view: called twice a frame.
    """
    c2ws = np.stack([frame.camera.c2w for frame in frames])
    cameras = [
        Pinhole(viewmat=frame.camera.viewmat, K=frame.camera.K, width=frame.camera.width, height=frame.camera.height)
        for frame in frames
    ]
    known = [source.of(frame) for frame in frames]
    solid = [np.where(np.isfinite(one.depth), one.depth, np.float32(0)) for one in known]
    furthest = max(float(depth.max()) for depth in solid)
    shown = []
    for camera, depth in zip(cameras, solid, strict=True):
        drawn = surface_depth(splats, camera)
        shown.append(np.where((depth == 0) & (drawn <= furthest), drawn, depth))
        on_view()
    maps = {}
    for index, frame in enumerate(frames):
        near = choose_neighbours(c2ws, index, distance=BASELINE * typical, count=WITNESSES)
        others = [(shown[k], cameras[k].viewmat, cameras[k].K) for k in near]
        found = agree(shown[index], cameras[index].viewmat, cameras[index].K, others)
        depth, confidence = known[index].depth, known[index].confidence
        use = (depth == 0) & (found.votes >= MIN_VOTES) & (found.through == 0)
        sure = np.ones(use.shape, np.float32) if confidence is None else confidence
        maps[frame.number] = DepthMap(
            depth=np.where(use, found.depth, depth), confidence=np.where(use, np.float32(TRUST), sure)
        )
        on_view()
    return FoundDepth.of_maps(maps)
