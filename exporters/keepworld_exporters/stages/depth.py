"""What a captured frame says about the surface: masked depth, the plane at every pixel, and how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keepworld.capture import CapturedFrame
from keepworld.errors import ExportError
from numba import njit, prange
from numpy.typing import NDArray

from keepworld_exporters.stages.sources import DepthSource, SessionDepth, lasting_depth, moving_in

EDGE_STEP = 0.08  # a relative depth step between neighbours beyond which they are not one surface
LOW_TRUST = 0.05  # weight of pixels on depth edges or without confidence: they count only where nothing better does


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class View:
    """A frame made ready for fusion.

    Attributes:
        viewmat: [4, 4] world to camera, float64.
        K: [3, 3] intrinsics, float64.
        depth: [H, W] float32 along +z, the capture's units; 0 where nothing is known (moving things), inf for sky.
        normals: [H, W, 3] float32, camera axes, towards the camera; 0 where there is no depth.
        trust: [H, W] float32 in [0, 1].
        image: [H, W, 3] uint8 sRGB.
        lasting: [H, W] bool, where nothing moves; a depth may still not be known there.
    """

    viewmat: NDArray[np.float64]
    K: NDArray[np.float64]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    trust: NDArray[np.float32]
    image: NDArray[np.uint8]
    lasting: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolution:
    """How fine and how far a surface is made.

    Attributes:
        voxel: edge of a cell, the capture's units.
        max_depth: what lies further from a camera is left out of the mesh, and coarser in points and splats.
    """

    voxel: float
    max_depth: float


def load_view(frame: CapturedFrame, source: DepthSource | None = None) -> View:
    """Read a frame for fusion, with depth from a source (None: its own); sky becomes free space, moving things unknown.

    Raises:
        ExportError: the source has no depth for the frame.
    """
    known = (source or SessionDepth()).of(frame)
    depth = lasting_depth(frame, known.depth)
    normals, smooth = plane_normals(depth, frame.camera.K)
    trust = np.where(smooth, np.float32(1), np.float32(LOW_TRUST))
    if known.confidence is not None:
        trust = np.minimum(trust, np.maximum(known.confidence, np.float32(LOW_TRUST)))
    return View(
        viewmat=frame.camera.viewmat,
        K=frame.camera.K,
        depth=depth,
        normals=normals,
        trust=trust.astype(np.float32),
        image=frame.image(),
        lasting=~moving_in(frame, known),
    )


def typical_depth(frames: Sequence[CapturedFrame], source: DepthSource | None = None) -> float:
    """The median depth of the lasting world over a sample of the frames.

    Raises:
        ExportError: nothing lasting is seen in any of them.
    """
    source = source or SessionDepth()
    few = frames[:: max(1, len(frames) // 16)]
    sample = [lasting_depth(frame, source.of(frame).depth)[::8, ::8] for frame in few]
    seen = np.concatenate([depth[(depth > 0) & np.isfinite(depth)] for depth in sample])
    if not seen.size:
        raise ExportError("no frame shows any lasting surface, only sky or moving things: there is nothing to export")
    return float(np.median(seen))


def choose_resolution(
    focal: float, typical: float, *, voxel: float | None = None, max_depth: float | None = None
) -> Resolution:
    """Pick a cell size and a range that the pixels support; what is given is kept.

    A pixel covers depth / focal of the surface. The cell is one and a half such footprints at the typical depth, and the
    mesh ends where one footprint has grown to one and a half cells.

    Args:
        focal: focal length, pixels.
        typical: median depth, the capture's units.
        voxel, max_depth: as given by the user, or None.
    """
    if voxel is None:
        near = typical if max_depth is None else min(typical, 0.6 * max_depth)
        voxel = 1.5 * near / focal
    if max_depth is None:
        max_depth = 1.5 * voxel * focal
    return Resolution(voxel=float(f"{voxel:.3g}"), max_depth=float(f"{max_depth:.4g}"))


@njit(cache=True, parallel=True)
def plane_normals(depth: NDArray[np.float32], K: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The plane at every pixel of a depth map [H, W]: normals [H, W, 3] and whether the pixel is away from edges [H, W].

    Along each direction the neighbour nearer in depth is taken, so that a pixel beside an edge gets the plane of its own
    surface. A pixel without any neighbour on its surface faces the camera.
    """
    height, width = depth.shape
    normals = np.zeros((height, width, 3), np.float32)
    smooth = np.zeros((height, width), np.bool_)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    for v in prange(height):
        for u in range(width):
            d = np.float64(depth[v, u])
            if d == 0 or d == np.inf:
                continue
            left = np.float64(depth[v, u - 1]) if u > 0 else 0.0
            right = np.float64(depth[v, u + 1]) if u + 1 < width else 0.0
            up = np.float64(depth[v - 1, u]) if v > 0 else 0.0
            down = np.float64(depth[v + 1, u]) if v + 1 < height else 0.0
            slope_u, fine_u = _slope(left, d, right)
            slope_v, fine_v = _slope(up, d, down)
            # 1 / depth of a plane is linear in u, v: its normal is (fx a, fy b, c) with 1/z = a u + b v + c'
            a, b = slope_u * fx, slope_v * fy
            ray_x, ray_y = (u + 0.5 - cx) / fx, (v + 0.5 - cy) / fy
            c = 1.0 / d - a * ray_x - b * ray_y
            length = np.sqrt(a * a + b * b + c * c)
            normals[v, u, 0] = -a / length
            normals[v, u, 1] = -b / length
            normals[v, u, 2] = -c / length
            smooth[v, u] = fine_u and fine_v
    return normals, smooth


@njit(cache=True, inline="always")
def _slope(before: float, here: float, after: float) -> tuple[float, bool]:
    """The change of 1 / depth from a pixel to the next, from the smoother side, and whether both sides are smooth."""
    inverse = 1.0 / here
    step_before = inverse - 1.0 / before if 0 < before < np.inf else np.inf
    step_after = 1.0 / after - inverse if 0 < after < np.inf else np.inf
    best = step_before if abs(step_before) < abs(step_after) else step_after
    limit = EDGE_STEP * inverse
    # On a plane the two steps are equal, however steep it is: only a bend or a gap makes them differ.
    bend = abs(step_before - step_after) if step_before < np.inf and step_after < np.inf else np.inf
    if bend < 0.25 * limit or abs(best) < limit:
        return best, bend < limit
    return 0.0, False
