from __future__ import annotations

import numpy as np
from keepworld_runtime.families.latent.points import points_of


def test_points_depend_on_the_seed_and_the_place_in_the_walk_alone() -> None:
    points = points_of(7, 8.0)
    points(4)  # what was drawn before changes nothing
    assert np.array_equal(points(24), points_of(7, 8.0)(24))
    assert not np.array_equal(points(24), points(28))
    assert not np.array_equal(points(24), points_of(8, 8.0)(24))


def test_there_are_as_many_points_as_published_and_all_within_the_radius() -> None:
    points = points_of(7, 8.0)(0)
    assert points.shape == (50_000, 3)
    assert points.dtype == np.float32
    assert np.linalg.norm(points, axis=-1).max() <= 8 + 1e-5
