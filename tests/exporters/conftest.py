"""Captures that several tests of exports look at."""

import pytest

from tests import scenes
from tests.exporters.room import BALL, GROUND, SIZE, WALL, bare, sideways


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A wall, ground and a ball, walked past sideways; depth, and the same capture bare."""
    folder = tmp_path_factory.mktemp("room")
    path = sideways(9)
    known = scenes.write(folder / "known", [WALL, GROUND, BALL], path, size=SIZE)
    return known, bare(scenes.write(folder / "bare", [WALL, GROUND, BALL], path, size=SIZE))


@pytest.fixture(scope="session")
def meadow(tmp_path_factory):
    """A box on a plain 1.6 m below the cameras."""
    ground = scenes.Solid((-30, 1.6, -5), (30, 2.6, 60), scenes.chequered((90, 160, 60), 0.5))
    box = scenes.Solid((-1, 0.6, 5), (1, 1.6, 6), scenes.plain(200, 40, 40))
    path = [scenes.look((0.2 * k - 1, 0, 0.1 * k), (0, 0.8, 6)) for k in range(13)]
    return scenes.write(tmp_path_factory.mktemp("meadow") / "walk", [ground, box], path, size=(128, 96)).folder
