"""gsplat's own formulas in plain torch, on the CPU: slow, and somebody else's. Measured and tested against, never used to export.

Projection, harmonics and the sorting into tiles are gsplat's (`gsplat.cuda._torch_impl`). Its blending needs CUDA even there; the
one here is the textbook's, a tile at a time, and torch differentiates all of it.
"""

from __future__ import annotations

import numpy as np
import torch
from gsplat.cuda import _torch_impl as pieces
from numpy.typing import NDArray
from torch import Tensor

from keepworld_exporters.rasterize.blend import DONE, MAX_ALPHA, MIN_ALPHA
from keepworld_exporters.rasterize.project import EPS2D, NEAR
from keepworld_exporters.rasterize.rasterizer import Drawing, Gradients, Pinhole
from keepworld_exporters.rasterize.tiles import TILE
from keepworld_exporters.scene import Splats

_NAMES = ("means", "quats", "scales", "opacities", "sh0", "shN")


class GsplatTorchRasterizer:
    """A `Rasterizer` to compare others with."""

    def draw(self, splats: Splats, camera: Pinhole, *, degree: int) -> Drawing:
        """Draw splats with their harmonics up to `degree`."""
        given = {name: torch.tensor(getattr(splats, name), requires_grad=True) for name in _NAMES}
        viewmat = torch.tensor(camera.viewmat, dtype=torch.float32, requires_grad=True)
        covars, _ = pieces._quat_scale_to_covar_preci(given["quats"], given["scales"], compute_preci=False)
        radii, means2d, depths, conics, shrinks = pieces._fully_fused_projection(
            given["means"], covars, viewmat[None], torch.tensor(camera.K, dtype=torch.float32)[None],
            camera.width, camera.height, eps2d=EPS2D, near_plane=NEAR, calc_compensations=splats.antialiased,
        )  # fmt: skip
        opacities = given["opacities"] if shrinks is None else given["opacities"] * shrinks[0]
        directions = given["means"] - torch.linalg.inv(viewmat)[:3, 3]
        coefficients = torch.cat([given["sh0"][:, None], given["shN"]], 1)
        colours = (pieces._spherical_harmonics(degree, directions, coefficients) + 0.5).clamp(min=0)
        across, down = -(-camera.width // TILE), -(-camera.height // TILE)
        _, ids, members = pieces._isect_tiles(means2d.detach(), radii, depths.detach(), TILE, across, down)
        starts = [*pieces._isect_offset_encode(ids, 1, across, down).flatten().tolist(), len(members)]
        values = torch.cat([colours, torch.ones_like(depths[0])[:, None], depths[0][:, None]], 1)
        rows = []
        for tile in range(across * down):
            some = members[starts[tile] : starts[tile + 1]].long()
            corner = (tile % across * TILE, tile // across * TILE)
            rows.append(_blended(means2d[0, some], conics[0, some], opacities[some], values[some], corner))
        grid = torch.stack(rows).reshape(down, across, TILE, TILE, 5).permute(0, 2, 1, 3, 4)
        out = grid.reshape(down * TILE, across * TILE, 5)[: camera.height, : camera.width]

        def pull(wanted: NDArray[np.float32]) -> Gradients:
            inputs = [*given.values(), viewmat]
            found = torch.autograd.grad(out, inputs, torch.as_tensor(wanted), materialize_grads=True)
            arrays = dict(zip((*_NAMES, "viewmat"), (gradient.numpy() for gradient in found), strict=True))
            return Gradients(**(arrays | {"viewmat": arrays["viewmat"].astype(np.float64)}))

        return Drawing(out=out.detach().numpy(), seen=(radii[0] > 0).all(1).numpy(), pull=pull)


def _blended(means2d: Tensor, conics: Tensor, opacities: Tensor, values: Tensor, corner: tuple[int, int]) -> Tensor:
    """A tile's pixels [256, 5] from its Gaussians, front to back: values [M, 5] of each."""
    v, u = torch.meshgrid(torch.arange(TILE) + 0.5 + corner[1], torch.arange(TILE) + 0.5 + corner[0], indexing="ij")
    du, dv = u.reshape(-1, 1) - means2d[:, 0], v.reshape(-1, 1) - means2d[:, 1]
    power = 0.5 * (conics[:, 0] * du**2 + conics[:, 2] * dv**2) + conics[:, 1] * du * dv
    alpha = (opacities * torch.exp(-power)).clamp(max=MAX_ALPHA)
    alpha = torch.where(alpha < MIN_ALPHA, 0.0, alpha)
    after = torch.cumprod(1 - alpha, 1)
    before = torch.cat([torch.ones(len(after), 1), after[:, :-1]], 1)
    share = torch.where(after > DONE, alpha * before, 0.0)
    return share @ values
