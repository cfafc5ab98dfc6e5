"""WorldPlay-5B: sizes and constants, of the network and of the walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keepworld_runtime.families.latent.sizes import sized


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network (HY-World 1.5, on Wan2.2-TI2V-5B). Names as in the released config.json.

    Attributes:
        num_layers: blocks.
        num_attention_heads, attention_head_dim: their product is the width.
        ffn_dim: width of a block's feed-forward layer.
        in_channels, out_channels: of the latents.
        text_dim, text_tokens: of the language model's states.
        freq_dim: of the sinusoids of time and action.
        patch_size: latent frames, rows and columns that become one token.
        eps: of every norm.
        rope_theta: base of the rotary frequencies.
    """

    num_layers: int = 30
    num_attention_heads: int = 24
    attention_head_dim: int = 128
    ffn_dim: int = 14336
    in_channels: int = 48
    out_channels: int = 48
    text_dim: int = 4096
    text_tokens: int = 512
    freq_dim: int = 256
    patch_size: tuple[int, int, int] = (1, 2, 2)
    eps: float = 1e-6
    rope_theta: float = 10000.0

    def __post_init__(self) -> None:
        if self.patch_size[0] != 1:
            raise ValueError(f"patch_size must begin with 1: a latent has a time of its own, got {self.patch_size}")
        if self.attention_head_dim % 4:
            raise ValueError(f"attention_head_dim must be a multiple of 4, got {self.attention_head_dim}")

    @property
    def hidden_size(self) -> int:
        """The width."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def rope_dims(self) -> tuple[int, int, int]:
        """Channels of a head turned by time, row and column."""
        side = 2 * (self.attention_head_dim // 6)
        return (self.attention_head_dim - 2 * side, side, side)


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutConfig:
    """The walk.

    Attributes:
        chunk_size: latents denoised together.
        sigmas: the noise levels, the last one 0.
        context_timestep: the noise level, of 1000, that clean context is said to have.
        memory_size, window: latents of context at most; the newest of them that are always there.
    """

    chunk_size: int = 4
    sigmas: tuple[float, ...] = (1.0, 0.96, 0.8888889, 0.7272728, 0.0)
    context_timestep: float = 14.0
    memory_size: int = 16
    window: int = 12


MODEL = ModelConfig()
ROLLOUT = RolloutConfig()


def released_sizes(files: Sequence[Path]) -> ModelConfig:
    """The network's sizes by the first of its config.json files, or, if there is none, those it was released with.

    Raises:
        ValueError: the file is none, or a size in it is impossible.
    """
    return sized(MODEL, files[0], {}) if files else MODEL
