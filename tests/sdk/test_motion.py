"""Words to controls to cameras, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keepworld.motion import Control, Rates, fly, parse, step_on_ground, turned

RATES = Rates(move=2.0, turn=1.0)
FPS = 24.0
HOME = np.eye(4)


def walk(text: str, start: np.ndarray = HOME, rates: Rates = RATES) -> np.ndarray:
    segments = parse(text, rates=rates, fps=FPS)
    controls = [segment.control for segment in segments for _ in range(segment.frames)]
    return fly(start, controls, rates, FPS)[-1]


def test_six_seconds_forward_at_two_metres_a_second_are_twelve_metres() -> None:
    np.testing.assert_allclose(walk("forward 6s")[:3, 3], [0, 0, 12], atol=1e-9)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("left 1m", [-1, 0, 0]),
        ("right 1m", [1, 0, 0]),
        ("up 1m", [0, -1, 0]),
        ("down 1m", [0, 1, 0]),
        ("back 1m", [0, 0, -1]),
        ("backward 1m", [0, 0, -1]),
        ("forward 3.7m", [0, 0, 3.7]),
        ("forward 1s at 3x", [0, 0, 6]),
        ("forward 12 frames", [0, 0, 1]),
        ("forward 0.999s", [0, 0, 1.998]),
        ("forward 2s + right 1s", [2, 0, 4]),
        ("forward 1s at 2x + right 1s", [2, 0, 4]),
        ("wait 2s, forward 1m", [0, 0, 1]),
        ("look left 90deg, forward 5m", [-5, 0, 0]),
        ("look right 90deg, forward 5m", [5, 0, 0]),
        ("look up 90deg, forward 5m", [0, -5, 0]),
    ],
)
def test_where_words_lead(text: str, end: list[float]) -> None:
    np.testing.assert_allclose(walk(text)[:3, 3], end, atol=1e-9)


def test_four_quarter_turns_are_none() -> None:
    np.testing.assert_allclose(walk(", ".join(["look left 90deg"] * 4)), HOME, atol=1e-9)


@pytest.mark.parametrize("turn", ["look left", "look down", "roll right"])
@pytest.mark.parametrize("rate", [0.3, 1.0, 7.0])
def test_an_angle_is_exact_at_any_rate(turn: str, rate: float) -> None:
    rotation = walk(f"{turn} 77deg", rates=Rates(move=1.0, turn=rate))[:3, :3]
    assert math.degrees(math.acos((np.trace(rotation) - 1) / 2)) == pytest.approx(77, abs=1e-6)


def test_a_roll_to_the_right_leans_the_head_to_the_right() -> None:
    up = -walk("roll right 30deg")[:3, 1]
    assert up[0] > 0 > up[1]


def test_walking_stays_level_whichever_way_one_looks() -> None:
    looking_up = walk("look up 60deg, look right 40deg")
    step = step_on_ground(looking_up, Control(move=(0.3, 0, 1)), RATES, 1.0)
    assert step[1] == 0
    assert np.linalg.norm(step) == pytest.approx(2 * math.hypot(0.3, 1))


def test_looking_round_while_looking_up_does_not_tilt_the_horizon() -> None:
    camera = walk("look up 40deg, look left 120deg, look down 10deg")
    assert camera[1, 0] == pytest.approx(0, abs=1e-12)  # the camera's right stays level


def test_one_cannot_look_further_up_than_allowed() -> None:
    camera = HOME
    for _ in range(100):
        camera = turned(camera, Control(turn=(0, 1, 0)), RATES, 0.1, max_pitch=math.radians(80))
    assert math.degrees(math.asin(-camera[1, 2])) == pytest.approx(80)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("forward 3s, jump 2s", "jump 2s"),
        ("forward 3s, look left", "look left"),
        ("forward 90deg", "forward 90deg"),
        ("look left 3m", "look left 3m"),
        ("wait 3m", "wait 3m"),
        ("forward 3s at 9x", "forward 3s at 9x"),
        ("look left 90deg at 2x", "look left 90deg at 2x"),
        ("forward 1s + forward 1s", r"forward 1s \+ forward 1s"),
        ("forward 99999999s", "forward 99999999s"),
        (" , ", "at least one step"),
    ],
)
def test_a_step_that_cannot_be_is_named(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse(text, rates=RATES, fps=FPS)


@pytest.mark.parametrize(
    "values", [{"move": (0, 0, 1.1)}, {"turn": (math.nan, 0, 0)}, {"speed": -1}, {"speed": 9}, {"buttons": -1}]
)
def test_a_control_out_of_range_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Control(**values)


def test_a_control_knows_which_axes_it_uses() -> None:
    assert Control().used_axes() == frozenset()
    used = Control(move=(0, 0, 1), turn=(0, -0.5, 0), speed=2).used_axes()
    assert used == {"move_forward", "turn_pitch", "speed"}
