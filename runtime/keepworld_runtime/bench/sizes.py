"""What is built to be measured: a family's released sizes, or reduced ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from keepworld_runtime.families.latent.flops import ModelConfig, RolloutConfig, latent_tokens
from keepworld_runtime.families.worldplay_5b import config as worldplay_5b
from keepworld_runtime.families.worldplay_8b import config as worldplay_8b

HEAD_DIM = 128  # as released, reduced too: kernels are made for it
CELL_PIXELS = 16  # a cell of a latent, a side

_REDUCED_LAYERS, _REDUCED_HIDDEN, _REDUCED_SIZE = 2, 256, (256, 128)
_REDUCED_WORDS, _REDUCED_PICTURE = 48, 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """A network, a VAE, a walk and the frames it makes.

    Attributes:
        config: the network.
        rollout: the walk.
        words, picture: tokens of the text, and of the picture that a world begins with; the 5B has none of the latter.
        vae: in diffusers' words.
        width, height: of a frame, pixels.
    """

    config: ModelConfig
    rollout: RolloutConfig
    words: int
    picture: int
    vae: Mapping[str, object]
    width: int
    height: int

    @property
    def tokens_per_latent(self) -> int:
        """The network's tokens."""
        return latent_tokens(self.config, self.width, self.height)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a latent's cells."""
        return self.height // CELL_PIXELS, self.width // CELL_PIXELS

    def check_shared(self, num_ranks: int) -> None:
        """Refuse ranks that heads and tokens cannot be dealt out to evenly.

        Raises:
            ValueError: so many cannot share the work.
        """
        heads = self.config.hidden_size // HEAD_DIM
        if heads % num_ranks or self.tokens_per_latent % num_ranks:
            came = f"{num_ranks} ranks for {heads} heads and {self.tokens_per_latent} tokens"
            raise ValueError(f"ranks must divide the network's heads and a latent's tokens, got {came}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Family:
    """How a family was released, and a VAE of its form that a CPU decodes with."""

    config: ModelConfig
    rollout: RolloutConfig
    words: int
    picture: int
    size: tuple[int, int]
    vae: Mapping[str, object]
    reduced_vae: Mapping[str, object]


_WAN: Mapping[str, object] = {
    "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "temperal_downsample": [False, True, True], "is_residual": True,
    "in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16, "scale_factor_temporal": 4,
    "z_dim": 48, "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48,
}  # fmt: skip
FAMILIES: Mapping[str, _Family] = {
    "worldplay-8b": _Family(
        config=worldplay_8b.MODEL,
        rollout=worldplay_8b.DISTILLED,
        words=271,
        picture=worldplay_8b.MODEL.vision_tokens,
        size=(832, 480),
        vae={},  # the default of diffusers' module
        reduced_vae={"block_out_channels": (8, 16, 32, 64, 64), "layers_per_block": 2},
    ),
    "worldplay-5b": _Family(
        config=worldplay_5b.MODEL,
        rollout=worldplay_5b.ROLLOUT,
        words=worldplay_5b.MODEL.text_tokens,
        picture=0,
        size=(1280, 704),
        vae={**_WAN, "base_dim": 160, "decoder_base_dim": 256},
        reduced_vae={**_WAN, "base_dim": 8, "decoder_base_dim": 12},
    ),
}


def sizes_of(
    family: str,
    *,
    is_reduced: bool,
    layers: int | None = None,
    hidden: int | None = None,
    size: tuple[int, int] | None = None,
) -> Sizes:
    """The sizes of a family, released or reduced, but for what is given.

    Raises:
        ValueError: there is less than a layer, hidden is no multiple of a head's 128 channels, or the frames are none of the
            network's patches.
    """
    if layers is not None and layers < 1:
        raise ValueError(f"layers must be at least 1, got {layers}")
    if hidden is not None and (hidden < HEAD_DIM or hidden % HEAD_DIM):
        raise ValueError(f"hidden must be a multiple of {HEAD_DIM}, got {hidden}")
    released = FAMILIES[family]
    if is_reduced:
        layers, hidden, size = layers or _REDUCED_LAYERS, hidden or _REDUCED_HIDDEN, size or _REDUCED_SIZE
    config = _scaled(released.config, layers, hidden)
    width, height = size or released.size
    latent_tokens(config, width, height)
    return Sizes(
        config=config,
        rollout=released.rollout,
        words=_REDUCED_WORDS if is_reduced else released.words,
        picture=min(_REDUCED_PICTURE, released.picture) if is_reduced else released.picture,
        vae=released.reduced_vae if is_reduced else released.vae,
        width=width,
        height=height,
    )


def _scaled(config: ModelConfig, layers: int | None, hidden: int | None) -> ModelConfig:
    hidden = hidden or config.hidden_size
    heads, layers = hidden // HEAD_DIM, layers or config.num_layers
    if isinstance(config, worldplay_5b.ModelConfig):
        ffn_dim = hidden * config.ffn_dim // config.hidden_size // 16 * 16
        return replace(config, num_layers=layers, num_attention_heads=heads, ffn_dim=ffn_dim)
    return replace(config, num_layers=layers, hidden_size=hidden, num_heads=heads, refiner_heads=heads)
