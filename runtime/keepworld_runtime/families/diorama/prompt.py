"""From a prompt's words and a seed to a scene and the conditions it opens under.

Words fix what they name; the seed decides the rest, in a way that fits (deserts have little water, tundra has snow). Every
choice is drawn for its own purpose, so that fixing one thing with a word leaves the others as they were.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from keepworld_runtime.families.diorama.spec import SEASONS, Conditions, SceneSpec
from keepworld_runtime.families.diorama.vocabulary import (
    BIOME,
    DENSITY,
    LANDMARK,
    MILD,
    PALETTE,
    PHRASES,
    SEASON,
    SETTLEMENT,
    TIME,
    VOCABULARY,
    WATER,
    WEATHER,
    Fact,
)
from keepworld_runtime.families.diorama.words import find, tokenize, unknown
from keepworld_runtime.families.family import Reading
from keepworld_runtime.sampling.noise import generator

HOURS: Mapping[str, float] = {
    "dawn": 6.4, "morning": 8.5, "noon": 12.0, "afternoon": 15.0, "sunset": 17.3, "dusk": 18.5, "night": 22.5,
}  # fmt: skip

_NEGATIONS = frozenset(("no", "without", "not", "never", "nor", "lacking", "minus", "neither", "zero"))
_REACH = 3  # words a negation looks ahead for what it negates, as in "without any tall trees"

_LIKELY: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    # heading -> biome -> word -> how likely it is when nothing was said
    WATER: {
        "meadow": {"none": 2, "pond": 3, "lake": 2, "river": 3},
        "forest": {"none": 3, "pond": 2, "lake": 2, "river": 3},
        "mountains": {"none": 2, "lake": 4, "river": 3},
        "desert": {"none": 9, "pond": 1},
        "coast": {"sea": 1},
        "tundra": {"none": 4, "lake": 2, "pond": 1, "river": 1},
        "jungle": {"none": 2, "pond": 2, "river": 4, "lake": 1},
        "farmland": {"none": 4, "pond": 3, "river": 2},
    },
    SETTLEMENT: {
        "meadow": {"none": 3, "cottage": 4, "hamlet": 3, "village": 1},
        "forest": {"none": 5, "cottage": 4, "hamlet": 1},
        "mountains": {"none": 5, "cottage": 3, "hamlet": 2},
        "desert": {"none": 7, "cottage": 1, "hamlet": 1},
        "coast": {"none": 3, "cottage": 3, "hamlet": 3, "village": 1},
        "tundra": {"none": 6, "cottage": 2},
        "jungle": {"none": 8, "cottage": 1},
        "farmland": {"cottage": 4, "hamlet": 4, "village": 2},
    },
    LANDMARK: {
        "meadow": {"none": 5, "windmill": 2, "stones": 2, "tower": 1},
        "forest": {"none": 7, "stones": 2, "abbey": 1, "tower": 1},
        "mountains": {"none": 6, "castle": 1, "tower": 1, "abbey": 1},
        "desert": {"none": 8, "stones": 1, "tower": 1},
        "coast": {"none": 4, "lighthouse": 5, "tower": 1},
        "tundra": {"none": 8, "stones": 2},
        "jungle": {"none": 8, "stones": 1, "tower": 1},
        "farmland": {"none": 5, "windmill": 5},
    },
    SEASON: {
        "tundra": {"winter": 3, "autumn": 1},
        "desert": {"summer": 1},
        "jungle": {"summer": 1},
        "": {"spring": 4, "summer": 8, "autumn": 4, "winter": 0.6},
    },
    DENSITY: {
        "desert": {"sparse": 1},
        "tundra": {"sparse": 3, "normal": 1},
        "jungle": {"dense": 4, "normal": 1},
        "forest": {"normal": 2, "dense": 1},
        "": {"sparse": 1, "normal": 4, "dense": 1},
    },
}
_BIOMES = {
    "meadow": 4.0, "forest": 4.0, "mountains": 3.0, "desert": 1.0, "coast": 3.0, "tundra": 1.0, "jungle": 1.0, "farmland": 3.0,
}  # fmt: skip
_PALETTES = {"natural": 8.0, "vivid": 3.0, "pastel": 0.6, "muted": 0.4}
_TIMES = {"morning": 4.0, "noon": 2.0, "afternoon": 4.0, "sunset": 1.0}
_WEATHERS = {"clear": 3.0, "cloudy": 4.0, "overcast": 0.5}


@dataclass(frozen=True, kw_only=True, slots=True)
class Understanding:
    """What a prompt says: heading -> the words said under it, in order; the same for what it denies; and the reading."""

    said: Mapping[str, tuple[str, ...]]
    denied: Mapping[str, frozenset[str]]
    reading: Reading

    def first(self, heading: str) -> str | None:
        """The word that decides a heading, if there is one."""
        words = self.said.get(heading, ())
        return words[0] if words else None


def understand(text: str) -> Understanding:
    """Find what a prompt says. Any text at all can be understood; most of it may be ignored."""
    words = tokenize(text)
    said: dict[str, tuple[str, ...]] = {}
    denied: dict[str, frozenset[str]] = {}
    used: list[str] = []
    left = set(range(len(words)))
    second: list[str] = []
    negated_until, negation = -1, -1
    found = {start: (end, facts) for start, end, facts in find(words, PHRASES)}
    plain = any(facts[0][0] == BIOME and " ".join(words[at:end]) not in MILD for at, (end, facts) in found.items())
    at = 0
    while at < len(words):
        if at not in found:
            if words[at] in _NEGATIONS:
                negated_until, negation = at + _REACH, at
            at += 1
            continue
        end, facts = found[at]
        phrase = " ".join(words[at:end])
        is_denied = at <= negated_until
        if is_denied:
            left.discard(negation)
            for heading, word in facts:
                denied[heading] = denied.get(heading, frozenset()) | {word}
            # "no houses or trees": the denial goes on past "or"
            negated_until = end + 2 if words[end : end + 1] in (["or"], ["nor"]) else -1
        elif (plain and phrase in MILD) or not _takes(said, facts):
            second.append(phrase)
        if is_denied or phrase not in second:
            used += [_show(fact, phrase, is_denied) for fact in facts]
        left -= set(range(at, end))
        at = end
    ignored = unknown([*(words[i] for i in sorted(left)), *second])
    return Understanding(said=said, denied=denied, reading=Reading(used=tuple(dict.fromkeys(used)), ignored=ignored))


def _takes(said: dict[str, tuple[str, ...]], facts: tuple[Fact, ...]) -> bool:
    """Note facts, unless all of them speak of what an earlier word has already decided otherwise."""
    taken = False
    for heading, word in facts:
        before = said.get(heading, ())
        if heading == BIOME and before and "coast" in (word, before[0]) and word != before[0]:
            # "a coastal forest" is a forest by the sea
            said[BIOME] = (before[0] if word == "coast" else word,)
            said.setdefault(WATER, ("sea",))
            taken = True
        elif word in before or not before or heading == WEATHER:
            said[heading] = (*before, word) if word not in before else before
            taken = True
    return taken


def _show(fact: Fact, phrase: str, is_denied: bool) -> str:
    heading, word = fact
    if is_denied:
        return f"{heading}: no {phrase}"
    return f"{heading}: {word}" + ("" if phrase == " ".join(tokenize(word)) else f" ({phrase})")


def imagine(text: str, seed: int) -> tuple[SceneSpec, Conditions]:
    """Make the scene and the opening conditions of a prompt: the words decide, and the seed what they leave open."""
    words = understand(text)

    def choose(heading: str, likely: Mapping[str, float]) -> str:
        word = words.first(heading)
        return word if word is not None else _draw(seed, heading, likely, words.denied.get(heading, frozenset()))

    by_the_sea = words.first(WATER) == "sea" or words.first(LANDMARK) == "lighthouse"
    biome = choose(BIOME, {"coast": 1.0} if by_the_sea else _BIOMES)
    likely = {heading: table.get(biome) or table[""] for heading, table in _LIKELY.items()}
    if words.first(LANDMARK) == "bridge":
        likely[WATER] = {"river": 1.0}
    if {"snow", "snow-covered"} & set(words.said.get(WEATHER, ())):
        likely[SEASON] = {"winter": 1.0}
    if SETTLEMENT in words.denied:
        likely[SETTLEMENT] = {"none": 1.0}
    if "normal" in words.denied.get(DENSITY, ()):  # "no trees"
        likely[DENSITY] = {"sparse": 1.0}
    spec = SceneSpec(
        seed=seed,
        biome=biome,
        settlement=choose(SETTLEMENT, likely[SETTLEMENT]),
        density=choose(DENSITY, likely[DENSITY]),
        palette=choose(PALETTE, _PALETTES),
        landmark=choose(LANDMARK, likely[LANDMARK]),
        water=choose(WATER, likely[WATER]),
    )
    return spec, _opening(words, seed, biome, choose(SEASON, likely[SEASON]), choose(TIME, _TIMES))


def _draw(seed: int, heading: str, likely: Mapping[str, float], denied: Collection[str]) -> str:
    """Draw a word by its weight, leaving out what the prompt denies; "none" when nothing is left (or any biome)."""
    allowed = {word: weight for word, weight in likely.items() if word not in denied}
    if not allowed:
        if heading not in (BIOME, SEASON, TIME, DENSITY, PALETTE):
            return "none"
        allowed = {word: 1.0 for word in VOCABULARY[heading] if word not in denied} or dict(likely)
    mark = generator(seed, "prompt", heading).random() * sum(allowed.values())
    for word, weight in allowed.items():
        mark -= weight
        if mark < 0:
            return word
    return word


def _opening(words: Understanding, seed: int, biome: str, season: str, time: str) -> Conditions:
    """The conditions a session opens under."""
    said = words.said.get(WEATHER, ())
    denied = words.denied.get(WEATHER, frozenset())
    chance = generator(seed, "prompt", "conditions").random(4)
    conditions = Conditions(
        hour=(HOURS[time] + 0.5 * float(chance[0] - 0.5)) % 24,
        season=one_season(season),
        snow_cover=_lying_snow(biome, season, float(chance[1])),
    )
    weathers = said or (
        _draw(seed, WEATHER, _WEATHERS, denied | ({"cloudy", "overcast"} if "cloudy" in denied else set())),
    )
    for word in weathers:
        conditions = with_weather(conditions, word)
    if "snow" in denied or "snow-covered" in denied:
        conditions = replace(conditions, snow_cover=0.0, snowfall=0.0)
    return conditions


def _lying_snow(biome: str, season: str, chance: float) -> float:
    if biome in ("desert", "jungle"):
        return 0.0
    if season == "winter":
        return 0.55 + 0.4 * chance
    return 0.35 + 0.4 * chance if biome == "tundra" and season != "summer" else 0.0


def one_season(name: str) -> tuple[float, float, float, float]:
    """The weights of one season alone."""
    spring, summer, autumn, winter = (float(season == name) for season in SEASONS)
    return spring, summer, autumn, winter


def with_weather(now: Conditions, word: str) -> Conditions:
    """Add a kind of weather, one of ``VOCABULARY["weather"]``, to conditions that may have some already."""
    match word:
        case "clear":
            return replace(now, cloud=min(now.cloud, 0.1))
        case "cloudy":
            return replace(now, cloud=max(now.cloud, 0.55))
        case "overcast":
            return replace(now, cloud=0.95)
        case "fog":
            return replace(now, fog=0.7, cloud=max(now.cloud, 0.45))
        case "rain":
            return replace(now, rain=0.7, cloud=max(now.cloud, 0.85), wetness=0.8, fog=max(now.fog, 0.12))
        case "storm":
            return replace(
                now, storm=0.9, rain=max(now.rain, 0.85) if not now.snowfall else now.rain, cloud=1.0, wetness=0.9
            )
        case "snow":
            lying, air = max(now.snow_cover, 0.8), max(now.fog, 0.12)
            return replace(now, snowfall=0.7, cloud=max(now.cloud, 0.75), snow_cover=lying, fog=air)
        case "snow-covered":
            return replace(now, snow_cover=1.0)
        case "rainbow":
            return replace(now, rainbow=1.0)
    raise AssertionError(f"no such weather: {word}")
