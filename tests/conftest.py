"""Captures of closed-form worlds, made once a test run."""

from __future__ import annotations

import os

# Tiny networks gain nothing from a second OpenMP thread, and on a busy machine the two wait for each other: 20 times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from keepworld.capture import Capture

from tests import scenes


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20261120)


@pytest.fixture(scope="session")
def letter_capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """The wall with the letter F and three coloured bars."""
    return scenes.letter_wall(tmp_path_factory.mktemp("letter") / "walk")


@pytest.fixture(scope="session")
def sphere_capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """A ball of radius 0.7 m at the origin."""
    return scenes.sphere(tmp_path_factory.mktemp("sphere") / "walk", radius=0.7, views=32)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests run by hand, for as long as they take."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(0))
