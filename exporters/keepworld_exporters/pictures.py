"""Pictures for the report: what a file looks like from a held-out camera and from above, and a sheet of frames."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from keepworld.camera import Camera, intrinsics
from keepworld.capture import CapturedFrame
from numpy.typing import NDArray
from PIL import Image

from keepworld_exporters.rasterize.cpu import render_splats
from keepworld_exporters.rasterize.solid import render_mesh, render_points
from keepworld_exporters.scene import Mesh, Points, Scene, Splats

BACKGROUND = np.array([206, 214, 224], np.uint8)
JPEG_QUALITY = 85


def draw(scene: Scene, camera: Camera) -> NDArray[np.uint8]:
    """A picture [H, W, 3] of any kind of scene as a camera sees it."""
    viewmat, K, width, height = camera.viewmat, camera.K, camera.width, camera.height
    match scene:
        case Splats():
            seen = render_splats(scene, viewmat, K, width, height)
            return to_bytes(seen.image + (1 - seen.alpha[..., None]) * (BACKGROUND / np.float32(255)))
        case Mesh():
            return render_mesh(scene, viewmat, K, width, height, background=BACKGROUND)[0]
        case Points():
            return render_points(scene, viewmat, K, width, height, background=BACKGROUND)


def overlook(centres: NDArray[np.float64], reach: float, *, width: int, height: int) -> Camera:
    """A camera high up beside a path [N, 3] that has all of it, and `reach` around it, in view."""
    middle = (centres.min(0) + centres.max(0)) / 2
    level = (centres - middle)[:, [0, 2]]
    # Along the shorter way across the path, so that the longer one lies across the picture.
    _, _, axes = np.linalg.svd(level, full_matrices=True)
    across = np.array([axes[1, 0], 0.0, axes[1, 1]])
    if across @ (centres[0] - middle) > 0:
        across = -across
    K = intrinsics(width, height, np.deg2rad(50))
    radius = float(np.linalg.norm(level, axis=1).max(initial=0)) + 0.5 * reach
    away = 1.15 * radius / np.tan(np.deg2rad(25))
    down = np.deg2rad(38)
    forward = across * np.cos(down) + np.array([0.0, np.sin(down), 0.0])
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    c2w[:3, 3] = middle - away * forward
    return Camera(c2w=c2w, K=K, width=width, height=height)


def contact_sheet(
    frames: Sequence[CapturedFrame], *, columns: int = 6, rows: int = 4, width: int = 1200
) -> NDArray[np.uint8]:
    """Small pictures of frames spread evenly over the walk, in reading order, [H, W, 3]."""
    chosen = [frames[round(k)] for k in np.linspace(0, len(frames) - 1, min(len(frames), columns * rows))]
    cell = width // columns
    tall = round(cell * frames[0].camera.height / frames[0].camera.width)
    sheet = Image.new("RGB", (cell * columns, tall * -(-len(chosen) // columns)), (24, 26, 30))
    for k, frame in enumerate(chosen):
        small = Image.fromarray(frame.image()).resize((cell - 4, tall - 4), Image.Resampling.LANCZOS)
        sheet.paste(small, (k % columns * cell + 2, k // columns * tall + 2))
    return np.asarray(sheet)


def to_bytes(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours in [0, 1] as uint8."""
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """A picture [H, W, 3] as a JPEG file."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=JPEG_QUALITY, optimize=True, progressive=True)
    return out.getvalue()
