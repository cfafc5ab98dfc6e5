"""What the things of an instant add up to."""

from __future__ import annotations

from dataclasses import dataclass, field

from keepworld_runtime.families.diorama.spec import Part
from keepworld_runtime.families.diorama.streaks import Streaks

Light = tuple[float, float, float, float, float, float, float]  # position, linear RGB power, reach


@dataclass(slots=True)
class Shown:
    """What there is to draw at an instant beside the scene: parts that stand still, parts that do not, lights, sparks."""

    lasting: list[Part] = field(default_factory=list)
    moving: list[Part] = field(default_factory=list)
    lights: list[Light] = field(default_factory=list)
    sparks: list[Streaks] = field(default_factory=list)
