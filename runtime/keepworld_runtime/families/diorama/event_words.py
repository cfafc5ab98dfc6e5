"""The words of events: heading -> canonical subject -> ways of speaking of it, and the verbs that make things come or go."""

from __future__ import annotations

from collections.abc import Iterator

from keepworld_runtime.families.diorama.words import Phrase, phrasebook, plural

TIME, WEATHER, SEASON, SKY, THINGS, CREATURES, SPECTACLES = (
    "time of day", "weather", "season", "sky", "things", "creatures", "spectacles",
)  # fmt: skip

Subject = tuple[str, str]  # heading, canonical word
Meaning = Subject | str  # a subject, or what a verb does to it: one of the next three

GONE, COMES, PERHAPS_GONE = "gone", "comes", "perhaps gone"  # the last: gone, if no other verb says otherwise

SUBJECTS: dict[str, dict[str, str]] = {
    TIME: {
        "dawn": "sunrise, daybreak, sun rises, sun rising, sun comes up, day breaks, first light, rising sun, sun up",
        "morning": "good morning, morning comes, bright morning",
        "noon": "midday, high noon, daylight, day, daytime, broad daylight",
        "afternoon": "late afternoon",
        "sunset": "sun sets, sun set, sun setting, sun goes down, sundown, golden hour, evening, evening falls, setting sun",
        "dusk": "twilight, blue hour, nightfall, gets dark, getting dark, grows dark, darkness, light fades",
        "night": "night falls, midnight, nighttime, night time, moon rises, moonrise, moonlight, stars, starry sky, "
        "starry night, dark",
    },
    WEATHER: {
        "clear": "clear skies, clear sky, sunny, sunshine, sun comes out, blue sky, blue skies, skies clear, sky clears, "
        "weather clears, cloudless, good weather, nice weather, clears up",
        "clouds": "cloudy, cloud, overcast, grey sky, gray sky, dark clouds, clouds gather, clouds roll in",
        "fog": "mist, foggy, misty, haze",
        "rain": "raining, rainy, drizzle, shower, showers, downpour, rains, rainfall, starts to rain, begins to rain",
        "storm": "thunderstorm, thunder, lightning, stormy, storms, tempest, gale, lightning storm, thunderstorms",
        "thaw": "snow melts, melt the snow, snow thaws, thaws, melting snow, snow is melting",
        "snow": "snowing, snowfall, snowy, blizzard, snows, snow falls, snowflakes, snowstorm, starts to snow, begins to snow",
    },
    SEASON: {
        "spring": "springtime, spring comes, everything blossoms, trees blossom, flowers bloom, blossoms",
        "summer": "summertime",
        "autumn": "leaves fall, leaves turn, autumn comes, leaves turn red, leaves turn gold, autumn leaves, "
        "leaves are falling, falling leaves",
        "winter": "wintertime, winter comes",
    },
    SKY: {"rainbow": ""},
    THINGS: {
        "balloon": "hot air balloon, air balloon",
        "campfire": "fire, bonfire, camp fire",
        "boat": "rowing boat, rowboat, row boat, canoe, ship, sailing boat, dinghy",
        "lantern": "lamp, lights, candle, torch, lamppost, street light, street lamp, streetlight, paper lantern",
        "tree": "oak, pine, fir, birch, pine tree, oak tree, fir tree, christmas tree",
    },
    CREATURES: {
        "deer": "stag, doe, fawn, elk, reindeer, moose",
        "fox": "red fox",
        "birds": "bird, flock of birds, bird flock, flock, geese, swallow, gull, seagull, crow, flock of geese",
        "walker": "hiker, wanderer, person, man, woman, someone, stranger, traveller, traveler, villager, shepherd, figure, "
        "people",
    },
    SPECTACLES: {
        "fireworks": "firework, firework display, rockets, pyrotechnics",
        "explosion": "explode, explodes, blast, bang, detonation, fireball, boom, bomb, blows up",
    },
}

EXAMPLES: dict[str, tuple[str, ...]] = {
    TIME: ("dawn", "the morning comes", "noon", "late afternoon", "sunset", "dusk", "night falls"),
    WEATHER: (
        "clear skies", "clouds gather", "fog rolls in", "it starts to rain", "a thunderstorm rolls in", "snow falls",
        "the snow melts", "the rain stops",
    ),
    SEASON: ("spring", "summer", "autumn", "winter"),
    SKY: ("a rainbow appears",),
    THINGS: (
        "a hot-air balloon rises over the hills", "light a campfire", "a boat drifts by", "light the lanterns", "plant a tree",
        "put out the campfire", "remove the balloon",
    ),
    CREATURES: ("a deer appears", "a fox runs by", "a flock of birds", "a walker comes along the path"),
    SPECTACLES: ("fireworks", "an explosion"),
}  # fmt: skip

_VERBS = {
    GONE: """remove, removes, delete, put out, puts out, extinguish, extinguished, extinguishes, disappear, disappears, vanish,
    vanishes, goes away, go away, leave, leaves, gone, stop, stops, end, ends, fades, fade, fades away, clears, lifts, lift,
    dies down, die down, burns out, flies away, fly away, runs away, walks away, walks off, passes, move on, moves on, no more,
    no, without, goes out, go out, cut down, blow out, blown out, switch off, turn off, is over, dies, take away, drifts away,
    sinks, ceases, eases, subsides, let up, lets up, clear the, clear away""",
    COMES: """appear, appears, rise, rises, lit, light, come, comes, comes along, arrive, arrives, roll in, rolls in, fall, falls,
    falling, start, starts, begin, begins, drift, drifts, drifts by, floats, flies, gather, gathers, grow, grows, add, adds,
    put up, place, plant, plants, show, make, let, walks, walks by, runs, runs by, passes by, goes by, wanders, gets, becomes,
    turns, burns, shines, glows, breaks, sets, a, an, another, new""",
    PERHAPS_GONE: "out, off, away, down",
}


def _ways(heading: str, subject: str, others: str) -> list[str]:
    """All phrases for a subject, plurals included where it can be counted."""
    phrases = [phrase.strip() for phrase in (subject, *others.split(",")) if phrase.strip()]
    return phrases + ([plural(phrase) for phrase in phrases] if heading in (SKY, THINGS, CREATURES, SPECTACLES) else [])


def _phrases() -> Iterator[tuple[str, Meaning]]:
    """Subjects and verbs in one book, for the longest phrase to win: "leaves fall" is autumn, "light the fire" is not a lamp."""
    for heading, subjects in SUBJECTS.items():
        for subject, others in subjects.items():
            yield from ((phrase, (heading, subject)) for phrase in _ways(heading, subject, others))
    for meaning, phrases in _VERBS.items():
        yield from ((phrase.strip(), meaning) for phrase in phrases.split(","))


PHRASES: dict[Phrase, Meaning] = phrasebook(_phrases())


def known() -> str:
    """All that can be asked for, grouped, for people who asked for something else."""
    return "; ".join(f"{heading}: {', '.join(examples)}" for heading, examples in EXAMPLES.items())
