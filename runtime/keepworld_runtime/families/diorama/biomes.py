"""How each biome looks: its colours, its plants, the shape of its land, what its houses are made of."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[float, float, float]


def srgb(code: str) -> Colour:
    """Linear RGB of a colour as painters' programs write it, "#8fae5a"."""
    values = [int(code[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return red, green, blue


@dataclass(frozen=True, kw_only=True, slots=True)
class Biome:
    """One row of `BIOMES`. Lengths in metres.

    Attributes:
        grass: two colours the open ground varies between.
        soil: worn paths. rock: steep slopes. shore: beside water.
        hills: height of the hills around. backdrop: height of what closes the horizon; jagged: how mountainous that is.
        snowline: above this the backdrop is white.
        trees: kind of `plants.KINDS` -> share. per_hectare: how many stand on 10 000 square metres.
        undergrowth: bushes, ferns and rocks on 10 000 square metres.
        houses: name of a `buildings.STYLES`.
    """

    grass: tuple[Colour, Colour]
    soil: Colour
    rock: Colour
    shore: Colour
    hills: float
    backdrop: float
    jagged: float
    snowline: float = 1e9
    trees: dict[str, float]
    per_hectare: float
    undergrowth: dict[str, float]
    houses: str


BIOMES: dict[str, Biome] = {
    "meadow": Biome(
        grass=(srgb("#668a45"), srgb("#8f9f55")),
        soil=srgb("#b99a6b"),
        rock=srgb("#8f8b80"),
        shore=srgb("#9a8d66"),
        hills=7.0,
        backdrop=38.0,
        jagged=0.25,
        trees={"broadleaf": 0.62, "birch": 0.2, "conifer": 0.08, "poplar": 0.1},
        per_hectare=46,
        undergrowth={"bush": 50, "rock": 22, "flower": 420, "tuft": 950},
        houses="timber",
    ),
    "forest": Biome(
        grass=(srgb("#5d7a3c"), srgb("#7c8a48")),
        soil=srgb("#8f7350"),
        rock=srgb("#7d7c75"),
        shore=srgb("#8d7f60"),
        hills=9.0,
        backdrop=60.0,
        jagged=0.4,
        trees={"conifer": 0.5, "broadleaf": 0.34, "birch": 0.16},
        per_hectare=190,
        undergrowth={"bush": 110, "rock": 34, "fern": 260, "tuft": 420},
        houses="log",
    ),
    "mountains": Biome(
        grass=(srgb("#78914f"), srgb("#9aa064")),
        soil=srgb("#a08d70"),
        rock=srgb("#686a73"),
        shore=srgb("#9b968a"),
        hills=16.0,
        backdrop=230.0,
        jagged=1.0,
        snowline=62.0,
        trees={"conifer": 0.9, "birch": 0.1},
        per_hectare=70,
        undergrowth={"bush": 30, "rock": 110, "flower": 160, "tuft": 600},
        houses="chalet",
    ),
    "desert": Biome(
        grass=(srgb("#d8a867"), srgb("#e3bd80")),
        soil=srgb("#c58e58"),
        rock=srgb("#b06a45"),
        shore=srgb("#caa566"),
        hills=6.0,
        backdrop=62.0,
        jagged=0.1,
        trees={"cactus": 0.62, "palm": 0.2, "deadwood": 0.18},
        per_hectare=26,
        undergrowth={"rock": 80, "scrub": 90, "tuft": 60},
        houses="adobe",
    ),
    "coast": Biome(
        grass=(srgb("#7c945a"), srgb("#a3a36c")),
        soil=srgb("#bda678"),
        rock=srgb("#8d877d"),
        shore=srgb("#e0cd9c"),
        hills=8.0,
        backdrop=30.0,
        jagged=0.3,
        trees={"pine": 0.55, "broadleaf": 0.25, "poplar": 0.2},
        per_hectare=30,
        undergrowth={"bush": 60, "rock": 60, "flower": 260, "tuft": 800},
        houses="whitewash",
    ),
    "tundra": Biome(
        grass=(srgb("#8c8a58"), srgb("#a98f5c")),
        soil=srgb("#8f8069"),
        rock=srgb("#80858a"),
        shore=srgb("#8d8b80"),
        hills=6.0,
        backdrop=95.0,
        jagged=0.7,
        snowline=42.0,
        trees={"conifer": 0.6, "deadwood": 0.15, "birch": 0.25},
        per_hectare=14,
        undergrowth={"rock": 120, "scrub": 150, "tuft": 300},
        houses="nordic",
    ),
    "jungle": Biome(
        grass=(srgb("#486d3a"), srgb("#668648")),
        soil=srgb("#9a7148"),
        rock=srgb("#6d7468"),
        shore=srgb("#a38d5f"),
        hills=11.0,
        backdrop=85.0,
        jagged=0.35,
        trees={"kapok": 0.46, "palm": 0.42, "broadleaf": 0.12},
        per_hectare=150,
        undergrowth={"bush": 170, "rock": 24, "fern": 330, "flower": 130},
        houses="stilt",
    ),
    "farmland": Biome(
        grass=(srgb("#7f9846"), srgb("#a8a852")),
        soil=srgb("#b0905f"),
        rock=srgb("#8f8b80"),
        shore=srgb("#a8966a"),
        hills=3.5,
        backdrop=26.0,
        jagged=0.1,
        trees={"broadleaf": 0.5, "poplar": 0.42, "birch": 0.08},
        per_hectare=20,
        undergrowth={"bush": 34, "rock": 8, "haybale": 16, "flower": 150, "tuft": 700},
        houses="timber",
    ),
}
