"""Moving about in places of closed form."""

import math

import numpy as np
import pytest
from keepworld.motion import Control
from keepworld_runtime.families.diorama.walk import EYE_HEIGHT, MAX_PITCH, RADIUS, RATES, advanced, settled

DT = 1 / 24


class Flat:
    """An empty plain, y = 0."""

    def __init__(self):
        self.spots = {}

    def ground(self, x, z):
        return np.zeros(np.broadcast(x, z).shape)

    def blocked(self, x, z, radius):
        return np.zeros(np.broadcast(x, z).shape, bool)


class Waves(Flat):
    """Hills: y = 0.8 sin(z / 4), sixty metres of them."""

    def ground(self, x, z):
        return 0.8 * np.sin(np.asarray(z) / 4.0) + 0.0 * np.asarray(x)


class Wall(Flat):
    """A wall 0.2 m thick through (0, 0, 5), turned by `angle` from square across the way."""

    def __init__(self, angle=0.0):
        super().__init__()
        self.angle = angle

    def beyond(self, x, z):
        return math.cos(self.angle) * (np.asarray(z) - 5.0) + math.sin(self.angle) * np.asarray(x)

    def blocked(self, x, z, radius):
        return np.abs(self.beyond(x, z)) < 0.1 + radius


class Cliff(Flat):
    """Three metres up at z = 4."""

    def ground(self, x, z):
        return np.where(np.asarray(z) > 4.0, -3.0, 0.0) + 0.0 * np.asarray(x)


def start(yaw=0.0, pitch=0.0):
    c, s = math.cos(yaw), math.sin(yaw)
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = math.cos(pitch), math.sin(pitch)
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    c2w = np.eye(4)
    c2w[:3, :3] = about_y @ about_x
    c2w[1, 3] = -EYE_HEIGHT
    return c2w


def walk(place, control, seconds, *, c2w=None, mode="walk"):
    c2w = settled(start() if c2w is None else c2w, place)
    for _ in range(round(seconds / DT)):
        c2w = advanced(c2w, control, place, mode, DT)
    return c2w


@pytest.mark.parametrize(
    ("move", "expected"),
    [((1, 0, 0), (2, 0)), ((-1, 0, 0), (-2, 0)), ((0, 0, 1), (0, 2)), ((0, 0, -1), (0, -2)), ((0.5, 0, 0.5), (1, 1))],
)
def test_a_second_of_walking_goes_two_metres_that_way(move, expected):
    end = walk(Flat(), Control(move=move), 1.0)
    assert end[[0, 2], 3] == pytest.approx(expected)
    assert end[1, 3] == pytest.approx(-EYE_HEIGHT)


@pytest.mark.parametrize("pitch", [0.0, 1.0, -1.0])
def test_forward_follows_the_heading_and_stays_level_wherever_one_looks(pitch):
    end = walk(Flat(), Control(move=(0, 0, 1)), 1.0, c2w=start(yaw=math.pi / 2, pitch=pitch))
    assert end[:3, 3] == pytest.approx([2.0, -EYE_HEIGHT, 0.0], abs=1e-9)


def test_speed_multiplies_the_step():
    assert walk(Flat(), Control(move=(0, 0, 1), speed=3.0), 1.0)[2, 3] == pytest.approx(6.0)


def test_turning_right_for_a_second_and_a_half_is_a_right_angle():
    end = walk(Flat(), Control(turn=(1, 0, 0)), 1.5)
    assert end[:3, 2] == pytest.approx([1, 0, 0], abs=1e-9)


def test_no_one_looks_further_up_or_down_than_the_limit():
    up = walk(Flat(), Control(turn=(0, 1, 0)), 3.0)
    down = walk(Flat(), Control(turn=(0, -1, 0)), 6.0, c2w=up)
    assert up[1, 2] == pytest.approx(-math.sin(MAX_PITCH))
    assert down[1, 2] == pytest.approx(math.sin(MAX_PITCH))


def test_eyes_stay_at_their_height_over_hills():
    place, c2w = Waves(), settled(start(), Waves())
    for _ in range(600):
        c2w = advanced(c2w, Control(move=(0, 0, 1)), place, "walk", DT)
        # The ground is averaged over the body's width: a curvature of 0.05 / m over 0.35 m moves it by millimetres.
        assert c2w[1, 3] == pytest.approx(0.8 * math.sin(c2w[2, 3] / 4) - EYE_HEIGHT, abs=0.01)


@pytest.mark.parametrize("speed", [0.25, 1.0, 2.0, 8.0])
@pytest.mark.parametrize("angle", [0.0, 0.5, -0.9])
def test_a_wall_holds_at_any_speed(speed, angle):
    place, c2w = Wall(angle), start()
    for _ in range(200):
        c2w = advanced(c2w, Control(move=(0, 0, 1), speed=speed), place, "walk", DT)
        assert place.beyond(c2w[0, 3], c2w[2, 3]) <= -(0.1 + RADIUS) + 1e-9


def test_a_wall_met_square_on_stops_and_one_met_aslant_is_followed():
    stopped = walk(Wall(), Control(move=(0, 0, 1)), 6.0)
    assert abs(stopped[0, 3]) < 0.15
    assert 5 - 0.1 - RADIUS - 0.15 < stopped[2, 3] <= 5 - 0.1 - RADIUS
    place = Wall(math.radians(45))  # runs towards +z and -x: x + z = 5
    followed = walk(place, Control(move=(0, 0, 1)), 8.0)
    assert followed[0, 3] < -4  # about 12 m of the 16 are walked along the wall, at cos 45 degrees
    assert -0.65 < place.beyond(followed[0, 3], followed[2, 3]) <= -0.45 + 1e-9


def test_a_cliff_is_not_walked_up_but_can_be_gone_down():
    assert walk(Cliff(), Control(move=(0, 0, 1)), 4.0)[2, 3] < 4.0
    above = start()
    above[2, 3] = 6.0
    down = walk(Cliff(), Control(move=(0, 0, -1)), 3.0, c2w=above)
    assert down[2, 3] == pytest.approx(0.0) and down[1, 3] == pytest.approx(-EYE_HEIGHT)


def test_somebody_put_inside_a_wall_gets_out():
    inside = start()
    inside[2, 3] = 5.0
    assert walk(Wall(), Control(move=(0, 0, 1)), 2.0, c2w=inside)[2, 3] > 6.0


def test_coming_back_is_coming_back():
    place, c2w = Waves(), settled(start(), Waves())
    there = [c2w]
    for move in (1, -1):
        for _ in range(48):
            c2w = advanced(c2w, Control(move=(0, 0, move)), place, "walk", DT)
            there.append(c2w)
    assert np.abs(there[0] - there[-1]).max() < 1e-12


def test_flying_goes_along_the_view_and_not_underground():
    up = walk(Flat(), Control(move=(0, 0, 1)), 1.0, c2w=start(pitch=0.5), mode="fly")
    assert up[:3, 3] == pytest.approx([0, -EYE_HEIGHT - 2 * math.sin(0.5), 2 * math.cos(0.5)])
    down = walk(Flat(), Control(move=(0, 1, 0)), 5.0, mode="fly")
    assert -1.0 < down[1, 3] < 0.0
    far = walk(Flat(), Control(move=(0, 0, 1), speed=8.0), 60.0, mode="fly")
    assert far[2, 3] <= 151


def test_flying_rolls():
    assert walk(Flat(), Control(turn=(0, 0, 1)), 1.5, mode="fly")[:3, 0] == pytest.approx(
        [0, RATES.turn * 1.5 / (math.pi / 2), 0], abs=1e-9
    )


@pytest.mark.parametrize("control", [Control(move=(0, 1, 0)), Control(turn=(0, 0, 1)), Control(buttons=1)])
def test_an_axis_that_walking_has_not_is_refused(control):
    with pytest.raises(ValueError, match="does not honour"):
        advanced(start(), control, Flat(), "walk", DT)
