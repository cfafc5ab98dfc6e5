"""How large a world is: from a distance that someone knows, or from how high the camera was held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keepworld.capture import CapturedFrame
from keepworld.errors import ExportError
from numpy.typing import NDArray

NEAR_PIXELS = 12.0  # a pixel without depth of its own takes that of the nearest feature, if it is so near


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A place someone points at: where the camera of a frame stood, or what one of its pixels shows.

    Attributes:
        frame: its number.
        pixel: (u, v), or None for the camera's own place.
    """

    frame: int
    pixel: tuple[float, float] | None = None


def parse_mark(text: str) -> Mark:
    """Read ``12`` (where frame 12 was taken from) or ``12:310,200`` (what its pixel 310, 200 shows).

    Raises:
        ValueError: neither.
    """
    number, _, pixel = text.partition(":")
    try:
        if not pixel:
            return Mark(frame=int(number))
        u, v = (float(value) for value in pixel.split(","))
        if not (np.isfinite(u) and np.isfinite(v)):
            raise ValueError
        return Mark(frame=int(number), pixel=(u, v))
    except ValueError:
        raise ValueError(f"a place is FRAME or FRAME:U,V, as in 12 or 12:310,200, got {text!r}") from None


def place_of(mark: Mark, frames: Sequence[CapturedFrame], points: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Where a mark is, [3].

    Args:
        mark: what someone points at.
        frames: of the capture.
        points: [P, 3] of the surface, for frames without depth; None if there are none.

    Raises:
        ExportError: there is no such frame, or nothing is known there.
    """
    frame = next((frame for frame in frames if frame.number == mark.frame), None)
    if frame is None:
        raise ExportError(f"there is no frame {mark.frame}; they are {frames[0].number} to {frames[-1].number}")
    camera = frame.camera
    if mark.pixel is None:
        return camera.centre
    u, v = mark.pixel
    if not (0 <= u < camera.width and 0 <= v < camera.height):
        raise ExportError(f"frame {mark.frame} has {camera.width} x {camera.height} pixels, {u:g}, {v:g} is not one")
    depth = frame.depth()
    z = float(depth[int(v), int(u)]) if depth is not None else 0.0
    if not (np.isfinite(z) and z > 0) and points is not None and len(points):
        seen = camera.project(points)
        apart = np.where(seen[:, 2] > 0, np.hypot(seen[:, 0] - u, seen[:, 1] - v), np.inf)
        near = np.flatnonzero(apart <= NEAR_PIXELS)
        z = float(seen[near, 2][apart[near].argmin()]) if near.size else 0.0
    if not (np.isfinite(z) and z > 0):
        raise ExportError(
            f"nothing is known of how far away pixel {u:g}, {v:g} of frame {mark.frame} is; choose one with more to see about it"
        )
    ray = np.linalg.inv(camera.K) @ [u, v, 1.0]
    return np.asarray(camera.c2w[:3, :3] @ (ray * z) + camera.c2w[:3, 3])


def scale_between(a: NDArray[np.float64], b: NDArray[np.float64], metres: float) -> float:
    """By what a world has to grow for two places [3] to be so far apart.

    Raises:
        ExportError: they are the same place.
    """
    distance = float(np.linalg.norm(a - b))
    if distance < 1e-9:
        raise ExportError("the two places of the known distance are the same place: nothing can be scaled by it")
    return metres / distance
