"""The call that an export makes: from a cloud and the frames to trained splats."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from keepworld_exporters.rasterize.choose import choose_rasterizer
from keepworld_exporters.rasterize.rasterizer import Pinhole
from keepworld_exporters.scene import Splats
from keepworld_exporters.stages.depth import View
from keepworld_exporters.stages.points import Cloud, part_of
from keepworld_exporters.stages.splats import splats_from_cloud
from keepworld_exporters.train.settings import Settings
from keepworld_exporters.train.shots import Shot
from keepworld_exporters.train.trainer import train

_START = 0.8  # of the cap: the rest is left for where it turns out to be needed


def train_splats(
    cloud: Cloud,
    shell: Splats | None,
    views: Iterable[View],
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    watch: Path | None = None,
    on_step: Callable[[], None],
) -> Splats:
    """Train splats that lie on a cloud, before a sky if there is one, to look like the views.

    Args:
        cloud: where surfaces are.
        shell: the sky, whose place is kept.
        views: the frames; what moves in them does not count.
        settings: how.
        checkpoint: a file to go on from, if it is there, and to keep the training in while it runs.
        watch: a .png or .jpg that shows now and then how far it is.
        on_step: called after every step.
    """
    shots = [
        Shot(
            image=view.image,
            camera=Pinhole(viewmat=view.viewmat, K=view.K, width=view.image.shape[1], height=view.image.shape[0]),
            mask=None if view.lasting.all() else view.lasting,
        )
        for view in views
    ]
    start = splats_from_cloud(thinned(cloud, max(1, int(_START * settings.cap)), settings.seed))
    return train(
        shots, start, settings, rasterizer=choose_rasterizer(), far=shell, checkpoint=checkpoint, watch=watch,
        on_step=lambda _: on_step(),
    ).splats  # fmt: skip


def thinned(cloud: Cloud, most: int, seed: int) -> Cloud:
    """At most `most` points of a cloud, drawn at random, each standing for as much more of the surface."""
    count = len(cloud.points.positions)
    if count <= most:
        return cloud
    chosen = np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
    fewer = part_of(cloud, chosen)
    return replace(fewer, sizes=fewer.sizes * np.float32(math.sqrt(count / most)))
