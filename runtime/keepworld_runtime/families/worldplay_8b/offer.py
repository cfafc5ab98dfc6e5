"""WorldPlay-8B's row in the table: what it can do, by the files it is given. Free of torch."""

from __future__ import annotations

from functools import partial

from keepworld_runtime.families.family import Family, FamilyOptions, Model, Place
from keepworld_runtime.families.latent.catalog import WORLDPLAY_8B
from keepworld_runtime.families.latent.family import LatentFamily, Outline, located_network
from keepworld_runtime.families.latent.manifest import hash_of_all
from keepworld_runtime.families.worldplay_8b.config import MODEL, VARIANTS, released_sizes
from keepworld_runtime.kernels import names
from keepworld_runtime.memory import policies

_SIZES = ((832, 480), (480, 832), (640, 640), (704, 544), (544, 704))
_SMALL_SIZES = ((128, 96), *_SIZES)  # of a reduced network, which is for trying things out


def make_family(options: FamilyOptions) -> Family:
    """Make the family for the checkpoint that the options name.

    Raises:
        ValueError: there is no checkpoint, no such variant, no such policy of memory or kernel, or files are missing or broken.
    """
    policies.check(options.memory)
    names.check(options.kernels)
    located, variant = located_network(WORLDPLAY_8B, options)
    config, rollout = released_sizes(located.extras), VARIANTS[variant].rollout
    outline = Outline(
        name="worldplay-8b",
        version=f"1.5-{variant}",
        summary=(
            "WorldPlay (HY-World 1.5) on HunyuanVideo-1.5: a learned world from any words or a picture, with actions, "
            f"events and memory; weights: {VARIANTS[variant].folder}."
        ),
        chunk_size=rollout.chunk_size,
        sizes=_SIZES if config == MODEL else _SMALL_SIZES,
        size_multiple=16,
        weights=hash_of_all(options.checkpoint),
    )
    return LatentFamily(outline, partial(_load, outline, options))


def _load(outline: Outline, options: FamilyOptions, place: Place) -> Model:
    from keepworld_runtime.families.worldplay_8b.loading import load  # torch: only what draws imports it

    return load(outline.capabilities(), options, place)
