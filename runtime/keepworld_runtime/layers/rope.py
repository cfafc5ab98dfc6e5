"""Rotary position embedding along time, height and width.

Source: Su et al., "RoFormer" (arXiv 2104.09864), with the head's channels split between the three axes as in HunyuanVideo
and Wan. Pairs are neighbouring channels (2j, 2j + 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def grid_positions(times: Sequence[float] | Tensor, height: int, width: int, pooling: int = 1) -> Tensor:
    """Places [T·(h/p)·(w/p), 3] (time, row, column), float64, of latents of height × width tokens, row by row.

    With `pooling` p, one token stands for a square of p × p, in whose middle it is.
    """
    middle = (pooling - 1) / 2
    rows = torch.arange(0, height, pooling, dtype=torch.float64) + middle
    columns = torch.arange(0, width, pooling, dtype=torch.float64) + middle
    axes = torch.meshgrid(torch.as_tensor(times, dtype=torch.float64), rows, columns, indexing="ij")
    return torch.stack(axes, dim=-1).reshape(-1, 3)


def rotary_table(positions: Tensor, dims: Sequence[int], theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine [S, sum(dims) / 2], float32, for positions [S, 3]; axis i turns dims[i] channels.

    Angles are taken in float64: place · theta^(-2k / dims[i]) for k < dims[i] / 2.
    """
    angles = []
    for axis, dim in enumerate(dims):
        channels = torch.arange(0, dim, 2, dtype=torch.float64, device=positions.device)
        angles.append(positions[:, axis, None].double() * theta ** (-channels / dim))
    table = torch.cat(angles, dim=-1)
    return table.cos().float(), table.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the channel pairs of x [..., S, d] by the table [S, d / 2], in float32; gives x's dtype."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2).to(x.dtype)
