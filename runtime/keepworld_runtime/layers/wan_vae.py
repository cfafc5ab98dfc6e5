"""The VAE of Wan 2.2, decoded latent by latent: weights and blocks are diffusers', the walk through them ours.

Structure (Wan, arXiv:2503.20314, section 4.1, and the weights of Wan2.2-TI2V-5B): 16 x 16 pixels and 4 frames a latent,
2 x 2 of the pixels by moving them to channels; causal convolutions with zeros outside of the picture and before its
first frame; attention in the middle within a frame; parameter-free shortcuts around whole levels. Computes what
diffusers' ``AutoencoderKLWan.decode`` does, but for one latent, the state in hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from torch.nn import functional as F

from keepworld_runtime.layers.vae import (
    CONTEXT_FRAMES,
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


class WanVAE:
    """A `VideoVAE` over diffusers' module, which it reads and never changes.

    Args:
        module: an ``AutoencoderKLWan`` with its weights. Untyped, as all its blocks below, because diffusers'
            types do not name the layers of its modules.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self._columns: Columns = WholeWidth()
        device = module.decoder.conv_in.weight.device
        # made once, beside the weights: a list copied to a GPU at every latent would stop the host
        self._mean = torch.tensor(module.config.latents_mean, device=device).view(-1, 1, 1, 1)
        self._std = torch.tensor(module.config.latents_std, device=device).view(-1, 1, 1, 1)

    @property
    def frame_rates(self) -> tuple[int, ...]:
        """Frames a latent at each cached convolution of the decoder, in the order they run."""
        decoder = self.module.decoder
        rate = 1
        rates = [rate] * (1 + 2 * len(decoder.mid_block.resnets))
        for block in decoder.up_blocks:
            rates += [rate] * 2 * len(block.resnets)
            if block.upsampler is not None and block.upsampler.mode == "upsample3d":
                rates.append(rate)
                rate *= 2
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
        check_latent(x, self.module.z_dim, state)
        walk = CausalWalk(state, "zeros", self._columns, num_columns)
        weight = decoder.conv_in.weight
        x = x.to(weight.device) * self._std + self._mean
        x = self.module.post_quant_conv(x.to(weight.dtype))
        x = walk.conv(decoder.conv_in, x)
        x = _middle(walk, decoder.mid_block, x)
        for block in decoder.up_blocks:
            x = _up_block(walk, block, x)
        x = walk.conv(decoder.conv_out, rms_silu(x, decoder.norm_out.gamma))
        frames = _channels_to_pixels(x, self.module.config.patch_size or 1).clamp_(-1.0, 1.0)
        return self._columns.gather(frames, num_columns), walk.next_state()

    @torch.no_grad()
    def encode(self, frames: Tensor, noise: Tensor | None = None) -> Tensor:
        """Encode frames [B, 3, 1 + 4 k, 16 h, 16 w] into latents [B, C, 1 + k, h, w]; see `VideoVAE.encode`.

        The published code starts a session from a sample of the picture's posterior: give it the noise.
        """
        encoder = self.module.encoder
        weight = encoder.conv_in.weight
        state, moments = DecoderState(), []
        for part in latent_frames(frames, self.module.config.scale_factor_spatial):
            walk = CausalWalk(state, "zeros", WholeWidth(), frames.shape[-1])
            x = _pixels_to_channels(part.to(weight.device, weight.dtype), self.module.config.patch_size or 1)
            x = walk.conv(encoder.conv_in, x)
            for block in encoder.down_blocks:
                x = _down_block(walk, block, x)
            x = _middle(walk, encoder.mid_block, x)
            moments.append(self.module.quant_conv(walk.conv(encoder.conv_out, rms_silu(x, encoder.norm_out.gamma))))
            state = walk.next_state()
        return (posterior(torch.cat(moments, dim=2), noise) - self._mean) / self._std


def _middle(walk: CausalWalk, block: Any, x: Tensor) -> Tensor:
    x = _resnet(walk, block.resnets[0], x)
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        x = _resnet(walk, resnet, _attend(walk, attention, x))
    return x


def _attend(walk: CausalWalk, block: Any, x: Tensor) -> Tensor:
    q, k, v = _each_frame(block.to_qkv, rms_norm(x, block.norm.gamma)).chunk(3, dim=1)
    return _each_frame(block.proj, walk.attend(q, k, v)).add_(x)


def _resnet(walk: CausalWalk, block: Any, x: Tensor) -> Tensor:
    y = walk.conv(block.conv1, rms_silu(x, block.norm1.gamma))
    y = walk.conv(block.conv2, rms_silu(y, block.norm2.gamma))
    return y.add_(block.conv_shortcut(x))


def _up_block(walk: CausalWalk, block: Any, x: Tensor) -> Tensor:
    y = x
    for resnet in block.resnets:
        y = _resnet(walk, resnet, y)
    if block.upsampler is None:
        return y
    y = _upsample(walk, block.upsampler, y)
    # the shortcut: channels repeated, then moved to pixels and frames, of which the first latent has only the last
    spread = block.avg_shortcut
    repeated = x.movedim(1, -1).repeat_interleave(spread.repeats, dim=-1)
    pixels = repeated.unflatten(-1, (-1, spread.factor_t, 2, 2)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    pixels = pixels[:, :, -1:] if walk.is_first else pixels
    y.movedim(1, -1).view(pixels.shape).add_(pixels)
    return y


def _upsample(walk: CausalWalk, block: Any, x: Tensor) -> Tensor:
    """Give every pixel twice in each direction and convolve; before, a temporal one makes two frames of each.

    The first latent skips the temporal convolution, which then starts from zeros: it never sees that latent.
    """
    channels, num_frames, height, width = x.shape[1:]
    times = 1
    if block.mode == "upsample3d" and walk.is_first:
        walk.leave(empty_map(x, channels, CONTEXT_FRAMES, height, width).zero_())
    elif block.mode == "upsample3d":
        x = walk.conv(block.time_conv, x)
        times = 2
    window = empty_map(x, channels, num_frames * times, 2 * height + 2, 2 * width + 2)
    inside = (
        window[..., 1:-1, 1:-1].unflatten(4, (width, 2)).unflatten(3, (height, 2)).unflatten(2, (num_frames, times))
    )
    inside.copy_(x.unflatten(1, (times, channels)).permute(0, 2, 3, 1, 4, 5)[:, :, :, :, :, None, :, None])
    walk.surround(window)
    conv = block.resample[1]
    return _each_frame(lambda frames: F.conv2d(frames, conv.weight, conv.bias), window)


def _down_block(walk: CausalWalk, block: Any, x: Tensor) -> Tensor:
    y = x
    for resnet in block.resnets:
        y = _resnet(walk, resnet, y)
    if block.downsampler is not None:
        y = _each_frame(block.downsampler.resample, y)
        if block.downsampler.mode == "downsample3d" and walk.is_first:
            walk.leave(y)
        elif block.downsampler.mode == "downsample3d":
            y = walk.conv(block.downsampler.time_conv, y)
    shortcut: Tensor = block.avg_shortcut(x)
    return shortcut.add_(y)


def _each_frame(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer for pictures [N, C, H, W] to every frame of x [B, C, T, H, W]."""
    return layer(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


def _channels_to_pixels(x: Tensor, size: int) -> Tensor:
    """Unpack x [B, C · size · size, T, H, W], a patch's columns before its rows, into [B, C, T, size · H, size · W]."""
    return x.unflatten(1, (-1, size, size)).permute(0, 1, 4, 5, 3, 6, 2).flatten(5, 6).flatten(3, 4)


def _pixels_to_channels(x: Tensor, size: int) -> Tensor:
    """Pack x [B, C, T, size · H, size · W] into [B, C · size · size, T, H, W], a patch's columns before its rows."""
    return x.unflatten(4, (-1, size)).unflatten(3, (-1, size)).permute(0, 1, 6, 4, 2, 3, 5).flatten(1, 3)


def empty_wan_vae(config: Mapping[str, object]) -> AutoencoderKLWan:
    """Make the module of diffusers' configuration on the meta device: shapes and no memory.

    Raises:
        ValueError: the configuration is of Wan 2.1's VAE, whose blocks this walk does not know.
    """
    if not config.get("is_residual"):
        raise ValueError(f"is_residual must be true, as in Wan 2.2's VAE, got {config.get('is_residual')!r}")
    with torch.device("meta"):
        return AutoencoderKLWan(**{key: value for key, value in config.items() if not key.startswith("_")})


def load_wan_vae(
    state_dict: Mapping[str, Tensor],
    config: Mapping[str, object],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> WanVAE:
    """Make the VAE from its weights.

    Args:
        state_dict: weights under diffusers' names.
        config: diffusers' configuration, with the latents' released means and deviations.
        device: where it shall run.
        dtype: what it shall compute in; that of the weights when left out.

    Raises:
        ValueError: the configuration is not one this walk knows, or a weight is missing, unknown or of another shape.
    """
    module: Any = empty_wan_vae(config)
    load_weights(module, state_dict, device, dtype)
    return WanVAE(module)
