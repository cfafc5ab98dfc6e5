"""What every latent family says of itself, and how its words are read. Free of torch: the server holds it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from keepworld.camera import PoseSource, Units
from numpy.typing import NDArray

from keepworld_runtime.families.family import Capabilities, FamilyOptions, Model, Place, Reading
from keepworld_runtime.families.latent.parts import Located, MissingFilesError, ModelEntry, locate
from keepworld_runtime.families.latent.walk import FPS, FRAMES_A_LATENT, MODES, RATES

FOCAL = (969.6969696969696 / 1920, 969.6969696969696 / 1080)
"""Focal lengths, as fractions of width and height, of the camera that both models were released with."""

LICENCE = (
    "Tencent HY-WorldPlay Community License: by its own text it does not apply in the European Union, the United Kingdom "
    "and South Korea"
)

_EVENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"in any words": ("it begins to snow", "a hot-air balloon rises", "night falls")}
)
_MAX_PIXELS = 1280 * 720
_MIN_SIDE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """What differs between latent families.

    Attributes:
        name, version, summary: of the family.
        chunk_size: latents that are made together.
        sizes: the offered (width, height), the default first.
        size_multiple: pixels that one token stands for, a side.
        weights: which ones it draws with, as a hash.
    """

    name: str
    version: str
    summary: str
    chunk_size: int
    sizes: tuple[tuple[int, int], ...]
    size_multiple: int
    weights: str = ""

    def capabilities(self) -> Capabilities:
        """The same in the words of the seam."""
        return Capabilities(
            name=self.name,
            version=self.version,
            summary=self.summary,
            licence=LICENCE,
            units=Units.MODEL,
            pose_source=PoseSource.COMMANDED,
            modes=MODES,
            accepts_paths=True,
            rates=RATES,
            sizes=self.sizes,
            min_side=_MIN_SIDE,
            max_pixels=_MAX_PIXELS,
            size_multiple=self.size_multiple,
            fov_x=2 * math.atan(0.5 / FOCAL[0]),
            fps=FPS,
            first_chunk_frames=1 + FRAMES_A_LATENT * (self.chunk_size - 1),
            chunk_frames=FRAMES_A_LATENT * self.chunk_size,
            group_frames=FRAMES_A_LATENT,
            has_depth=False,
            takes_image=True,
            takes_clip=True,
            min_clip_frames=1 + FRAMES_A_LATENT * (self.chunk_size - 1),
            vocabulary=MappingProxyType({}),
            events=_EVENTS,
            weights=self.weights,
        )


class LatentFamily:
    """A `keepworld_runtime.families.family.Family` that reads any words.

    Args:
        outline: what it says of itself.
        load: loads it, in a worker.
    """

    def __init__(self, outline: Outline, load: Callable[[Place], Model]) -> None:
        self.capabilities = outline.capabilities()
        self._load = load

    def read_prompt(self, text: str) -> Reading:
        """The whole text counts."""
        return Reading(used=(text,) if text.strip() else (), ignored=())

    def read_event(self, text: str) -> Reading:
        """The whole text counts.

        Raises:
            ValueError: it says nothing.
        """
        if not text.strip():
            raise ValueError("an event needs words, as in 'it begins to snow'")
        return Reading(used=(text,), ignored=())

    def load(self, place: Place) -> Model:
        """Load the model; see `Family`."""
        return self._load(place)


def default_intrinsics() -> NDArray[np.float64]:
    """K [3, 3], normalised, of every frame."""
    return np.array([[FOCAL[0], 0.0, 0.5], [0.0, FOCAL[1], 0.5], [0.0, 0.0, 1.0]])


def located_network(entry: ModelEntry, options: FamilyOptions) -> tuple[Located, str]:
    """The network's files in the checkpoint that the options name, and the name of its variant.

    Raises:
        ValueError: there is no checkpoint, no such variant, or files are missing.
    """
    if options.checkpoint is None:
        raise ValueError(
            f"{entry.name} needs its weights: give their folder with --checkpoint; keepworld models list says what it needs"
        )
    if not options.checkpoint.is_dir():
        raise ValueError(f"checkpoint must be a folder, got {options.checkpoint}")
    variant = options.variant or next(iter(entry.networks))
    try:
        return locate(options.checkpoint, entry, variant)["network"], variant
    except MissingFilesError as error:
        raise ValueError(str(error)) from error
