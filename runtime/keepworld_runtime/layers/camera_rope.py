"""Cameras in attention: projective positional encoding.

Source: Li et al., "Cameras as relative positional encoding" (PRoPE), its projective part on all channels, as WorldPlay uses
it: with P = diag(fx, fy, 1, 1) · viewmat, attention runs on q' = Pᵀq, k' = P⁻¹k, v' = P⁻¹v, and its output is P·o', each for
every four neighbouring channels. So a query meets a key through P_q · P_k⁻¹, their relative projection. Principal point and
skew are left out, as in training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keepworld_runtime.layers.tokens import TokenLayout


@dataclass(frozen=True, slots=True, eq=False)
class CameraMaps:
    """P and its inverse, [B, T, 4, 4] float32, a latent."""

    project: Tensor
    unproject: Tensor

    def __getitem__(self, latents: slice) -> CameraMaps:
        """The maps of some of the latents."""
        return CameraMaps(self.project[:, latents], self.unproject[:, latents])

    def on_query(self, q: Tensor, layout: TokenLayout) -> Tensor:
        """Pᵀq for q [B, H, S, d]."""
        return _apply(self.project.mT, q, layout)

    def on_key(self, k: Tensor, layout: TokenLayout) -> Tensor:
        """P⁻¹k for keys or values [B, H, S, d]."""
        return _apply(self.unproject, k, layout)

    def on_output(self, o: Tensor, layout: TokenLayout) -> Tensor:
        """P·o for an attention's output [B, H, S, d]."""
        return _apply(self.project, o, layout)


def camera_maps(
    viewmats: NDArray[np.float64], Ks: NDArray[np.float64], device: torch.device | str = "cpu"
) -> CameraMaps:
    """The maps of cameras [..., T, 4, 4] (world to camera) with normalised intrinsics [..., T, 3, 3].

    Computed in float64 on the host, with the inverse of a rigid motion for the inverse of viewmat, and then cast.
    """
    rotation, translation = viewmats[..., :3, :3], viewmats[..., :3, 3:]
    back = np.swapaxes(rotation, -1, -2)
    inverse = np.zeros_like(viewmats)
    inverse[..., :3, :3], inverse[..., :3, 3:], inverse[..., 3, 3] = back, -back @ translation, 1.0
    scale = np.ones(viewmats.shape[:-1])
    scale[..., 0], scale[..., 1] = Ks[..., 0, 0], Ks[..., 1, 1]
    project, unproject = scale[..., :, None] * viewmats, inverse / scale[..., None, :]
    tensors = (torch.from_numpy(np.ascontiguousarray(each, np.float32)).to(device) for each in (project, unproject))
    return CameraMaps(*(each.reshape(-1, *each.shape[-3:]) for each in tensors))


def _apply(maps: Tensor, x: Tensor, layout: TokenLayout) -> Tensor:
    """Multiply every four channels of x [B, H, S, d] by its latent's map [B, T, 4, 4], in float32; gives x's dtype."""

    def act(tokens: Tensor, maps: Tensor) -> Tensor:
        fours = tokens.float().unflatten(-1, (-1, 4)).flatten(-3, -2)  # [B, H, T, n·d/4, 4]
        return (fours @ maps.squeeze(3).mT).reshape(tokens.shape).to(tokens.dtype)

    return layout.framewise(act, x, maps[:, None], dim=2)
