"""Worlds with a closed form: their pictures, depth, cameras and surfaces are known without any of the code under test.

Everything is in the session's frame: metres, x right, y down, z forward. A world is a list of solids; a ray is met by the
nearest of them. Rays have z = 1 in the camera, so the ray parameter is the depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keepworld import png
from keepworld.camera import Camera, PoseSource, Units, intrinsics
from keepworld.capture import Capture
from keepworld.capture_writer import CaptureWriter, Provenance
from keepworld.frames import Chunk, Encoding, EventRecord, Frame, Label, Latency
from keepworld.motion import NEUTRAL
from numpy.typing import NDArray

Colour = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # points [N, 3] -> sRGB in [0, 255], [N, 3]

# The letter F on the wall z = 3: the y axis points down, so its arms are at the smaller y and reach towards +x.
F_WALL_Z = 3.0
F_STROKES = (((-0.6, -0.3), (-0.8, 0.8)), ((-0.6, 0.5), (-0.8, -0.5)), ((-0.6, 0.2), (-0.1, 0.2)))
F_INK, F_PAPER = (20, 20, 20), (230, 225, 215)
F_DARK_PLACES = [(-0.45, 0.6, 3.0), (0.35, -0.65, 3.0), (0.1, 0.05, 3.0)]  # foot of the stem, tips of the two arms
F_LIGHT_PLACES = [
    (0.35, 0.6, 3.0),
    (0.45, 0.65, 3.0),
    (0.4, 0.05, 3.0),
    (-0.8, -0.65, 3.0),
]  # dark if it were turned or mirrored
BARS = {  # name -> (low corner, high corner, colour); each starts at (0.9, 0.3, 2) and runs along its axis
    "x": ((0.9, 0.25, 1.95), (1.5, 0.35, 2.05), (220, 30, 30)),
    "y": ((0.85, 0.35, 1.95), (0.95, 0.9, 2.05), (30, 200, 40)),
    "z": ((0.85, 0.25, 2.05), (0.95, 0.35, 2.7), (40, 50, 230)),
}
BAR_PLACES = {"x": (1.3, 0.3, 1.95), "y": (0.9, 0.75, 1.95), "z": (0.9, 0.25, 2.5)}


@dataclass(frozen=True)
class Solid:
    """Something a ray can meet: an axis-aligned box, or a ball."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    colour: Colour
    ball: bool = False
    moving: bool = False

    def meet(self, origin: NDArray[np.float64], rays: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ray parameters [N] of the first meeting in front of `origin`, inf where there is none."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.ball:
                centre, radius = (low + high) / 2, (high[0] - low[0]) / 2
                a, b = (rays**2).sum(1), rays @ (origin - centre)
                root = np.sqrt(b * b - a * (((origin - centre) ** 2).sum() - radius**2))
                near = (-b - root) / a
                return np.where(np.isfinite(near) & (near > 1e-9), near, np.inf)
            to_low, to_high = (low - origin) / rays, (high - origin) / rays
            near = np.minimum(to_low, to_high).max(1)
            far = np.maximum(to_low, to_high).min(1)
        return np.where((near <= far) & (near > 1e-9), near, np.inf)


def plain(*rgb: float) -> Colour:
    """One colour everywhere."""
    return lambda points: np.broadcast_to(np.asarray(rgb, np.float64), points.shape)


def chequered(rgb: Sequence[float], size: float, contrast: float = 0.25) -> Colour:
    """A colour in softly alternating cells."""

    def colour(points: NDArray[np.float64]) -> NDArray[np.float64]:
        wave = np.sin(points * (math.pi / size)).prod(1) if size else 0
        return np.clip(np.asarray(rgb) * (1 + contrast * wave[:, None]), 0, 255)

    return colour


def letter(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colour of the wall with the letter F."""
    x, y = points[:, 0], points[:, 1]
    ink = np.zeros(len(points), bool)
    for (x0, x1), (y0, y1) in F_STROKES:
        ink |= (x > x0) & (x < x1) & (y > y0) & (y < y1)
    return np.where(ink[:, None], F_INK, F_PAPER).astype(np.float64)


def look(centre: Sequence[float], target: Sequence[float]) -> NDArray[np.float64]:
    """c2w [4, 4] of a camera at `centre` that looks at `target`, its x axis level."""
    forward = np.asarray(target, np.float64) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross((0.0, 1.0, 0.0), forward)
    right /= np.linalg.norm(right)
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    c2w[:3, 3] = centre
    return c2w


def render(solids: Sequence[Solid], camera: Camera) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """Picture [H, W, 3], depth [H, W] and labels [H, W] of a world, four rays a pixel for the picture."""
    height, width = camera.height, camera.width

    def trace(du: float, dv: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        u, v = np.meshgrid(np.arange(width) + du, np.arange(height) + dv)
        rays = np.stack(
            [(u - camera.K[0, 2]) / camera.K[0, 0], (v - camera.K[1, 2]) / camera.K[1, 1], np.ones_like(u)], -1
        )
        rays = rays.reshape(-1, 3) @ camera.c2w[:3, :3].T
        meets = np.stack([solid.meet(camera.centre, rays) for solid in solids])
        nearest, depth = meets.argmin(0), meets.min(0)
        colours = np.broadcast_to(np.array([150.0, 190.0, 240.0]), rays.shape).copy()
        moving = np.zeros(len(rays), np.bool_)
        for k, solid in enumerate(solids):
            hit = (nearest == k) & np.isfinite(depth)
            colours[hit] = solid.colour(camera.centre + rays[hit] * depth[hit, None])
            moving |= hit & solid.moving
        return colours, depth, moving

    _, depth, moving = trace(0.5, 0.5)
    colours = np.mean([trace(du, dv)[0] for du in (0.25, 0.75) for dv in (0.25, 0.75)], 0)
    sky = ~np.isfinite(depth)
    labels = sky * np.uint8(Label.SKY) | moving * np.uint8(Label.MOVING)
    return (
        np.round(colours).astype(np.uint8).reshape(height, width, 3),
        np.where(sky, 0, depth).astype(np.float32).reshape(height, width),
        labels.astype(np.uint8).reshape(height, width),
    )


def write(
    folder: Path,
    solids: Sequence[Solid] | Callable[[int], Sequence[Solid]],
    c2ws: Sequence[NDArray[np.float64]],
    *,
    size: tuple[int, int] = (192, 144),
    fov_x: float = math.radians(70),
    prompt: str = "a closed form",
    events: dict[int, str] | None = None,
) -> Capture:
    """Render a walk and keep it as a capture: a chunk of 13 frames, then chunks of 16."""
    about = Provenance(
        family="closed-form", version="1", licence="CC0-1.0", prompt=prompt, seed=1, mode="walk", width=size[0],
        height=size[1], fps=24.0, units=Units.METRES, pose_source=PoseSource.RENDERED,
    )  # fmt: skip
    writer = CaptureWriter(folder, about)
    chunk, start = 0, 0
    while start < len(c2ws):
        end = min(len(c2ws), start + (13 if chunk == 0 else 16))
        frames = []
        for number in range(start, end):
            camera = Camera(c2w=c2ws[number], K=intrinsics(*size, fov_x), width=size[0], height=size[1])
            image, depth, labels = render(solids(number) if callable(solids) else solids, camera)
            frames.append(
                Frame(
                    number=number,
                    chunk=chunk,
                    index=number - start,
                    time_s=number / 24,
                    camera=camera,
                    encoding=Encoding.PNG,
                    data=png.encode(image),
                    depth=depth,
                    labels=labels,
                )
            )
        writer.append(
            Chunk(
                index=chunk,
                frames=frames,
                controls=[NEUTRAL] * len(frames),
                events=[EventRecord(text=events[chunk], ramp_s=1.0, duration_s=None)]
                if events and chunk in events
                else [],
                latency=Latency(control_ms=None, draw_ms=0.0, chunk_ms=0.0),
            )
        )
        chunk, start = chunk + 1, end
    return Capture(folder)


def sphere(folder: Path, *, radius: float = 0.7, views: int = 24) -> Capture:
    """A chequered ball at the origin, seen from all round."""
    ball = Solid((-radius,) * 3, (radius,) * 3, chequered((200, 120, 60), 0.2), ball=True)
    c2ws = []
    for k in range(views):
        height, angle = 1 - (2 * k + 1) / views, k * math.pi * (3 - math.sqrt(5))  # a spiral over the sphere
        level = math.sqrt(1 - height * height)
        centre = 3 * radius * np.array([level * math.cos(angle), height, level * math.sin(angle)])
        c2ws.append(look(centre, (0, 0, 0)))
    return write(folder, [ball], c2ws, fov_x=math.radians(50))


def letter_world() -> list[Solid]:
    """A wall with the letter F and three bars along the axes: red x, green y, blue z."""
    wall = Solid((-1.6, -1.2, F_WALL_Z), (1.8, 1.2, F_WALL_Z + 0.3), letter)
    return [wall, *(Solid(low, high, plain(*rgb)) for low, high, rgb in BARS.values())]


def letter_path(views: int) -> list[NDArray[np.float64]]:
    """Cameras that start at the origin looking along z and swing from side to side, and up and down, before the wall."""
    path = [np.eye(4)]
    for k in range(1, views):
        angle = 2 * math.pi * k / views
        path.append(
            look((1.0 * math.sin(angle), -0.5 + 0.4 * math.cos(2 * angle), 0.3 * math.sin(angle)), (0.2, 0.0, 3.0))
        )
    return path


def letter_wall(folder: Path, *, views: int = 29, prompt: str = "a letter on a wall") -> Capture:
    """The world of `letter_world` as a capture."""
    return write(
        folder, letter_world(), letter_path(views), size=(256, 192), prompt=prompt, events={1: "a light comes on"}
    )


def haunted_wall(folder: Path, *, views: int = 29) -> Capture:
    """The same wall, with a magenta ball that flies through the view and is labelled as moving."""

    def solids(number: int) -> list[Solid]:
        x, y, z = -1.2 + 2.4 * number / views, 0.2, 1.8
        ghost = Solid(
            (x - 0.3, y - 0.3, z - 0.3), (x + 0.3, y + 0.3, z + 0.3), plain(255, 0, 255), ball=True, moving=True
        )
        return [*letter_world(), ghost]

    return write(folder, solids, letter_path(views), size=(256, 192))
