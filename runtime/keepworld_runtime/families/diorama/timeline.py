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
        now = replace(self.opening, hour=self._hour(time_s))
        for entry in self._begun(time_s):
            for change in entry.changes:
                if change.heading in (WEATHER, SKY, SEASON):
                    now = _blend(now, change, entry.weight(time_s), entry.weight(time_s, GROUND_LAG))
        return now

    def _begun(self, time_s: float) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.start_s <= time_s)

    def _hour(self, time_s: float) -> float:
        """The hour at a time.

        An event takes the clock forwards from where it stood when the event began, and forwards again to there if it
        ends. It takes the clock over for good: two events that turned it together would fight over it.
        """
        turns = [(e, HOURS[c.subject]) for e in self._begun(time_s) for c in e.changes if c.heading == TIME]
        hour = self.opening.hour
        for (entry, target), until_s in zip(turns, [*(entry.start_s for entry, _ in turns[1:]), time_s], strict=False):
            ahead = (target - hour) % 24.0
            if 1e-6 < ahead < 24.0 - 1e-6:
                hour += ahead * rise(until_s - entry.start_s, entry.event.ramp_s) + (24.0 - ahead) * entry.ebb(until_s)
                hour %= 24.0
        return hour

    def present_at(self, time_s: float) -> Iterator[Presence]:
        """The things, creatures and spectacles that are there at a time, oldest first."""
        begun = self._begun(time_s)
        removals: dict[str, list[tuple[int, float]]] = {}
        for i, entry in enumerate(begun):
            for change in entry.changes:
                if change.goes:
                    removals.setdefault(change.subject, []).append((i, entry.weight(time_s)))
        for i, entry in enumerate(begun):
            for change in entry.changes:
                if change.goes or change.heading not in (THINGS, CREATURES, SPECTACLES):
                    continue
                amount = _brought(entry, change, time_s)
                for number, weight in removals.get(change.subject, ()):
                    amount *= 1.0 - weight if number >= i else 1.0
                if amount > 0:
                    yield Presence(i, change, amount, time_s - entry.start_s)


def _brought(entry: Entry, change: Change, time_s: float) -> float:
    """How much there is of something that an event brought, before anything takes it away."""
    if change.heading != SPECTACLES:
        return entry.weight(time_s)
    # At once, and not for ever.
    lasts_s = SPECTACLE_S[change.subject] if entry.event.duration_s is None else entry.event.duration_s
    return 1.0 - rise(time_s - entry.start_s - lasts_s, entry.event.ramp_s)


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
