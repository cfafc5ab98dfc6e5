"""The plane sweep of `sweep.py` once more, in torch, for CUDA: all planes and all neighbours at once.

It runs on any device that torch has, and on the CPU finds what `sweep.py` finds, but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from keepworld_exporters.stages.sweep import (
    FLAT,
    JUMP_COST,
    RADIUS,
    STEP_COST,
    UNSEEN,
    Picture,
    Swept,
    homographies,
)  # fmt: skip

_WALL = 1 << 20
_PIXELS_AT_ONCE = 1 << 26  # over planes and neighbours: bounds the memory, 4 bytes each and some copies


def sweep(
    reference: Picture, neighbours: Sequence[Picture], inverse_depths: NDArray[np.float64], *, device: str = "cuda"
) -> Swept:
    """Find the depth of a picture from its neighbours, as `sweep.sweep` does.

    Args:
        reference: the picture whose depth is wanted.
        neighbours: at least one, of the same size.
        inverse_depths: [D] the planes, 1 / depth, at least 3, ascending and evenly spaced.
        device: where to compute.
    """
    cost = matching_cost(reference, neighbours, inverse_depths, device=device)
    total = torch.zeros_like(cost)
    for paths in (cost, cost.transpose(0, 1)):
        sums = total if paths is cost else total.transpose(0, 1)
        for backward in (False, True):
            _along(paths, sums, backward=backward)
    place, lowest = _winners(cost, total)
    step = inverse_depths[1] - inverse_depths[0]
    inverse = (inverse_depths[0] + step * place.double()).clamp(min=0).float()
    return Swept(inverse=inverse.cpu().numpy(), agreement=(1 - lowest.float() / 127).cpu().numpy())


def matching_cost(
    reference: Picture, neighbours: Sequence[Picture], inverse_depths: NDArray[np.float64], *, device: str
) -> Tensor:
    """How badly the pictures agree at each pixel on each plane, [H, W, D] int32: 0 perfectly, 127 not at all."""
    grey = torch.as_tensor(reference.grey, device=device)
    greys = torch.as_tensor(np.stack([neighbour.grey for neighbour in neighbours]), device=device)
    H = torch.as_tensor(homographies(reference, neighbours, inverse_depths), device=device)
    some = max(1, _PIXELS_AT_ONCE // (grey.numel() * len(neighbours)))
    return torch.cat([_plane_costs(grey, greys, part) for part in H.split(some)]).permute(1, 2, 0).contiguous()


def _plane_costs(grey: Tensor, greys: Tensor, H: Tensor) -> Tensor:
    """Costs [D, H, W] of planes whose homographies H [D, N, 3, 3] draw neighbours greys [N, H, W] as grey [H, W] sees them."""
    height, width = grey.shape
    v, u = torch.meshgrid(
        torch.arange(height, device=grey.device) + 0.5, torch.arange(width, device=grey.device) + 0.5, indexing="ij"
    )
    pixels = torch.stack([u, v, torch.ones_like(u)]).double().reshape(3, -1)
    x, y, w = (H @ pixels).reshape(*H.shape[:2], 3, height, width).unbind(2)
    before = w >= 1e-9
    x, y = x / w.clamp(min=1e-9) - 0.5, y / w.clamp(min=1e-9) - 0.5
    inside = before & (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    warped = _bilinear(greys, x.clamp(0, width - 1.001), y.clamp(0, height - 1.001)) * before
    score = _correlation(grey - 0.5, warped - 0.5)
    best = torch.where(inside, score, -torch.inf).topk((H.shape[1] + 1) // 2, dim=1).values
    half = (inside.sum(1, keepdim=True) + 1) // 2
    counted = torch.arange(best.shape[1], device=best.device)[:, None, None] < half
    mean = torch.where(counted, best, 0).sum(1) / counted.sum(1).clamp(min=1)
    return torch.where(counted.any(1), (127 * (1 - mean)).clamp(max=254).int(), int(UNSEEN))


def _bilinear(greys: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Pictures greys [N, H, W] at places x, y [D, N, H, W] within them."""
    i, j = x.long(), y.long()
    p, q = (x - i).float(), (y - j).float()
    width = greys.shape[2]
    flat = greys.reshape(1, len(greys), -1).expand(len(x), -1, -1)
    corner = (j * width + i).reshape(*x.shape[:2], -1)

    def at(shift: int) -> Tensor:
        return flat.gather(2, corner + shift).reshape(x.shape)

    top = at(0) + p * (at(1) - at(0))
    bottom = at(width) + p * (at(width + 1) - at(width))
    return top + q * (bottom - top)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """The correlation of a [H, W] with each of b [D, N, H, W] in the window round each pixel, cut off at the edges."""

    def mean(values: Tensor) -> Tensor:
        shape = values.shape
        pooled = functional.avg_pool2d(
            values.reshape(-1, 1, *shape[-2:]), 2 * RADIUS + 1, stride=1, padding=RADIUS, count_include_pad=False
        )
        return pooled.reshape(shape)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = (mean(a * a) - mean_a**2).clamp(min=0), (mean(b * b) - mean_b**2).clamp(min=0)
    return (mean(a * b) - mean_a * mean_b) / ((var_a * var_b).sqrt() + float(FLAT))


def _along(cost: Tensor, total: Tensor, *, backward: bool) -> None:
    """Add the least cost of the paths along the second axis, all at once, to total [H, W, D]."""
    rows, length, planes = cost.shape
    state = torch.full((rows, planes + 2), _WALL, dtype=torch.int32, device=cost.device)
    state[:, 1:-1] = 0
    for k in range(length):
        u = length - 1 - k if backward else k
        least = state.amin(1, keepdim=True)
        beside = torch.minimum(state[:, :-2], state[:, 2:]) + STEP_COST
        best = torch.minimum(torch.minimum(state[:, 1:-1], beside), least + JUMP_COST) - least
        state[:, 1:-1] = best + cost[:, u]
        total[:, u] += state[:, 1:-1]


def _winners(cost: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """The plane of least total cost, to a fraction of a plane, and the cost there, both [H, W]."""
    planes = cost.shape[2]
    # The first of equals, whatever the device: an index is added where totals are the same.
    ranked = total.long() * planes + torch.arange(planes, device=total.device)
    place = ranked.argmin(2, keepdim=True)
    near = [total.gather(2, (place + shift).clamp(0, planes - 1)).double() for shift in (-1, 0, 1)]
    bend = near[0] - 2 * near[1] + near[2]
    inner = (place > 0) & (place < planes - 1) & (bend > 0)
    shift = torch.where(inner, 0.5 * (near[0] - near[2]) / bend, 0)
    return (place + shift)[..., 0].float(), cost.gather(2, place)[..., 0]
