"""What a model will need and how fast it should be, before anything of it is loaded. Free of torch.

Memory is counted from shapes. Speed is expected, not measured: the work of a chunk (`flops`) at rates that well-made kernels
reach on an NVIDIA H200 in bfloat16, and what the GPUs have to tell each other at NVLink's rate; the rates are those of row F of
the table in the project's performance study (GEMM 680, attention 600, convolution 320 TFLOP/s; 350 GB/s and 15 µs an
exchange).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from keepworld_runtime.families.family import OFFLOADS
from keepworld_runtime.families.latent.catalog import entry_of
from keepworld_runtime.families.latent.flops import (
    CONTEXT,
    ModelConfig,
    RolloutConfig,
    chunk_flops,
    decoder_flops,
    kv_bytes,
    latent_tokens,
    weight_bytes,
)
from keepworld_runtime.families.worldplay_5b import config as worldplay_5b
from keepworld_runtime.families.worldplay_8b import config as worldplay_8b

_LINEAR, _ATTENTION, _CONVOLUTION = 680e12, 600e12, 320e12  # FLOP/s of one GPU
_LINK, _EXCHANGE_S, _TENSORS = (
    350e9,
    15e-6,
    4,
)  # bytes/s, seconds, and tensors exchanged a layer: q, k, v and the output
_HOST_LINK = 25e9  # bytes/s from pinned memory, PCIe 4.0 x16
_HALF = 2  # bytes of a bfloat16
_ROWS_AT_WORK = 16  # of the network's width that a token has at once in a block, about
_MAPS_AT_WORK = 4  # of the decoder's last level at once, about
_FRAMES_A_LATENT = 4
_GPUS = (1, 2, 4, 8)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Facts:
    """What is not in a network's configuration.

    Attributes:
        model: the network's sizes.
        encoders: bytes of each, in the precision they run in.
        vae: parameters.
        state: bytes of a session's decoder state a pixel, counted on the released shapes in bfloat16.
        last_level: channels of the decoder's last level, times the pixels that it has of the picture's.
        text_tokens: that attention sees.
        size: width and height by default.
    """

    model: ModelConfig
    encoders: Mapping[str, int]
    vae: int
    state: float
    last_level: float
    text_tokens: int
    size: tuple[int, int]


_FACTS: Mapping[str, _Facts] = MappingProxyType(
    {
        "worldplay-8b": _Facts(
            model=worldplay_8b.MODEL,
            encoders={"language": 6_604_503_552 * 2, "glyph": 219_129_472 * 4, "vision": 412_987_248 * 2},
            vae=1_260_634_115,
            state=7010.0,
            last_level=128.0,
            text_tokens=1000,
            size=(832, 480),
        ),
        "worldplay-5b": _Facts(
            model=worldplay_5b.MODEL,
            encoders={"language": 5_680_910_336 * 2},
            vae=704_688_668,
            state=3658.0,
            last_level=256 / 4,
            text_tokens=worldplay_5b.MODEL.text_tokens,
            size=(1280, 704),
        ),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One way to run a model.

    Attributes:
        gpus, offload: the way.
        memory: what lies on each GPU, in bytes, by name.
        moment: bytes there beside that for as long as a prompt is read.
        chunk_s: that a chunk should take.
        fps: that makes.
    """

    gpus: int
    offload: str
    memory: Mapping[str, int]
    moment: int
    chunk_s: float
    fps: float

    @property
    def peak(self) -> int:
        """Bytes on each GPU at most: reading a prompt and dreaming do not come at a time within one session."""
        return max(sum(self.memory.values()), self._resting + self.moment)

    @property
    def _resting(self) -> int:
        return sum(count for name, count in self.memory.items() if name != "at work")


def plans(
    name: str,
    variant: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    gpus: Sequence[int] | None = None,
    offloads: Sequence[str] = OFFLOADS,
) -> list[Plan]:
    """Every way to run a model in one session, once it remembers all that it can.

    Args:
        name: of the model.
        variant: None for the default one.
        size: width and height of frames, pixels; None for the family's default.
        gpus: how many, each; None for those of 1, 2, 4 and 8 that can share the work.
        offloads: "none", "encoders", "blocks".

    Raises:
        ValueError: no such model or variant, a size that the network's tokens do not fill, or GPUs that cannot share them.
    """
    entry_of(name).needs(variant)
    facts, rollout = _FACTS[name], _rollout(name, variant)
    width, height = size or facts.size
    tokens = latent_tokens(facts.model, width, height)
    heads = _heads(facts.model)
    if gpus is None:
        gpus = [count for count in _GPUS if heads % count == 0 and tokens % count == 0]
    for count in gpus:
        if count < 1 or heads % count or tokens % count:
            raise ValueError(f"gpus must divide {heads} heads and {tokens} tokens a latent, got {count}")
    return [_plan(name, facts, rollout, (width, height), count, offload) for offload in offloads for count in gpus]


def default_size(name: str) -> tuple[int, int]:
    """Width and height that a model is planned for unless told."""
    return _FACTS[name].size


def _rollout(name: str, variant: str | None) -> RolloutConfig:
    if name == "worldplay-5b":
        return worldplay_5b.ROLLOUT
    return worldplay_8b.VARIANTS[variant or next(iter(worldplay_8b.VARIANTS))].rollout


def _heads(model: ModelConfig) -> int:
    return model.num_attention_heads if isinstance(model, worldplay_5b.ModelConfig) else model.num_heads


def _plan(name: str, facts: _Facts, rollout: RolloutConfig, size: tuple[int, int], gpus: int, offload: str) -> Plan:
    model, tokens, pixels = facts.model, latent_tokens(facts.model, *size), size[0] * size[1]
    network = weight_bytes(model)
    block = (network - weight_bytes(replace(model, num_layers=0))) // model.num_layers
    streams = offload == "blocks"
    cache = kv_bytes(model, rollout, tokens_per_latent=tokens, text_tokens=facts.text_tokens)
    row = (rollout.memory_size + rollout.chunk_size) * tokens // gpus
    decoder = int(_MAPS_AT_WORK * facts.last_level * pixels / gpus) * _FRAMES_A_LATENT * _HALF
    memory = {
        "network": network - (model.num_layers - 2) * block if streams else network,
        "encoders": sum(facts.encoders.values()) if offload == "none" else 0,
        "vae": facts.vae * _HALF,
        "context": cache // gpus,
        "decoder state": int(facts.state * pixels) // gpus,
        "at work": max(row * model.hidden_size * _ROWS_AT_WORK * _HALF, decoder),
    }
    chunk_s = _chunk_s(name, model, rollout, size, facts, gpus, network if streams else 0)
    return Plan(
        gpus=gpus,
        offload=offload,
        memory=memory,
        moment=0 if offload == "none" else max(facts.encoders.values()),
        chunk_s=chunk_s,
        fps=rollout.chunk_size * _FRAMES_A_LATENT / chunk_s,
    )


def _chunk_s(
    name: str,
    model: ModelConfig,
    rollout: RolloutConfig,
    size: tuple[int, int],
    facts: _Facts,
    gpus: int,
    streamed: int,
) -> float:
    """Seconds of a chunk. A pass takes as long as its work or as its weights need to come, whichever is longer."""
    tokens = latent_tokens(model, *size)
    stages = chunk_flops(
        model, rollout, tokens_per_latent=tokens, context=rollout.memory_size, text_tokens=facts.text_tokens
    )
    seconds = rollout.chunk_size * decoder_flops(name, *size) / _CONVOLUTION / gpus
    for stage, work in stages.items():
        latents = rollout.memory_size if stage == CONTEXT else rollout.chunk_size
        computing = (work.linear / _LINEAR + work.attention / _ATTENTION) / gpus
        computing += _exchanging_s(model, latents * tokens, gpus)
        seconds += max(computing, streamed / _HOST_LINK)
    return seconds


def _exchanging_s(model: ModelConfig, tokens: int, gpus: int) -> float:
    """What a GPU waits for the others in a pass: two exchanges a layer, of all its tokens but its own share of heads."""
    if gpus == 1:
        return 0.0
    sent = _TENSORS * tokens * model.hidden_size * _HALF * (gpus - 1) / gpus**2
    return model.num_layers * (sent / _LINK + 2 * _EXCHANGE_S)
