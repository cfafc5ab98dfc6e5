"""What the streaming video VAEs share: a session's causal state, the cached convolution, and what a family asks of them.

Both VAEs are causal in time: a convolution looks at its own frame and the two before it. Decoding latent by latent thus
needs, for every convolution, the last two frames that went into it, and nothing else (Wan, arXiv:2503.20314, section
4.1.3 calls it the feature cache). Here these frames are a value: `DecoderState` goes in with a latent and a new one
comes out with its frames. Nothing is kept on a module and nothing is changed in place, so a decode that fails leaves the
state it was given as it was, two sessions may take turns, and an old state is a place to branch from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FRAMES_PER_LATENT = 4
"""Frames that a latent stands for, except the first of a session, which stands for one."""

CONTEXT_FRAMES = 2
"""Frames of its past that a causal convolution of the decoder sees: a kernel of three, one of them its own frame."""


@dataclass(frozen=True, slots=True)
class DecoderState:
    """What a session's past left in the causal convolutions; fresh, it says that the next latent is the first one.

    It is a value: no decode changes the tensors of a state that it was given.
    """

    pasts: tuple[Tensor, ...] = ()
    """The last frames [B, C, 2, H, W] into each causal convolution, borders included, in the order they run."""
    num_latents: int = 0
    """Latents decoded so far. At 0 there is no past: the first latent gives one frame and skips the temporal up-samplers."""

    @property
    def num_bytes(self) -> int:
        """The memory that the tensors take."""
        return sum(past.numel() * past.element_size() for past in self.pasts)

    def to(self, device: torch.device | str) -> DecoderState:
        """The same state on another device."""
        return DecoderState(tuple(past.to(device) for past in self.pasts), self.num_latents)

    def clone(self) -> DecoderState:
        """The same state in memory of its own."""
        return DecoderState(tuple(past.clone() for past in self.pasts), self.num_latents)


class Columns(Protocol):
    """Which columns of every map are computed here: all of them, or a stripe that has neighbours."""

    def own(self, latent: Tensor) -> Tensor:
        """The columns [B, C, 1, h, w'] of a latent [B, C, 1, h, w] that are decoded here."""

    def exchange(self, frames: Tensor) -> None:
        """Overwrite, in place, an outermost column of frames [B, C, T, H, W' + 2] that is a neighbour's next one."""

    def gather(self, x: Tensor, num_columns: int) -> Tensor:
        """All columns [B, C, T, H, W] of a map of which these [B, C, T, H, W'] are computed here.

        Args:
            x: the columns computed here.
            num_columns: w, columns of the latent that it comes from; W is a multiple of it.
        """


class WholeWidth:
    """All columns are computed here."""

    def own(self, latent: Tensor) -> Tensor:
        """The latent itself."""
        return latent

    def exchange(self, frames: Tensor) -> None:
        """There is no neighbour."""

    def gather(self, x: Tensor, num_columns: int) -> Tensor:
        """The map itself."""
        return x


class VideoVAE(Protocol):
    """A causal video VAE as a session uses it. Latents are in the model's normalised space, frames are RGB in [-1, 1]."""

    @property
    def frame_rates(self) -> tuple[int, ...]:
        """Frames a latent at each cached convolution of the decoder, in the order they run."""

    def split(self, columns: Columns) -> None:
        """Compute only these columns of what is decoded from now on; states made before do not fit any more."""

    def initial_state(self) -> DecoderState:
        """The state before a session's first latent."""

    def decode(self, latent: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Decode the next latent of a session.

        Args:
            latent: [B, C, 1, h, w], normalised.
            state: what the latents before it left; it stays as it is, whether this succeeds or not.

        Returns:
            frames [B, 3, T, 16 h, 16 w] in [-1, 1], where T is 1 for the first latent and 4 after; and the next state.

        Raises:
            ValueError: the latent is not of that shape, or the state was made by latents of another size.
        """

    def encode(self, frames: Tensor, noise: Tensor | None = None) -> Tensor:
        """Encode a picture or a clip, one latent's frames at a time: the memory it takes does not grow with its length.

        Args:
            frames: [B, 3, 1 + 4 k, 16 h, 16 w] in [-1, 1].
            noise: [B, C, 1 + k, h, w], a standard normal draw, for a sample of the posterior; its mode without.

        Returns:
            [B, C, 1 + k, h, w] float32, normalised.

        Raises:
            ValueError: the frames or the noise are not of that shape.
        """


def history_latents(vae: VideoVAE) -> int:
    """How many latents, decoded from a fresh state, leave the same state to the bit as a session that went on.

    A convolution at `rate` frames a latent remembers ``2 / rate`` latents of its input, and its input is right only when
    those of all convolutions before it are; so what they remember adds up. The first latent's special treatment (one
    frame, no temporal up-sampling) touches only what comes after the convolutions at one frame a latent, which alone
    need more than one latent to fill.
    """
    return math.ceil(sum(CONTEXT_FRAMES / rate for rate in vae.frame_rates))


class CausalWalk:
    """One latent's way through a causal network: gives each convolution its past, in order, and keeps what it leaves.

    Args:
        state: what the latents before left.
        border: what lies outside of the picture, and before its first frame.
        columns: which columns of every map are computed here.
        num_columns: w, columns of the whole latent.
    """

    def __init__(
        self, state: DecoderState, border: Literal["replicate", "zeros"], columns: Columns, num_columns: int
    ) -> None:
        self.is_first = state.num_latents == 0
        self._pasts = iter(state.pasts)
        self._left: list[Tensor] = []
        self._num_latents = state.num_latents + 1
        self._replicates = border == "replicate"
        self._columns = columns
        self._num_columns = num_columns

    def conv(self, conv: nn.Conv3d, x: Tensor) -> Tensor:
        """Convolve x [B, C, T, H, W] seeing its past, giving as many frames and pixels (per stride) as went in."""
        depth = conv.kernel_size[0] - conv.stride[0]
        margin = conv.kernel_size[1] // 2
        channels, num_frames, height, width = x.shape[1:]
        window = empty_map(x, channels, depth + num_frames, height + 2 * margin, width + 2 * margin)
        window[:, :, depth:, margin : margin + height, margin : margin + width] = x
        if margin:
            self.surround(window[:, :, depth:])
        if not self.is_first:
            window[:, :, :depth] = next(self._pasts)
        elif self._replicates:
            window[:, :, :depth] = window[:, :, depth : depth + 1]
        else:
            window[:, :, :depth] = 0
        self.leave(window[:, :, -depth:].clone())
        return _convolve(window, conv)

    def leave(self, past: Tensor) -> None:
        """Keep a convolution's past for the next latent; `conv` does so, and who skips one on the first latent."""
        self._left.append(past)

    def surround(self, frames: Tensor) -> None:
        """Fill, in place, the outermost rows and columns of frames [B, C, T, H + 2, W + 2]."""
        for dim in (3, 4):
            for edge, inner in ((0, 1), (-1, -2)):
                if self._replicates:
                    frames.select(dim, edge).copy_(frames.select(dim, inner))
                else:
                    frames.select(dim, edge).zero_()
        self._columns.exchange(frames)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of every pixel of a frame to all pixels of it, one head; q, k, v and result [B, C, 1, H, W]."""
        keys, values = self._columns.gather(torch.cat([k, v], dim=1), self._num_columns).chunk(2, dim=1)
        tokens = [x.movedim(1, -1).flatten(1, 3).unsqueeze(1) for x in (q, keys, values)]
        mixed = F.scaled_dot_product_attention(tokens[0], tokens[1], tokens[2])
        return mixed.view(q.movedim(1, -1).shape).movedim(-1, 1)

    def next_state(self) -> DecoderState:
        """What this latent and those before it leave to the next one."""
        return DecoderState(tuple(self._left), self._num_latents)


def _convolve(window: Tensor, conv: nn.Conv3d) -> Tensor:
    """The convolution of a window [B, C, T, H, W], nothing added around it.

    On a CPU torch gives one small clip to a fallback that unfolds it in memory; a 2-D convolution for each frame of the
    kernel, summed, took between a half and a sixth of its time (32 to 128 channels, 2 cores, float32).
    """
    if not window.is_cpu:
        return F.conv3d(window, conv.weight, conv.bias, conv.stride)
    step, *plane_stride = conv.stride
    num_taps = conv.kernel_size[0]
    span = window.shape[2] - num_taps + 1
    frames = window.transpose(1, 2)
    taps = (
        F.conv2d(
            frames[:, tap : tap + span : step].flatten(0, 1),
            conv.weight[:, :, tap],
            conv.bias if tap == 0 else None,
            plane_stride,
        )
        for tap in range(num_taps)
    )
    total = next(taps)
    for tap in taps:
        total.add_(tap)
    return total.unflatten(0, (window.shape[0], -1)).transpose(1, 2)


def empty_map(like: Tensor, channels: int, num_frames: int, height: int, width: int) -> Tensor:
    """Memory for a map [B, channels, num_frames, height, width], channels last as the convolutions want them."""
    shape = (like.shape[0], channels, num_frames, height, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last_3d)


def rms_norm(x: Tensor, gamma: Tensor) -> Tensor:
    """Scale every pixel of x [B, C, T, H, W] to a root mean square of gamma, [C] in any shape, over its channels."""
    return F.rms_norm(x.movedim(1, -1), (gamma.numel(),), gamma.flatten(), eps=1e-24).movedim(-1, 1)


def rms_silu(x: Tensor, gamma: Tensor) -> Tensor:
    """`rms_norm`, then x · sigmoid(x)."""
    return F.silu(rms_norm(x, gamma), inplace=True)


def posterior(moments: Tensor, noise: Tensor | None) -> Tensor:
    """The mode of a diagonal Gaussian, or the sample that a standard normal draw stands for.

    Args:
        moments: [B, 2 C, T, h, w], means and log-variances; the latter are kept within [-30, 20] as the encoders' are.
        noise: [B, C, T, h, w], or none for the mode.

    Raises:
        ValueError: the noise is not of the means' shape.
    """
    mean, log_variance = moments.float().chunk(2, dim=1)
    if noise is None:
        return mean
    if noise.shape != mean.shape:
        raise ValueError(f"noise must be {list(mean.shape)} as the latents are, got {list(noise.shape)}")
    return mean + noise.to(mean) * (0.5 * log_variance.clamp(-30.0, 20.0)).exp()


def latent_frames(frames: Tensor, spatial_factor: int) -> list[Tensor]:
    """Cut a clip [B, 3, 1 + 4 k, H, W] into what its 1 + k latents stand for: one frame, then four each.

    Raises:
        ValueError: the clip is of another shape, or H or W is no multiple of `spatial_factor`.
    """
    if frames.ndim != 5 or frames.shape[1] != 3 or frames.shape[2] % FRAMES_PER_LATENT != 1:
        raise ValueError(f"frames must be [B, 3, 1 + 4 k, H, W], got {list(frames.shape)}")
    if frames.shape[3] % spatial_factor or frames.shape[4] % spatial_factor:
        raise ValueError(f"frames must be multiples of {spatial_factor} pixels, got {list(frames.shape[3:])}")
    return [frames[:, :, :1], *frames[:, :, 1:].split(FRAMES_PER_LATENT, dim=2)][: 1 + frames.shape[2] // 4]


def check_latent(latent: Tensor, channels: int, state: DecoderState) -> None:
    """Raise ValueError unless latent is [B, channels, 1, h, w] and of the size of those that made the state."""
    if latent.ndim != 5 or latent.shape[1] != channels or latent.shape[2] != 1:
        raise ValueError(f"latent must be [B, {channels}, 1, h, w], got {list(latent.shape)}")
    if state.pasts:
        batch, _, _, height, width = state.pasts[0].shape
        if (batch, height, width) != (latent.shape[0], latent.shape[3] + 2, latent.shape[4] + 2):
            wanted = [batch, channels, 1, height - 2, width - 2]
            raise ValueError(f"latent must be {wanted} as those that made the state, got {list(latent.shape)}")


def load_weights(
    module: nn.Module, tensors: Mapping[str, Tensor], device: torch.device | str, dtype: torch.dtype | None
) -> None:
    """Give a module made on the meta device its weights, key for key, ready to run there.

    Convolutions get their channels last, which is what cuDNN's half-precision kernels read.

    Raises:
        ValueError: names the keys that are missing, unknown or of another shape.
    """
    wanted = module.state_dict()
    wrong = [f"missing {key} {list(wanted[key].shape)}" for key in wanted if key not in tensors]
    wrong += [f"unknown {key} {list(tensors[key].shape)}" for key in tensors if key not in wanted]
    wrong += [
        f"{key} is {list(tensors[key].shape)}, wanted {list(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in tensors and tensors[key].shape != tensor.shape
    ]
    if wrong:
        shown = "; ".join(wrong[:8])
        raise ValueError(
            f"{len(wrong)} of the VAE's {len(wanted)} weights do not fit: {shown}{'; …' * (len(wrong) > 8)}"
        )
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    module.load_state_dict(
        {
            key: tensor.to(device, dtype).contiguous(memory_format=formats.get(tensor.ndim, torch.contiguous_format))
            for key, tensor in tensors.items()
        },
        assign=True,
    )
    module.requires_grad_(False).eval()
