"""Gaussian splats to pictures and back, on the CPU.

Everything is ordered by stable sorts, each tile belongs to one thread and sums run in a fixed order: the same input gives the
same bytes on any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.rasterize.blend import add_up, blend, blend_back
from keepworld_exporters.rasterize.harmonics import BANDS, shade, shade_back
from keepworld_exporters.rasterize.project import project, project_back
from keepworld_exporters.rasterize.rasterizer import Drawing, Gradients, Pinhole
from keepworld_exporters.rasterize.tiles import bin_tiles, depth_order
from keepworld_exporters.scene import Splats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """What a camera sees.

    Attributes:
        image: [H, W, 3] float32, sRGB in [0, 1] (a little beyond where harmonics overshoot), over black.
        alpha: [H, W] float32, how much of the pixel is covered.
        depth: [H, W] float32, depth along +z weighted like the colours; divide by alpha for the mean.
    """

    image: NDArray[np.float32]
    alpha: NDArray[np.float32]
    depth: NDArray[np.float32]


def render_splats(
    splats: Splats, viewmat: NDArray[np.float64], K: NDArray[np.float64], width: int, height: int
) -> Picture:
    """Draw splats as seen by a camera: viewmat [4, 4] world to camera, K [3, 3] in pixels."""
    camera = Pinhole(viewmat=viewmat, K=K, width=width, height=height)
    out = CpuRasterizer().draw(splats, camera, degree=BANDS.index(splats.shN.shape[1])).out
    return Picture(image=out[..., :3], alpha=out[..., 3], depth=out[..., 4])


class CpuRasterizer:
    """The `Rasterizer` that runs anywhere."""

    def draw(self, splats: Splats, camera: Pinhole, *, degree: int) -> Drawing:
        """Draw splats with their harmonics up to `degree`."""
        bands = BANDS[degree]
        viewmat, K, width, height = camera.viewmat, camera.K, camera.width, camera.height
        antialiased = splats.antialiased
        geometry = (splats.means, splats.quats, splats.scales, splats.opacities)
        flat = project(*geometry, viewmat, K, width, height, antialiased=antialiased)
        inverse = np.linalg.inv(viewmat)
        centre = np.ascontiguousarray(inverse[:3, 3])
        colours = shade(splats.means, splats.sh0, splats.shN, centre, flat.boxes, bands)
        starts, members = bin_tiles(depth_order(flat.depths, flat.boxes), flat.boxes, width, height)
        given = (starts, members, flat.ellipses, flat.means2d, flat.conics, flat.depths, flat.opacities, colours)
        out = blend(*given, width, height)

        def pull(wanted: NDArray[np.float32]) -> Gradients:
            sums = add_up(members, blend_back(*given, out, wanted), len(splats.means))
            by_means, by_sh0, by_shN, by_centre = shade_back(
                sums[:, 6:9], colours, splats.means, splats.shN, centre, flat.boxes, bands
            )
            by_quats, by_scales, by_opacities, by_viewmat = project_back(
                sums,
                flat.boxes,
                flat.conics,
                flat.opacities,
                *geometry,
                viewmat,
                K,
                width,
                height,
                antialiased,
                by_means,
            )
            # The camera stands at the inverse's last column, which moves by -inverse d(viewmat) inverse.
            by_viewmat -= np.outer(inverse[:3].T @ by_centre, inverse[:, 3])
            by_viewmat[3] = 0  # a camera's last row is always 0 0 0 1
            return Gradients(
                means=by_means, quats=by_quats, scales=by_scales, opacities=by_opacities, sh0=by_sh0, shN=by_shN,
                viewmat=by_viewmat,
            )  # fmt: skip

        return Drawing(out=out, seen=flat.boxes[:, 2] > flat.boxes[:, 0], pull=pull)
