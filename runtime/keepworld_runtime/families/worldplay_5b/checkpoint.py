"""WorldPlay-5B out of a checkpoint folder: its network, VAE and text encoder, on their devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from keepworld_runtime.families.latent.catalog import WORLDPLAY_5B
from keepworld_runtime.families.latent.convert import converted
from keepworld_runtime.families.latent.offload import Lodger, StreamedBlocks, keep_beside
from keepworld_runtime.families.latent.parts import Located, locate
from keepworld_runtime.families.latent.pretrained import tokenizer_of
from keepworld_runtime.families.latent.sizes import read_config
from keepworld_runtime.families.latent.weights import StoredModule, WeightFiles, check_weights
from keepworld_runtime.families.worldplay_5b import encoders
from keepworld_runtime.families.worldplay_5b.config import ROLLOUT, ModelConfig, RolloutConfig, released_sizes
from keepworld_runtime.families.worldplay_5b.encoders import Encoders
from keepworld_runtime.families.worldplay_5b.model import WorldPlay5B
from keepworld_runtime.layers.wan_vae import WanVAE, empty_wan_vae, load_wan_vae

_WHAT = "WorldPlay-5B"
_WRAPPERS = ("model.", "_fsdp_wrapped_module.")  # of the released names; the order matters


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A checkpoint, ready to dream.

    Attributes:
        model: the network.
        vae: between latents and frames.
        encoders: of texts.
        config: the network's sizes.
        rollout: how it is walked.
    """

    model: WorldPlay5B
    vae: WanVAE
    encoders: Encoders
    config: ModelConfig
    rollout: RolloutConfig


def load(
    directory: Path,
    variant: str | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    offload: str = "none",
) -> Loaded:
    """Load a checkpoint.

    Args:
        directory: holds HY-WorldPlay's Wan files and Wan2.2-TI2V-5B-Diffusers, in any of the layouts in the catalogue.
        variant: "distilled" or None, there is one.
        device: where it shall run.
        dtype: of everything, as published.
        offload: "none", "encoders" or "blocks", see `FamilyOptions`; on a CPU there is nowhere to go from, and it changes
            nothing.

    Raises:
        MissingFilesError: files are not there.
        WeightsMismatchError: weights are of another network.
        ValueError: there is no such variant, or a file is not what its name says.
    """
    device = torch.device(device)
    stored = _stored(directory, variant)
    for part in stored.all():
        part.check()
    has_elsewhere = device.type != "cpu"
    model = stored.network.load("cpu" if offload == "blocks" and has_elsewhere else device, dtype)
    if offload == "blocks" and has_elsewhere:
        model.blocks = StreamedBlocks(model.blocks, device)
        keep_beside(model, device)
    stays = offload == "none" or not has_elsewhere
    language = stored.language.load(device if stays else "cpu", dtype)
    return Loaded(
        model=model,
        vae=load_wan_vae(stored.vae.weights, stored.vae_config, device=device, dtype=dtype),
        encoders=Encoders(
            Lodger(language, device, stays=stays),
            tokenizer_of(stored.found["language tokenizer"].folder),
            model.config.text_tokens,
        ),
        config=model.config,
        rollout=ROLLOUT,
    )


def check(directory: Path, variant: str | None = None) -> None:
    """Say whether a checkpoint is whole and of this model, without reading its numbers; a pickle is converted on the way.

    Raises:
        MissingFilesError, WeightsMismatchError, ValueError: as of `load`.
    """
    for part in _stored(directory, variant).all():
        part.check()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stored:
    """The parts of a checkpoint: sizes known, weights still in their files."""

    found: Mapping[str, Located]
    network: StoredModule[WorldPlay5B]
    vae: StoredModule[nn.Module]
    vae_config: Mapping[str, object]
    language: StoredModule[nn.Module]

    def all(self) -> tuple[StoredModule[Any], ...]:
        return (self.network, self.vae, self.language)


def _stored(directory: Path, variant: str | None) -> _Stored:
    found = locate(directory, WORLDPLAY_5B, variant)
    vae_config = read_config(found["vae"].folder / "config.json")
    vae: Any = empty_wan_vae(vae_config)  # Any: diffusers' modules are not typed as torch's
    return _Stored(
        found=found,
        network=_network(found["network"]),
        vae=StoredModule(what="Wan2.2's VAE", module=vae, weights=WeightFiles(found["vae"].weights)),
        vae_config=vae_config,
        language=StoredModule(
            what="the text encoder",
            module=encoders.empty_language_model(found["language"].folder),
            weights=WeightFiles(found["language"].weights),
        ),
    )


def _network(located: Located) -> StoredModule[WorldPlay5B]:
    """The network, its pickle converted if that has not been done before."""
    with torch.device("meta"):
        module = WorldPlay5B(released_sizes(located.extras))

    def pick(content: Mapping[str, object]) -> Mapping[str, object]:
        weights = content.get("generator")
        if not isinstance(weights, Mapping):
            raise ValueError(f"{located.files[0]} must have 'generator', got {', '.join(map(str, content))}")
        named = {released_name(name): tensor for name, tensor in weights.items()}
        shapes = {name: tuple(tensor.shape) for name, tensor in named.items() if isinstance(tensor, torch.Tensor)}
        check_weights(_WHAT, module, shapes, located.files)
        return named

    weights = located.weights
    if located.files[0].suffix == ".pt":
        weights = (converted(located.files[0], pick),)
    return StoredModule(what=_WHAT, module=module, weights=WeightFiles(weights))


def released_name(name: str) -> str:
    """A weight's name without those of the trainer's wrappers, wherever they stand in it."""
    for wrapper in _WRAPPERS:
        if name.startswith(wrapper):
            name = name.replace(wrapper, "")
    return name
