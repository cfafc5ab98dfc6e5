"""A file against frames that were not used to make it: drawn from the same cameras, compared pixel by pixel.

`psnr` and `ssim` are of the lasting world (no sky, nothing that moves), whether or not the file shows anything there: what it
leaves out is black. `psnr_covered` is of those of its pixels that the file covers; `coverage` says how many these are. `psnr_all`
and `ssim_all` are of every pixel, sky included. `lpips` is of the lasting world, where its weights are installed. `floaters` is
the share of the lasting world's pixels where the file has something well before what the frame shows; `depth_error` the median
of how far a mesh is off, in parts of the distance (the depth of splats is a mean, and says nothing as exact).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from keepworld.capture import CapturedFrame
from numpy.typing import NDArray

from keepworld_exporters.measure import psnr, ssim
from keepworld_exporters.perceptual import LEAST, installed_lpips
from keepworld_exporters.rasterize.cpu import render_splats
from keepworld_exporters.rasterize.solid import render_mesh
from keepworld_exporters.scene import Mesh, Splats
from keepworld_exporters.stages.select import evenly

MAX_HELDOUT = 24  # frames that are compared
FIGURES = ("psnr", "ssim", "psnr_covered", "psnr_all", "ssim_all", "coverage", "floaters", "depth_error", "lpips")
SAMPLES = 2  # rays across a pixel of a mesh: frames are smooth at edges, too
BEFORE = 0.1  # in parts of the distance: what is nearer than the frame says by more than this floats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawing:
    """What a camera sees of a file: image [H, W, 3] in [0, 1] over black, alpha [H, W], depth [H, W] along +z, 0 for none.

    `is_mean`: whether the depth is a mean over what lies behind one another.
    """

    image: NDArray[np.float32]
    alpha: NDArray[np.float32]
    depth: NDArray[np.float32]
    is_mean: bool = False


def compare(
    scene: Splats | Mesh, heldout: Sequence[CapturedFrame], on_step: Callable[[], None] = lambda: None
) -> dict[str, object]:
    """Draw a scene at held-out cameras and compare: the means of `FIGURES`, and under `heldout` those of each frame."""
    rows = []
    for frame in evenly(heldout, MAX_HELDOUT):
        rows.append({"frame": frame.number, **compare_one(see(scene, frame), frame)})
        on_step()
    if not rows:
        return {}
    means: dict[str, object] = {}
    for name in FIGURES:
        values = [value for row in rows if isinstance(value := row[name], float)]
        means[name] = round(float(np.mean(values)), 4) if values else None
    return {**means, "heldout": rows}


def see(scene: Splats | Mesh, frame: CapturedFrame) -> Drawing:
    """Draw a scene as a frame's camera sees it."""
    camera = frame.camera
    size = (camera.width, camera.height)
    if isinstance(scene, Mesh):
        mesh = render_mesh(scene, camera.viewmat, camera.K, *size, samples=SAMPLES)
        return Drawing(image=mesh.image, alpha=mesh.alpha, depth=mesh.depth)
    splats = render_splats(scene, camera.viewmat, camera.K, *size)
    depth = np.where(splats.alpha > 0.5, splats.depth / np.maximum(splats.alpha, 0.5), 0)
    return Drawing(image=np.clip(splats.image, 0, 1), alpha=splats.alpha, depth=depth.astype(np.float32), is_mean=True)


def compare_one(drawing: Drawing, frame: CapturedFrame) -> dict[str, float | None]:
    """The figures of one frame; None where there is nothing to compare."""
    image, truth, lasting, depth = drawing.image, frame.image() / np.float32(255), frame.lasting(), frame.depth()
    covered = lasting & (drawing.alpha > 0.5)
    row: dict[str, float | None] = dict.fromkeys(FIGURES)
    row |= {"psnr_all": psnr(image, truth), "ssim_all": ssim(image, truth)}
    if lasting.any():
        row |= {
            "psnr": psnr(image, truth, lasting),
            "ssim": ssim(image, truth, lasting),
            "coverage": float(covered.sum() / lasting.sum()),
        }
        lpips = installed_lpips()
        if lpips is not None and min(lasting.shape) >= LEAST:
            row["lpips"] = lpips(np.where(lasting[..., None], image, truth), truth)
    if covered.any():
        row["psnr_covered"] = psnr(image, truth, covered)
    if depth is not None and (known := covered & (depth > 0) & (drawing.depth > 0)).any():
        off = (drawing.depth[known] - depth[known]) / depth[known]
        row["floaters"] = float((off < -BEFORE).sum() / lasting.sum())
        row["depth_error"] = None if drawing.is_mean else float(np.median(np.abs(off)))
    return row
