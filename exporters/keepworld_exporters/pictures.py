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


def draw(scene: Scene, camera: Camera, *, background: NDArray[np.uint8] = BACKGROUND) -> NDArray[np.uint8]:
    """A picture [H, W, 3] of any kind of scene as a camera sees it."""
    viewmat, K, width, height = camera.viewmat, camera.K, camera.width, camera.height
    match scene:
        case Splats():
            seen = render_splats(scene, viewmat, K, width, height)
            return to_bytes(seen.image + (1 - seen.alpha[..., None]) * (background / np.float32(255)))
        case Mesh():
            shown = render_mesh(scene, viewmat, K, width, height, samples=2)
            return to_bytes(shown.image + (1 - shown.alpha[..., None]) * (background / np.float32(255)))
        case Points():
            return render_points(scene, viewmat, K, width, height, background=background)


def overlook(places: NDArray[np.floating], forward: NDArray[np.float64], *, width: int, height: int) -> Camera:
    """A camera high above that has most of the places [N, 3] in view, looking on as `forward` [3] does, but down."""
    low, high = np.quantile(places.astype(np.float64), [0.04, 0.96], axis=0)
    middle, K = (low + high) / 2, intrinsics(width, height, np.deg2rad(50))
    level = forward * [1.0, 0.0, 1.0]
    level = level / np.linalg.norm(level) if np.linalg.norm(level) > 1e-6 else np.array([0.0, 0.0, 1.0])
    down = np.deg2rad(40)
    ahead = level * np.cos(down) + np.array([0.0, np.sin(down), 0.0])
    right = np.cross([0.0, 1.0, 0.0], ahead)
    right /= np.linalg.norm(right)
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack([right, np.cross(ahead, right), ahead], 1)
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), -1).reshape(-1, 3) - middle
    seen = corners @ c2w[:3, :3]
    tangents = 0.5 * np.array([width / K[0, 0], height / K[1, 1]])
    away = float((np.abs(seen[:, :2]) / tangents - seen[:, 2:]).max())
    c2w[:3, 3] = middle - 0.85 * away * ahead
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
