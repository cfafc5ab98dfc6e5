"""Gaussian splats to pictures and back by gsplat, on CUDA: the second `Rasterizer`.

Needs torch and gsplat, which no extra installs. Splats go to the device and gradients come back with every picture.
"""

from __future__ import annotations

import numpy as np
import torch
from gsplat import rasterization
from numpy.typing import NDArray

from keepworld_exporters.rasterize.project import NEAR
from keepworld_exporters.rasterize.rasterizer import Drawing, Gradients, Pinhole
from keepworld_exporters.scene import Splats

_NAMES = ("means", "quats", "scales", "opacities", "sh0", "shN")


class GsplatRasterizer:
    """The `Rasterizer` for machines with a CUDA device."""

    def draw(self, splats: Splats, camera: Pinhole, *, degree: int) -> Drawing:
        """Draw splats with their harmonics up to `degree`."""
        given = {name: _to_device(getattr(splats, name)) for name in _NAMES}
        viewmat = _to_device(camera.viewmat)
        drawn, alpha, about = rasterization(
            given["means"],
            given["quats"],
            given["scales"],
            given["opacities"],
            torch.cat([given["sh0"][:, None], given["shN"]], 1),
            viewmat[None],
            torch.as_tensor(camera.K, dtype=torch.float32, device="cuda")[None],
            camera.width,
            camera.height,
            near_plane=NEAR,
            sh_degree=degree,
            packed=False,
            render_mode="RGB+D",
            rasterize_mode="antialiased" if splats.antialiased else "classic",
        )
        out = torch.cat([drawn[0, ..., :3], alpha[0], drawn[0, ..., 3:]], -1)

        def pull(wanted: NDArray[np.float32]) -> Gradients:
            inputs = [*given.values(), viewmat]
            found = torch.autograd.grad(out, inputs, torch.as_tensor(wanted, device="cuda"), materialize_grads=True)
            arrays = dict(zip((*_NAMES, "viewmat"), (gradient.cpu().numpy() for gradient in found), strict=True))
            return Gradients(**(arrays | {"viewmat": arrays["viewmat"].astype(np.float64)}))

        seen = (about["radii"][0] > 0).reshape(len(splats.means), -1).all(1)
        return Drawing(out=out.detach().cpu().numpy(), seen=seen.cpu().numpy(), pull=pull)


def _to_device(array: NDArray[np.floating]) -> torch.Tensor:
    return torch.tensor(array, dtype=torch.float32, device="cuda", requires_grad=True)
