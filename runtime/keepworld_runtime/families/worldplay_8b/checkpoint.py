"""WorldPlay-8B out of a checkpoint folder: its network, VAE and encoders, on their devices."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from keepworld_runtime.families.latent.catalog import WORLDPLAY_8B
from keepworld_runtime.families.latent.convert import converted
from keepworld_runtime.families.latent.offload import Lodger, StreamedBlocks, keep_beside
from keepworld_runtime.families.latent.parts import Located, locate
from keepworld_runtime.families.latent.pretrained import tokenizer_of
from keepworld_runtime.families.latent.sizes import read_config
from keepworld_runtime.families.latent.weights import StoredModule, WeightFiles, check_weights
from keepworld_runtime.families.worldplay_8b import encoders
from keepworld_runtime.families.worldplay_8b.config import VARIANTS, ModelConfig, RolloutConfig, released_sizes
from keepworld_runtime.families.worldplay_8b.encoders import (
    Encoders,
    GlyphEncoder,
    LanguageEncoder,
    Preprocessing,
    VisionEncoder,
)
from keepworld_runtime.families.worldplay_8b.model import WorldPlay8B
from keepworld_runtime.layers.hunyuan_vae import HunyuanVAE, diffusers_name, empty_hunyuan_vae, load_hunyuan_vae

_GLYPH_PREFIX = "module.text_tower."


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A checkpoint, ready to dream.

    Attributes:
        model: the network.
        vae: between latents and frames.
        encoders: of texts and pictures.
        config: the network's sizes.
        rollout: how this variant is walked.
    """

    model: WorldPlay8B
    vae: HunyuanVAE
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
        directory: holds HY-WorldPlay's and HunyuanVideo-1.5's files, in any of the layouts in the catalogue.
        variant: of `VARIANTS`; None: the default.
        device: where it shall run.
        dtype: of network and VAE. On a GPU the language and image encoders run in float16, as published, unless this is
            float32; the glyph encoder always runs in float32.
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
        model.double_blocks = StreamedBlocks(model.double_blocks, device)
        keep_beside(model, device)
    return Loaded(
        model=model,
        vae=load_hunyuan_vae(stored.vae.weights, stored.vae_config, device=device, dtype=dtype),
        encoders=_encoders(stored, device, dtype, stays=offload == "none" or not has_elsewhere),
        config=model.config,
        rollout=VARIANTS[variant or next(iter(VARIANTS))].rollout,
    )


def check(directory: Path, variant: str | None = None) -> None:
    """Say whether a checkpoint is whole and of this model, without reading its numbers; pickles are converted on the way.

    Raises:
        MissingFilesError, WeightsMismatchError, ValueError: as of `load`.
    """
    for part in _stored(directory, variant).all():
        part.check()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stored:
    """The parts of a checkpoint: sizes known, weights still in their files."""

    found: Mapping[str, Located]
    network: StoredModule[WorldPlay8B]
    vae: StoredModule[nn.Module]
    vae_config: Mapping[str, object]
    language: StoredModule[nn.Module]
    glyph: StoredModule[nn.Module]
    glyph_tokenizer: Any
    vision: StoredModule[nn.Module]

    def all(self) -> tuple[StoredModule[Any], ...]:
        return (self.network, self.vae, self.language, self.glyph, self.vision)


def _stored(directory: Path, variant: str | None) -> _Stored:
    found = locate(directory, WORLDPLAY_8B, variant)
    vae_config = read_config(found["vae"].folder / "config.json")
    vae: Any = empty_hunyuan_vae(vae_config)  # Any: diffusers' modules are not typed as torch's
    lists = found["glyph"].files[1:] if _is_released(found["glyph"]) else (None, None)
    tokenizer = encoders.glyph_tokenizer(found["glyph tokenizer"].folder, *lists)
    return _Stored(
        found=found,
        network=_network(found["network"]),
        vae=StoredModule(
            what="HunyuanVideo-1.5's VAE",
            module=vae,
            weights=WeightFiles(found["vae"].weights, diffusers_name),
        ),
        vae_config=vae_config,
        language=_language(found["language"]),
        glyph=_glyph(found["glyph"], found["glyph tokenizer"], num_tokens=len(tokenizer)),
        glyph_tokenizer=tokenizer,
        vision=StoredModule(
            what="the image encoder",
            module=encoders.empty_vision_model(found["vision"].folder),
            weights=WeightFiles(found["vision"].weights, encoders.vision_name),
        ),
    )


def _network(located: Located) -> StoredModule[WorldPlay8B]:
    with torch.device("meta"):
        module = WorldPlay8B(released_sizes(located.extras))
    return StoredModule(what="WorldPlay-8B", module=module, weights=WeightFiles(located.weights))


def _language(located: Located) -> StoredModule[nn.Module]:
    module = encoders.empty_language_model(located.folder)
    rename = functools.partial(encoders.language_name, len(module.layers))
    return StoredModule(what="the language model", module=module, weights=WeightFiles(located.weights, rename))


def _glyph(located: Located, tokenizer: Located, *, num_tokens: int) -> StoredModule[nn.Module]:
    is_released = _is_released(located)
    module = encoders.empty_glyph_model((tokenizer if is_released else located).folder, num_tokens)
    weights, what = located.weights, "the glyph encoder"

    def pick(content: Mapping[str, object]) -> Mapping[str, object]:
        whole = content.get("state_dict", content)
        if not isinstance(whole, Mapping):
            raise ValueError(
                f"state_dict in {located.files[0]} must hold names and tensors, got {type(whole).__name__}"
            )
        named = {
            f"encoder.{name.removeprefix(_GLYPH_PREFIX).removeprefix('encoder.')}": tensor
            for name, tensor in whole.items()
        }
        shapes = {name: tuple(tensor.shape) for name, tensor in named.items() if isinstance(tensor, torch.Tensor)}
        check_weights(what, module, shapes, located.files)
        return named

    if is_released:
        weights = (converted(located.files[0], pick),)
    return StoredModule(what=what, module=module, weights=WeightFiles(weights))


def _is_released(located: Located) -> bool:
    """Whether the glyph encoder lies as Glyph-SDXL-v2 was released, and not as transformers would have it."""
    return located.files[0].suffix == ".pt"


def _encoders(stored: _Stored, device: torch.device, dtype: torch.dtype, *, stays: bool) -> Encoders:
    config = stored.network.module.config
    half = torch.float32 if dtype == torch.float32 or device.type == "cpu" else torch.float16

    def lodger(part: StoredModule[nn.Module], dtype: torch.dtype) -> Lodger[nn.Module]:
        return Lodger(part.load(device if stays else "cpu", dtype), device, stays=stays)

    return Encoders(
        language=LanguageEncoder(
            lodger(stored.language, half),
            tokenizer_of(stored.found["language tokenizer"].folder),
            config.text_tokens,
        ),
        glyph=GlyphEncoder(
            lodger(stored.glyph, torch.float32), stored.glyph_tokenizer, config.byt5_tokens, config.byt5_dim
        ),
        vision=VisionEncoder(
            lodger(stored.vision, half), Preprocessing.read(stored.found["vision preprocessor"].files[0])
        ),
        text_tokens=config.text_tokens,
        byt5_tokens=config.byt5_tokens,
    )
