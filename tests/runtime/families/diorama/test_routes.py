"""The ways that creatures go."""

import numpy as np
from keepworld_runtime.families.diorama.placing import Spot
from keepworld_runtime.families.diorama.routes import circle, closed


class Pillar:
    """An empty plain with a pillar 2 m wide at x = 4."""

    def ground(self, x, z):
        return np.zeros(np.broadcast(x, z).shape)

    def blocked(self, x, z, radius):
        return np.hypot(np.asarray(x) - 4.0, z) < 1.0 + radius


def test_a_square_comes_back_to_where_it_began():
    route = closed(np.array([[0.0, 0.0], [8.0, 0.0], [8.0, 8.0], [0.0, 8.0]]))
    assert abs(route.length - 32.0) < 0.5
    assert np.allclose(route.at(0.0), route.at(route.length))
    assert np.hypot(*np.subtract(route.at(0.0)[:2], (0.0, 0.0))) < 0.6  # corners are rounded


def test_one_walks_where_one_looks_and_never_jumps():
    route = closed(np.array([[0.0, 0.0], [8.0, 0.0], [8.0, 8.0], [0.0, 8.0]]))
    for distance in np.linspace(0.0, 64.0, 200):
        x, z, yaw = route.at(distance)
        to_x, to_z, _ = route.at(distance + 0.05)
        step = np.array([to_x - x, to_z - z])
        assert 0.02 < np.linalg.norm(step) < 0.06
        assert step @ (np.sin(yaw), np.cos(yaw)) > 0.9 * np.linalg.norm(step)


def test_a_ring_begins_at_its_spot_and_keeps_clear_of_what_stands_about():
    place = Pillar()
    for entry in range(4):
        route = circle(place, Spot(0.0, 0.0, 0.0, 0.0), 3.0, entry)
        assert np.hypot(*route.at(0.0)[:2]) < 0.3
        points = np.array([route.at(distance)[:2] for distance in np.linspace(0.0, route.length, 100)])
        assert not place.blocked(points[:, 0], points[:, 1], 0.3).any()
