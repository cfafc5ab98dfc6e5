"""How much work a chunk is, and how much memory a network takes: counted from shapes, before anything is loaded.

A multiplication with an addition is two FLOPs; matrix products, convolutions and attention are counted, what goes element by
element is not. Free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from keepworld_runtime.families.worldplay_5b import config as worldplay_5b
from keepworld_runtime.families.worldplay_8b import config as worldplay_8b

ModelConfig = worldplay_8b.ModelConfig | worldplay_5b.ModelConfig
RolloutConfig = worldplay_8b.RolloutConfig | worldplay_5b.RolloutConfig

CONTEXT = "context pass"

_TEXT_STEP = 128  # slots for text come in multiples of this, and two texts stand side by side


# FLOPs of decoding a latent's four frames at 704 × 1280, counted with torch's FlopCounterMode on our decode of the released
# shapes. They go with the pixels, but for attention in the middle, a thousandth of them.
_DECODER_PIXELS = 704 * 1280
_DECODER_FLOPS = {"worldplay-8b": 89.85e12, "worldplay-5b": 66.35e12}


@dataclass(frozen=True, slots=True)
class Work:
    """FLOPs of a stage: of products with weights, and of attention with what the cameras do to its keys."""

    linear: int
    attention: int

    @property
    def total(self) -> int:
        """Both."""
        return self.linear + self.attention

    def __add__(self, other: Work) -> Work:
        return Work(self.linear + other.linear, self.attention + other.attention)

    def __mul__(self, times: int) -> Work:
        return Work(self.linear * times, self.attention * times)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Network:
    """What a pass over latents costs follows from this; products in multiply-adds.

    Attributes:
        layers, width: of the blocks.
        token: products a token and block, the last block's in a pass that only keeps keys and values apart.
        text_token: the same of the text's own stream, where it has one.
        latent: products a latent and pass, before the blocks.
        block_latent: products a latent and block: shifts, scales and gates.
        head_latent: products a latent after the blocks.
        token_in, token_out: products a token before and after the blocks.
        crosses: whether the text is attended to apart, not among the other keys.
    """

    layers: int
    width: int
    token: int
    text_token: int = 0
    latent: int
    block_latent: int = 0
    head_latent: int = 0
    token_in: int
    token_out: int
    crosses: bool = False


@dataclass(frozen=True, slots=True)
class _Row:
    """A pass: so many latents of so many tokens each, under so many of text, after so many of context."""

    latents: int
    tokens_per_latent: int
    text_tokens: int
    context_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.latents * self.tokens_per_latent


def chunk_flops(
    config: ModelConfig, rollout: RolloutConfig, *, tokens_per_latent: int, context: int, text_tokens: int
) -> dict[str, Work]:
    """What each stage of a chunk costs, decoding apart: the context pass, if there is any context, then the steps.

    Args:
        config: the network.
        rollout: the walk.
        tokens_per_latent: see `latent_tokens`.
        context: latents that are seen again, whole.
        text_tokens: those that take part in attention: of the picture, the quotes and the text (8B), all 512 (5B). Making
            them is not counted: it happens once a prompt, and in the bidirectional model once a step, under 1 % of it.
    """
    network, (num_steps, passes) = _network(config), _steps(rollout)
    stages: dict[str, Work] = {}
    if isinstance(rollout, worldplay_8b.RolloutConfig) and rollout.is_bidirectional:
        step = _joint(network, _Row(context + rollout.chunk_size, tokens_per_latent, text_tokens))
    else:
        past = _Row(context, tokens_per_latent, text_tokens)
        if context:
            stages[CONTEXT] = _vision(network, past, keys_only=True) * passes
        row = _Row(rollout.chunk_size, tokens_per_latent, text_tokens, context_tokens=past.tokens)
        step = _vision(network, row, keys_only=False)
    return stages | {step_name(number): step * passes for number in range(1, num_steps + 1)}


def step_name(number: int) -> str:
    """What the stage of denoising step `number`, from 1, is called."""
    return f"step {number}"


def latent_tokens(config: ModelConfig, width: int, height: int) -> int:
    """Tokens of a latent of frames of width × height pixels.

    Raises:
        ValueError: width or height is no multiple of the pixels that a token stands for.
    """
    side = 16 * (config.patch_size[1] if isinstance(config, worldplay_5b.ModelConfig) else 1)
    if width % side or height % side or width < side or height < side:
        raise ValueError(f"width and height must be multiples of {side}, got {width} × {height}")
    return (width // side) * (height // side)


def decoder_flops(family: str, width: int, height: int) -> float:
    """FLOPs of decoding one latent, four frames of width × height pixels, with a family's released VAE.

    Raises:
        ValueError: it is not a family with a known VAE.
    """
    if family not in _DECODER_FLOPS:
        raise ValueError(f"family must be one of {', '.join(_DECODER_FLOPS)}, got {family!r}")
    return _DECODER_FLOPS[family] * width * height / _DECODER_PIXELS


def weight_bytes(config: ModelConfig, bytes_per_value: int = 2) -> int:
    """Memory that the network's weights take."""
    return bytes_per_value * num_parameters(config)


def kv_bytes(
    config: ModelConfig,
    rollout: RolloutConfig,
    *,
    tokens_per_latent: int,
    text_tokens: int,
    bytes_per_value: int = 2,
) -> int:
    """Memory that one world's keys and values take, in all processes together: text, as much context as there may be, chunk.

    Raw, so once for both branches of attention, and three rows to work in; twice under guidance. None at all where context
    and chunk attend in one sequence. Beside context there is room for two texts (8B), or text is kept apart, once (5B).
    """
    if isinstance(rollout, worldplay_8b.RolloutConfig) and rollout.is_bidirectional:
        return 0
    network = _network(config)
    picture = (rollout.memory_size + rollout.chunk_size) * tokens_per_latent
    if network.crosses:
        tokens = 2 * network.layers * (picture + text_tokens) + 3 * picture
    else:
        tokens = (2 * network.layers + 3) * (picture + -(-2 * text_tokens // _TEXT_STEP) * _TEXT_STEP)
    return _steps(rollout)[1] * tokens * network.width * bytes_per_value


def num_parameters(config: ModelConfig) -> int:
    """How many numbers the network has learned."""
    if isinstance(config, worldplay_5b.ModelConfig):
        return _parameters_5b(config)
    return _parameters_8b(config)


def _network(config: ModelConfig) -> _Network:
    if isinstance(config, worldplay_5b.ModelConfig):
        d, patch = config.hidden_size, config.patch_size[1] * config.patch_size[2]
        return _Network(
            layers=config.num_layers,
            width=d,
            token=7 * d * d + 2 * d * config.ffn_dim,  # q, k, v, two outputs; the text's q and output; feed-forward
            latent=2 * (config.freq_dim * d + d * d) + 6 * d * d,
            token_in=config.in_channels * patch * d,
            token_out=config.out_channels * patch * d,
            crosses=True,
        )
    d = config.hidden_size
    return _Network(
        layers=config.num_layers,
        width=d,
        token=5 * d * d + 2 * config.mlp_ratio * d * d,  # q, k, v, two outputs; MLP
        text_token=4 * d * d + 2 * config.mlp_ratio * d * d,
        latent=2 * (config.sinusoid_dim * d + d * d),
        block_latent=6 * d * d,
        head_latent=2 * d * d,
        token_in=(2 * config.latent_channels + 1) * d,
        token_out=config.latent_channels * d,
    )


def _steps(rollout: RolloutConfig) -> tuple[int, int]:
    """How many steps there are, and how many passes each of them takes: two under guidance."""
    if isinstance(rollout, worldplay_5b.RolloutConfig):
        return len(rollout.sigmas) - 1, 1
    return rollout.num_steps, 1 if rollout.guidance == 1 else 2


def _vision(network: _Network, row: _Row, *, keys_only: bool) -> Work:
    """A pass over latents that see the text, the context and each other; with `keys_only` it ends with the last keys."""
    d, full = network.width, network.layers - keys_only
    products = row.tokens * (network.token_in + full * network.token)
    products += row.latents * (network.latent + network.layers * network.block_latent)
    if keys_only:
        products += row.tokens * 2 * d * d
    else:
        products += row.tokens * network.token_out + row.latents * network.head_latent
    picture = row.context_tokens + row.tokens
    pairs = 2 * row.tokens * (picture + (0 if network.crosses else row.text_tokens))
    pairs += row.tokens * row.text_tokens if network.crosses else 0
    return Work(2 * products, full * (4 * pairs * d + _cameras(row.tokens, picture, d)))


def _joint(network: _Network, row: _Row) -> Work:
    """A pass over latents and text that see each other; by camera, latents see the text without being seen by it."""
    d, text = network.width, row.text_tokens
    products = row.tokens * (network.token_in + network.layers * network.token + network.token_out)
    products += row.latents * (network.latent + network.layers * network.block_latent + network.head_latent)
    products += text * network.layers * network.text_token
    products += network.layers * network.block_latent + network.latent // 2  # the text's one time
    pairs = (row.tokens + text) ** 2 + row.tokens * (row.tokens + text)
    return Work(2 * products, network.layers * (4 * pairs * d + _cameras(row.tokens, row.tokens, d)))


def _cameras(queries: int, keys: int, width: int) -> int:
    """FLOPs of a camera's 4 × 4 on queries and outputs, keys and values."""
    return 8 * (2 * queries + 2 * keys) * width


def _linear(inputs: int, outputs: int) -> int:
    """A product's weights and biases."""
    return inputs * outputs + outputs


def _parameters_5b(config: worldplay_5b.ModelConfig) -> int:
    d, patch = config.hidden_size, config.patch_size[1] * config.patch_size[2]
    ends = _linear(config.in_channels * patch, d) + _linear(d, config.out_channels * patch) + 2 * d
    conditions = 2 * (_linear(config.freq_dim, d) + _linear(d, d)) + _linear(d, 6 * d)
    conditions += _linear(config.text_dim, d) + _linear(d, d)
    feed_forward = _linear(d, config.ffn_dim) + _linear(config.ffn_dim, d)
    block = 9 * _linear(d, d) + feed_forward + 12 * d  # four norms of d, one of 2 d, 6 d of shifts, scales and gates
    return ends + conditions + config.num_layers * block


def _parameters_8b(config: worldplay_8b.ModelConfig) -> int:
    d, glyphs, picture = config.hidden_size, config.byt5_hidden, config.vision_dim
    number = _linear(config.sinusoid_dim, d) + _linear(d, d)
    mlp = _linear(d, config.mlp_ratio * d) + _linear(config.mlp_ratio * d, d)
    refiner = 4 * d + _linear(d, 3 * d) + _linear(d, d) + mlp + _linear(d, 2 * d)
    ends = _linear(2 * config.latent_channels + 1, d) + _linear(d, config.latent_channels) + _linear(d, 2 * d)
    text = 2 * _linear(config.text_dim, d) + _linear(d, d) + number + config.refiner_layers * refiner
    text += 2 * config.byt5_dim + _linear(config.byt5_dim, glyphs) + _linear(glyphs, glyphs) + _linear(glyphs, d)
    text += 2 * picture + _linear(picture, picture) + _linear(picture, d) + 2 * d + 3 * d
    stream = _linear(d, 6 * d) + 4 * _linear(d, d) + mlp + 2 * config.head_dim
    return ends + text + 2 * number + config.num_layers * (2 * stream + _linear(d, d))
