"""What is to be done with a source before it is exported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from keepworld.camera import PoseSource

from keepworld_exporters.ingest.sources import Asked
from keepworld_exporters.stages.quality import LEVELS
from keepworld_exporters.stages.scale import Mark

EXACT = (PoseSource.RENDERED, PoseSource.REFINED)  # cameras that nothing can be learned of from the pictures


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What to do with a source before it is exported.

    Attributes:
        asked: what the user says of a source that is no capture.
        refine: whether cameras are moved to fit their pictures: "auto" where they are not exact and do not fit yet.
        quality: which frames are left out for not showing what the others show: one of `quality.LEVELS`.
        distance: two places and how many metres they are apart, or None.
        height: of the cameras above the ground, metres, or None.
        upright: turn the world so that up is up, its origin on the ground below the first camera.
    """

    asked: Asked = field(default_factory=Asked)
    refine: Literal["auto", "on", "off"] = "auto"
    quality: str = "normal"
    distance: tuple[Mark, Mark, float] | None = None
    height: float | None = None
    upright: bool = False

    def __post_init__(self) -> None:
        if self.quality not in LEVELS:
            raise ValueError(f"quality must be one of {', '.join(LEVELS)}, got {self.quality!r}")
        if self.distance is not None and self.height is not None:
            raise ValueError("the scale is set by a known distance or by the camera's height, not by both")

    def tries(self, poses: PoseSource) -> bool:
        """Whether cameras that come from there are held against their pictures."""
        if poses in EXACT:
            return self.refine == "on"
        return self.refine != "off" or self.quality != "off"

    def needs_points(self, *, has_depth: bool) -> bool:
        """Whether places are needed that only features can give."""
        at_pixel = self.distance is not None and any(mark.pixel for mark in self.distance[:2])
        return (self.height is not None or self.upright or at_pixel) and not has_depth
