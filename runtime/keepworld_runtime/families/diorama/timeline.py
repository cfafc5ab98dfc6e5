"""What has been asked for so far, and what that makes of any instant: a closed form of time, with nothing accumulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.event_words import CREATURES, SEASON, SKY, SPECTACLES, THINGS, TIME, WEATHER
from keepworld_runtime.families.diorama.events import Change, parse_event
from keepworld_runtime.families.diorama.prompt import HOURS, one_season
from keepworld_runtime.families.diorama.spec import Conditions
from keepworld_runtime.families.family import Event

GROUND_LAG = 4.0  # snow and wetness take this many ramps to lie, or to go
SPECTACLE_S: Mapping[str, float] = {"fireworks": 14.0, "explosion": 6.0}  # how long they last unless told

_IN_THE_AIR: Mapping[tuple[str, bool], Mapping[str, float]] = {
    # (weather, whether it goes) -> what it makes of the conditions
    ("clear", False): {"cloud": 0.08, "fog": 0.0, "rain": 0.0, "snowfall": 0.0, "storm": 0.0},
    ("clear", True): {"cloud": 0.95},
    ("clouds", False): {"cloud": 0.95},
    ("clouds", True): {"cloud": 0.08},
    ("fog", False): {"fog": 0.75},
    ("fog", True): {"fog": 0.0},
    ("rain", False): {"rain": 0.75, "cloud": 0.88, "snowfall": 0.0},
    ("rain", True): {"rain": 0.0, "storm": 0.0, "cloud": 0.45},
    ("storm", False): {"storm": 0.9, "rain": 0.9, "cloud": 1.0, "snowfall": 0.0},
    ("storm", True): {"storm": 0.0, "rain": 0.0, "cloud": 0.5},
    ("snow", False): {"snowfall": 0.75, "cloud": 0.8, "rain": 0.0, "storm": 0.0},
    ("snow", True): {"snowfall": 0.0, "cloud": 0.45},
    ("thaw", False): {"snowfall": 0.0},
    ("thaw", True): {},
    ("rainbow", False): {"rainbow": 1.0},
    ("rainbow", True): {"rainbow": 0.0},
}
_ON_THE_GROUND: Mapping[tuple[str, bool], Mapping[str, float]] = {
    ("clear", False): {"wetness": 0.0},
    ("rain", False): {"wetness": 0.9},
    ("rain", True): {"wetness": 0.0},
    ("storm", False): {"wetness": 1.0},
    ("storm", True): {"wetness": 0.0},
    ("snow", False): {"snow_cover": 0.95},
    ("thaw", False): {"snow_cover": 0.0, "wetness": 0.5},
    ("spring", False): {"snow_cover": 0.0},
    ("summer", False): {"snow_cover": 0.0},
    ("autumn", False): {"snow_cover": 0.0},
    ("winter", False): {"snow_cover": 0.6},
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Entry:
    """An event, when it began, and where the camera [4, 4] was then, which decides where things go."""

    event: Event
    start_s: float
    c2w: NDArray[np.float64]
    changes: tuple[Change, ...]

    def weight(self, time_s: float, lag: float = 1.0) -> float:
        """How much of the event there is at a time, in [0, 1]: it ramps in, stays, and goes after its duration."""
        ramp_s = self.event.ramp_s * lag
        return rise(time_s - self.start_s, ramp_s) * (1.0 - self.ebb(time_s, lag))

    def ebb(self, time_s: float, lag: float = 1.0) -> float:
        """How far the event is over, in [0, 1]."""
        if self.event.duration_s is None:
            return 0.0
        return rise(time_s - self.start_s - self.event.duration_s, self.event.ramp_s * lag)


@dataclass(frozen=True, slots=True)
class Presence:
    """Something that an event has brought: which, how much of it is there, and since when."""

    entry: int
    change: Change
    amount: float
    age_s: float


def rise(age_s: float, ramp_s: float) -> float:
    """Go smoothly from 0 at age 0 to 1 at `ramp_s` and stay; a ramp of 0 is a step."""
    if age_s < 0:
        return 0.0
    x = min(1.0, age_s / ramp_s) if ramp_s > 0 else 1.0
    return x * x * (3.0 - 2.0 * x)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The opening conditions and the events since, oldest first. Adding an event gives a new timeline."""

    opening: Conditions
    entries: tuple[Entry, ...] = ()

    def with_event(self, event: Event, start_s: float, c2w: NDArray[np.float64]) -> Timeline:
        """Add an event that begins at `start_s`, with the camera at `c2w` [4, 4].

        Raises:
            ValueError: the event is not known, begins before the last one, or its times make no sense.
        """
        changes, _ = parse_event(event.text)
        if not (0 <= event.ramp_s < np.inf) or (event.duration_s is not None and not 0 <= event.duration_s < np.inf):
            raise ValueError(
                f"ramp_s and duration_s must be finite and not negative, got {event.ramp_s} and {event.duration_s}"
            )
        if self.entries and start_s < self.entries[-1].start_s:
            raise ValueError(f"events must come in order of time, got {start_s} after {self.entries[-1].start_s}")
        return replace(self, entries=(*self.entries, Entry(event=event, start_s=start_s, c2w=c2w, changes=changes)))

    def conditions_at(self, time_s: float) -> Conditions:
        """The conditions at a time, each event laid over those before it."""
        now = self.opening
        for i, entry in enumerate(self.entries):
            if entry.start_s > time_s:
                break
            for change in entry.changes:
                if change.heading == TIME:
                    now = replace(now, hour=self._hour(i, HOURS[change.subject], time_s))
                elif change.heading in (WEATHER, SKY, SEASON):
                    now = _blend(now, change, entry.weight(time_s), entry.weight(time_s, GROUND_LAG))
        return now

    def _hour(self, i: int, target: float, time_s: float) -> float:
        """The hour under event `i`: forwards from where the clock stood when it began, and forwards again to there."""
        entry = self.entries[i]
        # The clock is held at the event's start: two events that both turn it would otherwise fight over one ramp.
        before = replace(self, entries=self.entries[:i]).conditions_at(entry.start_s).hour
        ahead = (target - before) % 24.0
        if ahead > 24.0 - 1e-6:
            ahead = 0.0
        back = (24.0 - ahead) * entry.ebb(time_s) if ahead else 0.0
        return (before + ahead * rise(time_s - entry.start_s, entry.event.ramp_s) + back) % 24.0

    def present_at(self, time_s: float) -> Iterator[Presence]:
        """The things, creatures and spectacles that are there at a time, oldest first."""
        for i, entry in enumerate(self.entries):
            if entry.start_s > time_s:
                break
            for change in entry.changes:
                if change.goes or change.heading not in (THINGS, CREATURES, SPECTACLES):
                    continue
                amount = self._amount(i, change, time_s)
                if amount > 0:
                    yield Presence(i, change, amount, time_s - entry.start_s)

    def _amount(self, i: int, change: Change, time_s: float) -> float:
        """How much of what event `i` brought is there, after all later events that take its like away."""
        entry = self.entries[i]
        amount = entry.weight(time_s)
        if change.heading == SPECTACLES:  # at once, and not for ever
            lasts_s = SPECTACLE_S[change.subject] if entry.event.duration_s is None else entry.event.duration_s
            amount = 1.0 - rise(time_s - entry.start_s - lasts_s, entry.event.ramp_s)
        gone = replace(change, goes=True)
        for later in self.entries[i:]:
            if gone in later.changes:
                amount *= 1.0 - later.weight(time_s)
        return amount


def _blend(now: Conditions, change: Change, weight: float, ground_weight: float) -> Conditions:
    """Take conditions towards what a change of weather, sky or season makes of them."""
    key = (change.subject, change.goes)
    mixed = {name: _mix(getattr(now, name), target, weight) for name, target in _IN_THE_AIR.get(key, {}).items()}
    mixed |= {
        name: _mix(getattr(now, name), target, ground_weight) for name, target in _ON_THE_GROUND.get(key, {}).items()
    }
    season = now.season
    if change.heading == SEASON:
        spring, summer, autumn, winter = (
            _mix(x, y, weight) for x, y in zip(season, one_season(change.subject), strict=True)
        )
        season = spring, summer, autumn, winter
    return Conditions(**{**asdict(now), **mixed, "season": season})


def _mix(a: float, b: float, weight: float) -> float:
    return a * (1.0 - weight) + b * weight
