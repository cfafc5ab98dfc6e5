"""Camera paths: read from files, made from a few keyframes, checked before a server spends time on them.

A path is camera-to-world matrices [N, 4, 4], one a frame, OpenCV axes, in the session's frame of reference.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keepworld.camera import quat_from_rotation, restore_c2w, rotation_from_quat
from keepworld.capture import Capture

_MAX_FILE_BYTES = 256 * 2**20
MAX_FRAMES = 100_000


def load(file: str | Path, *, frame: str | None = None) -> NDArray[np.float64]:
    """Read a path: nerfstudio's transforms.json, a JSON list of [4, 4] matrices, or a capture folder.

    Args:
        file: what to read.
        frame: the convention its matrices are in, one of `keepworld.CONVENTIONS`; None: nerfstudio for a transforms.json,
            OpenCV for a list. A capture knows its own.

    Returns:
        [N, 4, 4] camera to world, OpenCV axes.

    Raises:
        ValueError: it is none of these, or its matrices are no rigid motions.
        CaptureError: it is a damaged capture.
        OSError: it cannot be read.
    """
    file = Path(file)
    if file.is_dir():
        if frame is not None:
            raise ValueError(f"frame must be left out for a capture, which knows its own, got {frame!r}")
        return check(Capture(file).c2ws)
    if file.stat().st_size > _MAX_FILE_BYTES:
        raise ValueError(f"{file} is larger than {_MAX_FILE_BYTES} bytes")
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    matrices = content
    if isinstance(content, dict):
        frames = content.get("frames")
        if not isinstance(frames, list) or not all(isinstance(entry, dict) for entry in frames):
            raise ValueError(f"{file} must have a list of 'frames', as nerfstudio's transforms.json has")
        matrices = [entry.get("transform_matrix") for entry in frames]
    try:
        theirs = np.array(matrices, np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} must hold [4, 4] matrices of numbers: {error}") from error
    if theirs.ndim != 3 or theirs.shape[1:] != (4, 4):
        raise ValueError(f"{file} must hold [N, 4, 4] matrices, got {list(theirs.shape)}")
    return check(restore_c2w(theirs, source=frame or ("nerfstudio" if isinstance(content, dict) else "opencv")))


def check(path: ArrayLike) -> NDArray[np.float64]:
    """The same path as float64, if it is one.

    Raises:
        ValueError: it is not [N, 4, 4] of rigid motions; says which frame is wrong.
    """
    c2ws = np.asarray(path, np.float64)
    if c2ws.ndim != 3 or c2ws.shape[1:] != (4, 4) or not 0 < len(c2ws) <= MAX_FRAMES:
        raise ValueError(f"path must be [N, 4, 4] with 1 to {MAX_FRAMES} frames, got {list(c2ws.shape)}")
    rotations = c2ws[:, :3, :3]
    with np.errstate(invalid="ignore", over="ignore"):
        wrong = {
            "is not finite": ~np.isfinite(c2ws).all((1, 2)),
            "does not hold a rotation (orthonormal, determinant 1)": (
                np.abs(rotations @ rotations.swapaxes(1, 2) - np.eye(3)).max((1, 2)) > 1e-4
            )
            | (np.linalg.det(rotations) < 0),
            "does not end in 0 0 0 1": np.abs(c2ws[:, 3] - [0, 0, 0, 1]).max(1) > 1e-6,
        }
    for what, where in wrong.items():
        if where.any():
            raise ValueError(f"path[{int(np.argmax(where))}] {what}")
    return c2ws


def look_at(eye: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """The camera to world matrix [4, 4] of a level camera at `eye` [3] that looks at `target` [3].

    Raises:
        ValueError: the two are one above the other, or the same: which way is up is then open.
    """
    eye, target = np.asarray(eye, np.float64), np.asarray(target, np.float64)
    forward = target - eye
    right = np.cross([0.0, 1.0, 0.0], forward)  # y points down
    if np.linalg.norm(right) < 1e-9:
        raise ValueError(f"cannot look level from {eye.tolist()} at {target.tolist()}: one is above the other")
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    c2w[:3, 3] = eye
    return c2w


def orbit(
    centre: ArrayLike, *, radius: float, frames: int, height: float = 0.0, turns: float = 1.0, start: float = 0.0
) -> NDArray[np.float64]:
    """Go round a point, looking at it, [frames, 4, 4].

    Args:
        centre: [3] what to look at.
        radius: how far away, on the level.
        frames: how many; the last is one step short of the full way, so that whole turns can be repeated.
        height: how far above `centre`.
        turns: how often round; negative: the other way.
        start: the angle it starts at, radians; 0 is in front of `centre`, seen from the origin's side of it (-z).
    """
    if not (frames > 0 and radius > 0):
        raise ValueError(f"radius and frames must be positive, got {radius} and {frames}")
    middle = np.asarray(centre, np.float64)
    angles = start + 2 * np.pi * turns * np.arange(frames) / frames
    ways = np.stack([-np.sin(angles) * radius, np.full(frames, -height), -np.cos(angles) * radius], axis=1)
    return np.stack([look_at(middle + way, middle) for way in ways])


def through(keyframes: ArrayLike, frames: int) -> NDArray[np.float64]:
    """Go smoothly through keyframes [K, 4, 4], first to last, in [frames, 4, 4].

    Positions follow a Catmull-Rom spline, rotations turn evenly from one to the next (slerp).

    Raises:
        ValueError: fewer than two keyframes or frames, or they are no rigid motions.
    """
    keys = check(keyframes)
    if len(keys) < 2 or frames < 2:
        raise ValueError(f"at least two keyframes and two frames are needed, got {len(keys)} and {frames}")
    quats = [quat_from_rotation(key[:3, :3]) for key in keys]
    centres = keys[:, :3, 3]
    # Beyond both ends the way goes straight on.
    padded = np.concatenate([[2 * centres[0] - centres[1]], centres, [2 * centres[-1] - centres[-2]]])
    path = np.tile(np.eye(4), (frames, 1, 1))
    for i, at in enumerate(np.linspace(0, len(keys) - 1, frames)):
        k = min(int(at), len(keys) - 2)
        path[i, :3, :3] = rotation_from_quat(_slerp(quats[k], quats[k + 1], at - k))
        path[i, :3, 3] = _catmull_rom(padded[k : k + 4], at - k)
    return path


def _slerp(a: NDArray[np.float64], b: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Turn from one unit quaternion [4] to another the shorter way."""
    cosine = float(a @ b)
    if cosine < 0:
        b, cosine = -b, -cosine
    angle = np.arccos(min(1.0, cosine))
    if angle < 1e-9:
        return a
    return np.asarray((np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle))


def _catmull_rom(points: Sequence[NDArray[np.float64]] | NDArray[np.float64], t: float) -> NDArray[np.float64]:
    """The point [3] at t in [0, 1] between the middle two of four points [4, 3]."""
    p0, p1, p2, p3 = points
    slopes = (-p0 + p2) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (-p0 + 3 * p1 - 3 * p2 + p3) * t**3
    return np.asarray(p1 + 0.5 * slopes)
