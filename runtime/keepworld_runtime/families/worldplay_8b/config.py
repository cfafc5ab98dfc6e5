"""WorldPlay-8B: sizes and constants, of the network and of the walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from keepworld_runtime.families.latent.sizes import sized


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network (HY-World 1.5, on HunyuanVideo-1.5). Names as in the published configuration where it has one.

    Attributes:
        num_layers: double-stream blocks.
        hidden_size, num_heads: width, and heads of hidden_size / num_heads channels.
        mlp_ratio: width of a block's MLP, in hidden sizes.
        latent_channels: of the VAE; the network sees twice as many and a mask.
        text_dim, text_tokens: of the language model's states.
        byt5_dim, byt5_tokens: of the glyph encoder's states.
        byt5_hidden: width of the glyph mapper's two inner layers.
        vision_dim, vision_tokens: of the image encoder's states.
        refiner_layers, refiner_heads: of the text's own small transformer.
        sinusoid_dim: of time and action.
        rope_dims: channels of a head turned by time, row and column.
        rope_theta: base of the rotary frequencies.
    """

    num_layers: int = 54
    hidden_size: int = 2048
    num_heads: int = 16
    mlp_ratio: int = 4
    latent_channels: int = 32
    text_dim: int = 3584
    text_tokens: int = 1000
    byt5_dim: int = 1472
    byt5_tokens: int = 256
    byt5_hidden: int = 2048
    vision_dim: int = 1152
    vision_tokens: int = 729
    refiner_layers: int = 2
    refiner_heads: int = 16
    sinusoid_dim: int = 256
    rope_dims: tuple[int, int, int] = (16, 56, 56)
    rope_theta: float = 256.0

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads or sum(self.rope_dims) != self.head_dim or self.head_dim % 4:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be num_heads {self.num_heads} times a multiple of 4 "
                f"that rope_dims {self.rope_dims} add up to"
            )

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.hidden_size // self.num_heads


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutConfig:
    """The walk.

    Attributes:
        chunk_size: latents denoised together.
        is_bidirectional: whether context and chunk attend to each other in one sequence, instead of through a cache.
        num_steps, shift: of the noise levels.
        guidance: scale of classifier-free guidance; 1 does without.
        context_timestep: the noise level, of 1000, that clean context is said to have.
        memory_size, window: latents of context at most; the newest of them that are always there.
        is_reanchored: whether the chunk's first camera is the origin of what the network sees, instead of the world's. Text
            has no camera and stands at the origin, so this is not the same; no released model was trained with it.
    """

    chunk_size: int = 4
    is_bidirectional: bool = False
    num_steps: int = 4
    shift: float = 5.0
    guidance: float = 1.0
    context_timestep: float = 14.0
    memory_size: int = 20
    window: int = 12
    is_reanchored: bool = False


MODEL = ModelConfig()
DISTILLED = RolloutConfig()
AUTOREGRESSIVE = replace(DISTILLED, num_steps=50, guidance=6.0)
BIDIRECTIONAL = replace(AUTOREGRESSIVE, chunk_size=16, is_bidirectional=True, memory_size=32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One of the released sets of weights.

    Attributes:
        folder: where its file lies in the released repository.
        rollout: how it is walked.
    """

    folder: str
    rollout: RolloutConfig = field(default_factory=RolloutConfig)


VARIANTS = {
    "distilled": Variant(folder="ar_distilled_action_model", rollout=DISTILLED),
    "ar": Variant(folder="ar_model", rollout=AUTOREGRESSIVE),
    "rl": Variant(folder="ar_rl_model", rollout=AUTOREGRESSIVE),
    "bidirectional": Variant(folder="bidirectional_model", rollout=BIDIRECTIONAL),
}

_RELEASED_NAMES = {
    "num_layers": "mm_double_blocks_depth",
    "num_heads": "heads_num",
    "mlp_ratio": "mlp_width_ratio",
    "latent_channels": "out_channels",
    "text_dim": "text_states_dim",
    "vision_dim": "vision_states_dim",
    "rope_dims": "rope_dim_list",
}


def released_sizes(files: Sequence[Path]) -> ModelConfig:
    """The network's sizes by the first of its config.json files, or, if there is none, those it was released with.

    Raises:
        ValueError: the file is none, or a size in it is impossible.
    """
    return sized(MODEL, files[0], _RELEASED_NAMES) if files else MODEL
