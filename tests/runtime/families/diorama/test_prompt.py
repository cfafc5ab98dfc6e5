"""What a prompt is understood to say."""

import numpy as np
import pytest
from keepworld_runtime.families.diorama.prompt import imagine, understand
from keepworld_runtime.families.diorama.vocabulary import VOCABULARY

SAID = [
    # text, heading, word
    ("a misty morning", "weather", "fog"),
    ("A MISTY morning!!!", "time of day", "morning"),
    ("golden hour over the hills", "time of day", "sunset"),
    ("sunset", "time of day", "sunset"),
    ("standing stones", "landmark", "stones"),
    ("an old mill", "landmark", "windmill"),
    ("the wizard's tower", "landmark", "tower"),
    ("snow-covered pines", "weather", "snow-covered"),
    ("snow-covered pines", "biome", "forest"),
    ("beaches", "biome", "coast"),
    ("two churches", "landmark", "abbey"),
    ("a rain forest", "biome", "jungle"),
    ("houses by a stream", "settlement", "hamlet"),
    ("a house by a stream", "settlement", "cottage"),
    ("houses by a stream", "water", "river"),
    ("black and white", "palette", "mono"),
    ("treeless tundra", "density", "sparse"),
    ("deep forest in the fall", "season", "autumn"),
    ("an oasis", "biome", "desert"),
    ("an oasis", "water", "pond"),
    ("ＭＩＳＴＹ ｆｏｒｅｓｔ", "biome", "forest"),  # full-width letters
    ("a moonlit castle", "time of day", "night"),
    ("a castle on a hill in the forest", "biome", "forest"),
    ("rolling hills", "biome", "meadow"),
    ("a sandy beach", "biome", "coast"),
    ("a dark forest", "density", "dense"),
]


@pytest.mark.parametrize(("text", "heading", "word"), SAID)
def test_other_ways_of_saying_it_are_understood(text, heading, word):
    assert word in understand(text).said[heading]


def test_every_word_of_the_vocabulary_is_understood_as_itself():
    for heading, words in VOCABULARY.items():
        for word in words:
            assert understand(f"a {word}.").said == {heading: (word,)}


def test_the_reading_shows_what_counted_and_what_did_not():
    reading = understand("A mossy ruined abbey with misty light, in the morning").reading
    assert reading.used == ("landmark: abbey (ruined abbey)", "weather: fog (misty)", "time of day: morning")
    assert reading.ignored == ("mossy", "light")


def test_a_word_that_an_earlier_one_overrules_is_among_the_ignored():
    reading = understand("a desert and a jungle").reading
    assert reading.used == ("biome: desert",)
    assert reading.ignored == ("jungle",)


def test_an_abbey_in_morning_fog():
    for seed in range(8):
        spec, opening = imagine("mossy ruined abbey, morning fog", seed)
        assert spec.landmark == "abbey"
        assert opening.fog > 0.5
        assert 7 < opening.hour < 10.5


@pytest.mark.parametrize(
    "text", ["no houses", "without any tall houses", "a meadow, no houses or trees", "not a single house"]
)
def test_what_is_denied_is_not_there(text):
    assert {imagine(text, seed)[0].settlement for seed in range(30)} == {"none"}


def test_a_denial_goes_no_further_than_it_says():
    said = understand("no houses, a castle by a lake").said
    assert said["landmark"] == ("castle",) and said["water"] == ("lake",)
    assert imagine("no houses or trees", 1)[0].density == "sparse"
    assert "forest" not in {imagine("not a forest", seed)[0].biome for seed in range(40)}


def test_a_coastal_forest_is_a_forest_by_the_sea():
    for text in ("a coastal forest", "a forest on the coast"):
        spec, _ = imagine(text, 4)
        assert (spec.biome, spec.water) == ("forest", "sea")


def test_the_seed_decides_what_words_leave_open_and_nothing_else():
    specs = [imagine("a forest", seed)[0] for seed in range(60)]
    assert {spec.biome for spec in specs} == {"forest"}
    assert len({(spec.settlement, spec.landmark, spec.water) for spec in specs}) > 10


def test_fixing_one_thing_leaves_the_others_as_the_seed_had_them():
    for seed in range(20):
        free, _ = imagine("a meadow", seed)
        fixed, _ = imagine("a meadow with a castle", seed)
        assert (fixed.settlement, fixed.water, fixed.palette, fixed.density) == (
            free.settlement,
            free.water,
            free.palette,
            free.density,
        )


def test_what_the_seed_adds_suits_the_biome():
    assert {imagine("desert", seed)[0].water for seed in range(60)} <= {"none", "pond"}
    assert {imagine("coast", seed)[0].water for seed in range(20)} == {"sea"}
    tundra = [imagine("tundra", seed)[1] for seed in range(20)]
    assert all(opening.snow_cover > 0.2 for opening in tundra)


HOSTILE = [
    "", " ", "\x00\x01", "\u202e\u200b\ufeff", "🔥🏰", "漢字 と 森", "'; DROP TABLE worlds; --", "a" * 5000, "no " * 3000, "no",
    "''’’", "forest " * 2000, "İstanbul ﬁeld ẞ", "%s %n {0} {{}} \\", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_makes_a_world(text):
    spec, opening = imagine(text, 5)
    assert spec.biome in VOCABULARY["biome"]
    assert 0 <= opening.hour < 24 and sum(opening.season) == pytest.approx(1)
    reading = understand(text).reading
    assert sum(map(len, reading.ignored)) <= 40 * 40


def test_every_choice_is_a_word_of_the_vocabulary_or_none():
    rng = np.random.default_rng(0)
    words = [word for words in VOCABULARY.values() for word in words]
    for seed in range(200):
        spec, opening = imagine(" ".join(rng.choice(words, 4)), seed)
        for heading in ("biome", "settlement", "density", "palette", "landmark", "water"):
            assert getattr(spec, heading) in (*VOCABULARY[heading], "none")
        for name in ("cloud", "fog", "rain", "snowfall", "storm", "rainbow", "snow_cover", "wetness"):
            assert 0 <= getattr(opening, name) <= 1
