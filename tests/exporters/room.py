"""A wall, ground and a ball whose every place looks like no other: for depth that is found in pictures."""

import shutil

import numpy as np
from keepworld.capture import Capture

from tests import scenes

SIZE = (144, 108)


def mottled(points):
    """Many waves on top of each other: no place looks like another nearby."""
    rng = np.random.default_rng(4)
    waves = rng.normal(0, 1, (24, 3)) * np.geomspace(2, 25, 24)[:, None]
    tone = np.sin(points @ waves.T + rng.uniform(0, 6, 24)).sum(1) / 24**0.5
    return np.clip(128 + 45 * tone[:, None] * np.array([1.0, 0.9, 0.7]), 0, 255)


WALL = scenes.Solid((-4, -3, 3.0), (4, 1.0, 3.4), mottled)
GROUND = scenes.Solid((-6, 1.0, -2), (6, 1.5, 3.2), mottled)
BALL = scenes.Solid((-0.6, -0.5, 1.5), (0.4, 0.5, 2.5), mottled, ball=True)


def bare(capture):
    """The same capture without depth and labels, as a learned world gives it."""
    for kind in ("depth", "labels", "masks"):
        shutil.rmtree(capture.folder / kind, ignore_errors=True)
    return Capture(capture.folder)


def sideways(count, step=0.12):
    return [
        scenes.look((step * (k - count / 2), 0.1 * (k % 2), 0), (0.5 * step * (k - count / 2), 0.2, 3))
        for k in range(count)
    ]
