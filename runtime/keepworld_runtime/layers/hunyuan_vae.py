"""The VAE of HunyuanVideo-1.5, decoded latent by latent: weights and blocks are diffusers', the walk through them ours.

Structure (HunyuanVideo 1.5, arXiv:2511.18870, and the released weights): 16 x 16 pixels and 4 frames a latent; causal
convolutions that repeat the picture's edge and its first frame; up- and down-sampling by moving channels to pixels and
frames and back, with a parameter-free shortcut. diffusers decodes a clip whole, where the attention in the middle sees
all frames up to its own. The published videos are made with it seeing its own latent only, and so it is here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo15
from torch import Tensor

from keepworld_runtime.layers.vae import (
    CausalWalk,
    Columns,
    DecoderState,
    WholeWidth,
    check_latent,
    empty_map,
    latent_frames,
    load_weights,
    posterior,
    rms_norm,
    rms_silu,
)


class HunyuanVAE:
    """A `VideoVAE` over diffusers' module, which it reads and never changes.

    Args:
        module: an ``AutoencoderKLHunyuanVideo15`` with its weights. Untyped, as all its blocks below, because diffusers'
            types do not name the layers of its modules.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self._columns: Columns = WholeWidth()

    @property
    def frame_rates(self) -> tuple[int, ...]:
        """Frames a latent at each cached convolution of the decoder, in the order they run."""
        decoder = self.module.decoder
        rate = 1
        rates = [rate] * (1 + 2 * len(decoder.mid_block.resnets))
        for block in decoder.up_blocks:
            rates += [rate] * 2 * len(block.resnets)
            for upsampler in block.upsamplers or ():
                rates.append(rate)
                rate *= 2 if upsampler.add_temporal_upsample else 1
        return (*rates, rate)

    def split(self, columns: Columns) -> None:
        """Compute only these columns of what is decoded from now on."""
        self._columns = columns

    def initial_state(self) -> DecoderState:
        """The state before a session's first latent."""
        return DecoderState()

    @torch.no_grad()
    def decode(self, latent: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Decode a latent [B, C, 1, h, w] into its frames [B, 3, 1 or 4, 16 h, 16 w]; see `VideoVAE.decode`."""
        decoder, num_columns = self.module.decoder, latent.shape[-1]
        x = self._columns.own(latent)
        check_latent(x, decoder.in_channels, state)
        walk = CausalWalk(state, "replicate", self._columns, num_columns)
        weight = decoder.conv_in.conv.weight
        x = (x / self.module.config.scaling_factor).to(weight.device, weight.dtype)
        x = walk.conv(decoder.conv_in.conv, x) + x.repeat_interleave(decoder.repeat, dim=1)
        x = _middle(walk, decoder.mid_block, x)
        for block in decoder.up_blocks:
            for resnet in block.resnets:
                x = _resnet(walk, resnet, x)
            for upsampler in block.upsamplers or ():
                x = _upsample(walk, upsampler, x)
        x = walk.conv(decoder.conv_out.conv, rms_silu(x, decoder.norm_out.gamma))
        return self._columns.gather(x.clamp_(-1.0, 1.0), num_columns), walk.next_state()

    @torch.no_grad()
    def encode(self, frames: Tensor, noise: Tensor | None = None) -> Tensor:
        """Encode frames [B, 3, 1 + 4 k, 16 h, 16 w] into latents [B, C, 1 + k, h, w]; see `VideoVAE.encode`."""
        encoder = self.module.encoder
        weight = encoder.conv_in.conv.weight
        state, moments = DecoderState(), []
        for part in latent_frames(frames, self.module.spatial_compression_ratio):
            walk = CausalWalk(state, "replicate", WholeWidth(), frames.shape[-1])
            x = walk.conv(encoder.conv_in.conv, part.to(weight.device, weight.dtype))
            for block in encoder.down_blocks:
                for resnet in block.resnets:
                    x = _resnet(walk, resnet, x)
                for downsampler in block.downsamplers or ():
                    x = _downsample(walk, downsampler, x)
            x = _middle(walk, encoder.mid_block, x)
            shortcut = x.unflatten(1, (-1, encoder.group_size)).mean(dim=2)
            moments.append(shortcut + walk.conv(encoder.conv_out.conv, rms_silu(x, encoder.norm_out.gamma)))
            state = walk.next_state()
        latents: Tensor = posterior(torch.cat(moments, dim=2), noise) * self.module.config.scaling_factor
        return latents


def _middle(walk: CausalWalk, block: Any, x: Tensor) -> Tensor:
    x = _resnet(walk, block.resnets[0], x)
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        x = _resnet(walk, resnet, _attend(walk, attention, x))
    return x


def _attend(walk: CausalWalk, block: Any, x: Tensor) -> Tensor:
    normed = rms_norm(x, block.norm.gamma)
    mixed: Tensor = block.proj_out(walk.attend(block.to_q(normed), block.to_k(normed), block.to_v(normed)))
    return mixed.add_(x)


def _resnet(walk: CausalWalk, block: Any, x: Tensor) -> Tensor:
    y = walk.conv(block.conv1.conv, rms_silu(x, block.norm1.gamma))
    y = walk.conv(block.conv2.conv, rms_silu(y, block.norm2.gamma))
    return y.add_(x if block.conv_shortcut is None else block.conv_shortcut(x))


def _upsample(walk: CausalWalk, block: Any, x: Tensor) -> Tensor:
    """Move the convolution's channels to pixels, and to frames unless it is the first; the shortcut repeats x's."""
    times = 2 if block.add_temporal_upsample and not walk.is_first else 1
    packed = _channels_to_pixels(walk.conv(block.conv.conv, x), times)
    shortcut = _channels_to_pixels(x, times)
    repeats = block.repeats
    if block.add_temporal_upsample and walk.is_first:
        # the channels hold two frames of which the first latent has only one: the first
        packed = packed[..., : packed.shape[-1] // 2]
        repeats //= 2
    batch, num_frames, _, height, _, width, _, channels = packed.shape
    y = empty_map(x, channels, num_frames * times, 2 * height, 2 * width)
    # written once, where it belongs, instead of a repeat, two permuted copies and their sum
    pixels = y.movedim(1, -1).view(batch, num_frames, times, height, 2, width, 2, -1, repeats)
    torch.add(packed.unflatten(-1, (-1, repeats)), shortcut.unsqueeze(-1), out=pixels)
    return y


def _channels_to_pixels(x: Tensor, times: int) -> Tensor:
    """See x [B, times · 2 · 2 · C, T, H, W] as [B, T, times, H, 2, W, 2, C], without a copy."""
    return x.unflatten(1, (times, 2, 2, -1)).permute(0, 5, 1, 6, 2, 7, 3, 4)


def _downsample(walk: CausalWalk, block: Any, x: Tensor) -> Tensor:
    """Move pixels, and frames unless it is the first, to channels; the shortcut is the mean of groups of x's."""
    times = 2 if block.add_temporal_downsample and not walk.is_first else 1
    packed = _pixels_to_channels(walk.conv(block.conv.conv, x), times)
    if block.add_temporal_downsample and walk.is_first:
        packed = torch.cat([packed, packed], dim=1)
    return packed + _pixels_to_channels(x, times).unflatten(1, (packed.shape[1], -1)).mean(dim=2)


def _pixels_to_channels(x: Tensor, times: int) -> Tensor:
    """Pack x [B, C, times · T, 2 H, 2 W] into [B, times · 2 · 2 · C, T, H, W]."""
    blocks = x.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).unflatten(2, (-1, times))
    return blocks.permute(0, 3, 5, 7, 1, 2, 4, 6).flatten(1, 4)


_RELEASED_TO_DIFFUSERS = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^encoder\.down\.(\d+)\.block\.(\d+)\.", r"encoder.down_blocks.\1.resnets.\2."),
        (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
        (r"^decoder\.up\.(\d+)\.block\.(\d+)\.", r"decoder.up_blocks.\1.resnets.\2."),
        (r"^decoder\.up\.(\d+)\.upsample\.", r"decoder.up_blocks.\1.upsamplers.0."),
        (r"^(encoder|decoder)\.mid\.block_1\.", r"\1.mid_block.resnets.0."),
        (r"^(encoder|decoder)\.mid\.block_2\.", r"\1.mid_block.resnets.1."),
        (r"^(encoder|decoder)\.mid\.attn_1\.([qkv])\.", r"\1.mid_block.attentions.0.to_\2."),
        (r"^(encoder|decoder)\.mid\.attn_1\.", r"\1.mid_block.attentions.0."),
        (r"\.nin_shortcut\.", r".conv_shortcut."),
    )
]

_CONFIG_NAMES = {"ffactor_spatial": "spatial_compression_ratio", "ffactor_temporal": "temporal_compression_ratio"}
_CONFIG_KEYS = (
    "in_channels",
    "out_channels",
    "latent_channels",
    "block_out_channels",
    "layers_per_block",
    "spatial_compression_ratio",
    "temporal_compression_ratio",
    "downsample_match_channel",
    "upsample_match_channel",
    "scaling_factor",
)


def diffusers_name(name: str) -> str:
    """The name in diffusers' module of a weight by its name in the release; a name of diffusers' stays as it is."""
    for pattern, replacement in _RELEASED_TO_DIFFUSERS:
        name = pattern.sub(replacement, name)
    return name


def empty_hunyuan_vae(config: Mapping[str, object]) -> AutoencoderKLHunyuanVideo15:
    """Make the module of a configuration, the release's or diffusers', on the meta device: shapes and no memory.

    Raises:
        ValueError: the configuration asks for a latent shift or a temporal factor that the walk does not know.
    """
    named = {_CONFIG_NAMES.get(key, key): value for key, value in config.items()}
    if named.get("shift_factor"):
        raise ValueError(f"shift_factor must be absent or 0, got {named['shift_factor']!r}")
    if named.get("temporal_compression_ratio", 4) != 4:
        raise ValueError(f"temporal_compression_ratio must be 4, got {named['temporal_compression_ratio']!r}")
    with torch.device("meta"):
        return AutoencoderKLHunyuanVideo15(**{key: named[key] for key in _CONFIG_KEYS if key in named})


def load_hunyuan_vae(
    state_dict: Mapping[str, Tensor],
    config: Mapping[str, object],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> HunyuanVAE:
    """Make the VAE from its weights.

    Args:
        state_dict: weights under the release's names or diffusers'.
        config: the release's configuration (``ffactor_spatial`` …) or diffusers'; what only training needs is ignored.
        device: where it shall run.
        dtype: what it shall compute in; that of the weights when left out.

    Raises:
        ValueError: the configuration is not one this walk knows, or a weight is missing, unknown or of another shape.
    """
    module: Any = empty_hunyuan_vae(config)
    load_weights(module, {diffusers_name(name): tensor for name, tensor in state_dict.items()}, device, dtype)
    return HunyuanVAE(module)
