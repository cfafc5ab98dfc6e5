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
