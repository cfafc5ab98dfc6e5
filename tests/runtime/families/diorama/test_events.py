"""What events ask for, and what time makes of them."""

import dataclasses
import time

import numpy as np
import pytest
from keepworld_runtime.families.diorama.event_words import EXAMPLES
from keepworld_runtime.families.diorama.events import Change, parse_event
from keepworld_runtime.families.diorama.spec import Conditions
from keepworld_runtime.families.diorama.timeline import Timeline
from keepworld_runtime.families.family import Event

OPENING = Conditions(hour=10.0)
HERE = np.eye(4)


def changes(text):
    return {(change.subject, change.goes) for change in parse_event(text)[0]}


def after(text, *, ramp_s=2.0, duration_s=None, start_s=5.0, before=None):
    return (before or Timeline(OPENING)).with_event(
        Event(text=text, ramp_s=ramp_s, duration_s=duration_s), start_s, HERE
    )


PHRASINGS = [
    ("a hot-air balloon rises over the hills", {("balloon", False)}),
    ("a thunderstorm rolls in", {("storm", False)}),
    ("night falls and a campfire is lit", {("night", False), ("campfire", False)}),
    ("light the candles", {("lantern", False)}),
    ("put out the campfire", {("campfire", True)}),
    ("put the fire out", {("campfire", True)}),
    ("remove the balloon and the boat", {("balloon", True), ("boat", True)}),
    ("the rain and the fog lift", {("rain", True), ("fog", True)}),
    ("the rain stops and a rainbow appears", {("rain", True), ("rainbow", False)}),
    ("the rain stops, fireworks", {("rain", True), ("fireworks", False)}),
    ("leaves fall", {("autumn", False)}),
    ("the lights go out", {("lantern", True)}),
    ("the stars come out", {("night", False)}),
    ("winter ends", {("spring", False)}),
    ("The SUN sets!", {("sunset", False)}),
    ("a flock of birds flies over; a fox runs by", {("birds", False), ("fox", False)}),
    ("clear the fog", {("fog", True)}),
    ("it starts to snow", {("snow", False)}),
]


@pytest.mark.parametrize(("text", "expected"), PHRASINGS)
def test_events_are_understood_however_they_are_put(text, expected):
    assert changes(text) == expected


def test_every_example_that_is_offered_works():
    for examples in EXAMPLES.values():
        for example in examples:
            assert parse_event(example)[0]


def test_the_reading_says_what_was_ignored():
    _, reading = parse_event("a purple balloon appears")
    assert reading.used == ("things: balloon",)
    assert reading.ignored == ("purple",)


@pytest.mark.parametrize("text", ["a spaceship lands", "", "☂", "stop", "remove it"])
def test_an_unknown_event_is_refused_with_a_list_of_what_is_known(text):
    with pytest.raises(ValueError, match=r"balloon.*campfire.*fireworks"):
        parse_event(text)


def test_rain_comes_in_smoothly_and_exactly_to_its_end():
    line = after("rain")
    rain = np.array([line.conditions_at(5.0 + t).rain for t in np.linspace(-1, 4, 200)])
    assert rain[:40].max() == 0.0
    assert (np.diff(rain) >= 0).all() and np.diff(rain).max() < 0.03  # no jumps
    assert rain[-1] == line.conditions_at(7.0).rain == 0.75


def test_a_ramp_of_zero_is_at_once():
    line = after("snow", ramp_s=0.0)
    assert line.conditions_at(4.999).snowfall == 0.0
    assert line.conditions_at(5.0).snowfall == 0.75
    assert line.conditions_at(5.0).snow_cover == 0.95


def test_snow_goes_on_to_lie_while_it_falls():
    line = after("snow")
    cover = [line.conditions_at(5.0 + t).snow_cover for t in np.linspace(0, 10, 100)]
    assert (np.diff(cover) >= 0).all()
    assert 0 < line.conditions_at(7.0).snow_cover < 0.95 == cover[-1]


@pytest.mark.parametrize(
    "text", ["rain", "a thunderstorm", "fog", "snow", "winter", "night falls", "a rainbow", "rain and fog"]
)
def test_what_lasts_a_while_leaves_the_world_as_it_was(text):
    line = after(text, ramp_s=1.0, duration_s=3.0)
    assert line.conditions_at(7.0) != OPENING
    end = line.conditions_at(40.0)
    assert dataclasses.astuple(end)[0] == pytest.approx(OPENING.hour)
    for name in ("cloud", "fog", "rain", "snowfall", "storm", "rainbow", "snow_cover", "wetness", "season"):
        assert getattr(end, name) == pytest.approx(getattr(OPENING, name))


def test_the_clock_runs_forwards_past_midnight():
    night = Timeline(Conditions(hour=22.5))
    line = after("dawn", before=night)
    hours = np.array([line.conditions_at(5.0 + t).hour for t in np.linspace(0, 2, 100)])
    assert hours[0] == 22.5 and hours[-1] == pytest.approx(6.4)
    forwards = np.diff(hours) % 24
    assert forwards.max() < 1.0 and forwards.sum() == pytest.approx(24 - 22.5 + 6.4)


def test_the_same_hour_again_moves_nothing():
    line = after("night falls", ramp_s=0.0)
    again = after("night falls", before=line, start_s=8.0)
    assert {again.conditions_at(t).hour for t in np.linspace(8, 12, 50)} == {line.conditions_at(8.0).hour}


def test_a_long_session_stays_cheap():
    line = Timeline(OPENING)
    for number in range(300):
        text = ("night falls", "dawn", "rain", "the rain stops", "a balloon", "remove the balloon")[number % 6]
        line = after(text, ramp_s=1.0, start_s=float(number), before=line)
    begun = time.perf_counter()
    line.conditions_at(400.0), list(line.present_at(400.0))
    assert time.perf_counter() - begun < 0.5


def test_seasons_always_add_up():
    line = after("autumn", ramp_s=3.0)
    line = after("winter", ramp_s=3.0, start_s=6.0, before=line)
    for t in np.linspace(4, 12, 60):
        assert sum(line.conditions_at(t).season) == pytest.approx(1)


def test_later_weather_takes_over_without_a_jump():
    line = after("rain", ramp_s=4.0)
    line = after("clear skies", ramp_s=4.0, start_s=6.0, before=line)
    rain = np.array([line.conditions_at(t).rain for t in np.linspace(5, 12, 400)])
    assert np.abs(np.diff(rain)).max() < 0.02
    assert rain[-1] == 0.0


def amounts(line, time_s):
    return {presence.change.subject: presence.amount for presence in line.present_at(time_s)}


def test_things_come_and_are_taken_away():
    line = after("a balloon and a campfire")
    line = after("remove the balloon", start_s=10.0, before=line)
    assert amounts(line, 5.0) == {}
    assert amounts(line, 7.0) == {"balloon": 1.0, "campfire": 1.0}
    assert 0 < amounts(line, 11.0)["balloon"] < 1
    assert amounts(line, 12.0) == {"campfire": 1.0}


def test_what_is_taken_away_before_does_not_take_away_what_comes_after():
    line = after("put out the fire")
    line = after("a campfire is lit", start_s=8.0, before=line)
    assert amounts(line, 12.0) == {"campfire": 1.0}


def test_fireworks_end_by_themselves():
    line = after("fireworks", ramp_s=0.0)
    assert amounts(line, 10.0) == {"fireworks": 1.0}
    assert amounts(line, 30.0) == {}


def test_times_that_make_no_sense_are_refused():
    for wrong in ({"ramp_s": -1.0}, {"ramp_s": float("nan")}, {"duration_s": float("inf")}):
        with pytest.raises(ValueError, match="ramp_s and duration_s"):
            after("rain", **wrong)
    with pytest.raises(ValueError, match="order"):
        after("rain", start_s=1.0, before=after("fog"))


def test_a_change_of_time_goes_over_into_the_next():
    assert parse_event("the night ends")[0] == (Change("time of day", "dawn"),)
