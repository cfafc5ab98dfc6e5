"""The words a diorama's prompt is made of: heading -> canonical word -> other ways of saying it."""

from __future__ import annotations

from collections.abc import Iterator

from keepworld_runtime.families.diorama.words import Phrase, phrasebook, plural

Fact = tuple[str, str]  # heading, canonical word

BIOME, SEASON, WEATHER, TIME = "biome", "season", "weather", "time of day"
SETTLEMENT, DENSITY, PALETTE, LANDMARK, WATER = "settlement", "density", "palette", "landmark", "water"

SYNONYMS: dict[str, dict[str, str]] = {
    BIOME: {
        "meadow": "grassland, prairie, grass, grassy, field, hill, hilly, hillside, heath, moor, countryside, pasture, steppe, "
        "savanna, flowers, wildflowers, wild flowers",
        "forest": "woods, wood, woodland, grove, pine forest, pines, birch forest, redwood, fairy forest, taiga, wooded",
        "mountains": "mountain, mountainous, alps, alpine, peak, highland, valley, cliff, gorge, ridge, fjord",
        "desert": "dune, sand, sandy, canyon, mesa, badlands, arid, wasteland, sahara",
        "coast": "coastal, beach, sandy beach, sandy shore, sandy island, shore, seaside, island, bay, cove, shoreline, seashore",
        "tundra": "arctic, polar, glacier, glacial, ice field, snowfield, frozen, icy, antarctic, siberia",
        "jungle": "rainforest, tropical, tropics, palm tree, mangrove",
        "farmland": "farm, fields, wheat field, crop, orchard, vineyard, rural, lavender field, sunflower field",
    },
    SEASON: {
        "spring": "springtime, blossom, blossoming, flowering, april",
        "summer": "summertime, summery, july, august, midsummer",
        "autumn": "fall, autumnal, october, november, fall colours, fall colors, golden leaves, red leaves, autumn leaves",
        "winter": "wintertime, wintry, december, january, christmas, midwinter",
    },
    WEATHER: {
        "clear": "sunny, sunshine, cloudless, bright, blue sky, clear sky, clear skies, fair weather, sunlit, sun drenched",
        "cloudy": "clouds, cloud, partly cloudy, scattered clouds",
        "overcast": "grey sky, gray sky, gloomy, dull, leaden sky, heavy clouds",
        "fog": "foggy, mist, misty, haze, hazy, mists, fogbound, smoky",
        "rain": "rainy, raining, drizzle, drizzling, shower, showers, wet, downpour, monsoon",
        "storm": "stormy, thunderstorm, thunder, lightning, tempest, windy, gale, storms",
        "snow": "snowing, snowfall, blizzard, falling snow, flurries",
        "snow-covered": "snowy, snow covered, snow capped, snowcapped, under snow, deep snow, fresh snow, snowbound",
        "rainbow": "rainbows",
    },
    TIME: {
        "dawn": "sunrise, daybreak, first light, early morning, sun rising, rising sun",
        "morning": "mid morning, breakfast time",
        "noon": "midday, high noon, daytime, day, daylight",
        "afternoon": "late afternoon, teatime",
        "sunset": "golden hour, sundown, setting sun, sun setting, evening, evening light, golden light",
        "dusk": "twilight, blue hour, nightfall, gloaming",
        "night": "midnight, nighttime, night time, moonlit, moonlight, starry, stars, dark, nocturnal, starlit, full moon",
    },
    SETTLEMENT: {
        "cottage": "house, cabin, hut, cottage, farmhouse, home, homestead, barn, shack, lodge",
        "hamlet": "houses, cottages, cabins, huts, a few houses, homes, hobbiton, small settlement, barns",
        "village": "town, settlement, street, city, market, marketplace, rooftops",
    },
    DENSITY: {
        "sparse": "bare, barren, treeless, open, empty, few trees, lonely, lone, minimal, desolate, vast",
        "normal": "tree, trees, some trees, bushes, shrubs",
        "dense": "thick, lush, overgrown, many trees, deep forest, deep woods, crowded, teeming, verdant, tangled",
    },
    PALETTE: {
        "natural": "realistic, earthy, lifelike",
        "pastel": "soft colours, soft colors, dreamy, candy, delicate, gentle colours, gentle colors, watercolour, watercolor",
        "vivid": "colourful, colorful, bright colours, bright colors, "
        "saturated, vibrant, bold, magical, enchanted, fairytale, fairy tale, psychedelic",
        "muted": "faded, desaturated, washed out, subdued, sombre, somber, melancholy, moody, eerie, spooky, haunted",
        "mono": "monochrome, black and white, greyscale, grayscale, noir, sepia, black white",
    },
    LANDMARK: {
        "windmill": "mill, old mill, wind mill",
        "tower": "watchtower, wizard tower, belfry, spire, turret",
        "lighthouse": "light house, beacon",
        "abbey": "ruined abbey, ruin, church, chapel, cathedral, monastery, temple, priory, cloister, ruined church",
        "bridge": "footbridge, stone bridge, wooden bridge",
        "stones": "standing stones, standing stone, stone circle, stonehenge, megalith, menhir, monolith, dolmen",
        "castle": "fortress, fort, citadel, palace, stronghold, ruined castle",
    },
    WATER: {
        "pond": "pool, puddle, small lake, waterhole, watering hole, swamp, marsh, bog",
        "lake": "lakeside, loch, lagoon, tarn, reservoir",
        "river": "stream, brook, creek, riverside, riverbank, canal, waterfall",
        "sea": "ocean, seas, waves, surf, seascape, saltwater",
    },
}

# Phrases that say several things at once.
COMPOUNDS: dict[str, tuple[Fact, ...]] = {
    "oasis": ((BIOME, "desert"), (WATER, "pond")),
    "harbour": ((SETTLEMENT, "village"), (WATER, "sea")),
    "harbor": ((SETTLEMENT, "village"), (WATER, "sea")),
    "fishing village": ((SETTLEMENT, "village"), (WATER, "sea")),
    "port": ((SETTLEMENT, "village"), (WATER, "sea")),
    "log cabin": ((BIOME, "forest"), (SETTLEMENT, "cottage")),
    "winter wonderland": ((SEASON, "winter"), (WEATHER, "snow-covered")),
    "cherry blossom": ((SEASON, "spring"), (PALETTE, "pastel")),
    "snowstorm": ((WEATHER, "snow"), (WEATHER, "storm")),
    "rainstorm": ((WEATHER, "rain"), (WEATHER, "storm")),
    "moonlit night": ((TIME, "night"),),
    "rain forest": ((BIOME, "jungle"),),
    "dark forest": ((BIOME, "forest"), (DENSITY, "dense")),
    "dark woods": ((BIOME, "forest"), (DENSITY, "dense")),
}

# Words for the lie of the land: any plainer word for a biome overrules them, wherever it stands.
MILD = {
    "hill", "hills", "hilly", "hillside", "field", "valley", "valleys", "peak", "peaks", "ridge", "cliff", "cliffs",
    "countryside", "sand", "sandy", "flowers", "wildflowers", "wild flowers",
}  # fmt: skip

VOCABULARY: dict[str, tuple[str, ...]] = {heading: tuple(words) for heading, words in SYNONYMS.items()}

_COUNTABLE = {
    BIOME,
    SETTLEMENT,
    LANDMARK,
    WATER,
}  # headings whose words are nouns; "houses" still beats the plural of "house"


def _phrases() -> Iterator[tuple[str, tuple[Fact, ...]]]:
    """Every way of saying every fact, the exact phrases before the derived plurals."""
    yield from COMPOUNDS.items()
    said = [
        (phrase.strip(), (heading, word))
        for heading, words in SYNONYMS.items()
        for word, others in words.items()
        for phrase in (word, *others.split(","))
    ]
    yield from ((phrase, (fact,)) for phrase, fact in said)
    yield from ((plural(phrase), (fact,)) for phrase, fact in said if fact[0] in _COUNTABLE)
    yield from ((plural(phrase), facts) for phrase, facts in COMPOUNDS.items())


PHRASES: dict[Phrase, tuple[Fact, ...]] = phrasebook(_phrases())
