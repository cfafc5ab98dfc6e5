"""The published motion strings and pose files, read as they are read there, and made into paths for a session.

A motion string is "w-5, right-4": so many latents of going forward (w), back (s), right (d) or left (a) by 0.08 units, or
of turning right, left, up or down by 3 degrees. N latents of motion give N + 1 cameras, the first where the world begins.
A pose file is JSON, {"0": {"extrinsic": camera to world [4, 4], "K": [3, 3] in pixels}, ...}, one entry a latent.
Source: WorldPlay (HY-World 1.5), its published code.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from keepworld.camera import check_rigid, invert_rigid, quat_from_rotation, rotation_from_quat
from numpy.typing import NDArray

from keepworld_runtime.families.latent.actions import actions_of
from keepworld_runtime.families.latent.family import FOCAL
from keepworld_runtime.families.latent.walk import FRAMES_A_LATENT
from keepworld_runtime.memory.views import Views

MAX_LATENTS = 25_000  # as many as a session's longest path has
_MAX_FILE_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion:
    """What a camera does between two latents; done in this order, each along the camera's axes as they are by then.

    Attributes:
        yaw, pitch: radians, to the right and upwards.
        forward, right: the model's units.
        third_yaw: radians that the camera goes round the point one unit ahead of it, anticlockwise seen from above.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    forward: float = 0.0
    right: float = 0.0
    third_yaw: float = 0.0


_STEP, _TURN = 0.08, math.radians(3.0)
_MOTIONS: Mapping[str, Motion] = {
    "w": Motion(forward=_STEP), "s": Motion(forward=-_STEP), "d": Motion(right=_STEP), "a": Motion(right=-_STEP),
    "up": Motion(pitch=_TURN), "down": Motion(pitch=-_TURN), "right": Motion(yaw=_TURN), "left": Motion(yaw=-_TURN),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trajectory:
    """Cameras, one a latent.

    Attributes:
        c2ws: [T, 4, 4] camera to world, float64, OpenCV axes, the model's units.
        Ks: [T, 3, 3] intrinsics as fractions of width and height, the principal point at 0.5.
        without_effect: what was asked for and came to nothing, such as "right-0.5": half a latent.
    """

    c2ws: NDArray[np.float64]
    Ks: NDArray[np.float64]
    without_effect: tuple[str, ...] = ()

    def views(self) -> Views:
        """The same as a model sees them: in the file's own frame of reference, wherever its first camera stands."""
        viewmats = invert_rigid(self.c2ws)
        return Views(viewmats=viewmats, Ks=self.Ks, actions=actions_of(viewmats))

    def frames(self) -> NDArray[np.float64]:
        """A path for `session.follow`, [4 · (T - 1) + 1, 4, 4] camera to world, from where the session begins.

        Every fourth camera is a latent's; between them the way is straight and the turn even.
        """
        latents = invert_rigid(self.c2ws[0]) @ self.c2ws
        path = [latents[:1]]
        for before, after in itertools.pairwise(latents):
            path.append(np.stack([_between(before, after, n / FRAMES_A_LATENT) for n in range(1, FRAMES_A_LATENT)]))
            path.append(after[None])
        return np.concatenate(path)


def parse(text: str) -> Trajectory:
    """Read a motion string, such as "w-5, right-4". Counts are cut to whole latents, and empty items passed over.

    Raises:
        ValueError: an item is not a motion and a count, or they come to more than a path may have.
    """
    motions: list[Motion] = []
    without_effect = []
    for item in (item.strip() for item in text.split(",")):
        if not item:
            continue
        count = _count(item)
        if count == 0:
            without_effect.append(item)
        if len(motions) + count >= MAX_LATENTS:
            raise ValueError(f"a motion string must come to less than {MAX_LATENTS} latents, {item!r} is too much")
        motions += [_MOTIONS[item.split("-")[0].strip()]] * count
    c2ws = moved(np.eye(4), motions)
    return Trajectory(c2ws=c2ws, Ks=np.tile(default_K(), (len(c2ws), 1, 1)), without_effect=tuple(without_effect))


def read_json(data: bytes) -> Trajectory:
    """Read a pose file; its entries count in the order they are written in.

    Raises:
        ValueError: it is none; says which entry is wrong.
    """
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"a pose file must have at most {_MAX_FILE_BYTES} bytes, got {len(data)}")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a pose file must be JSON: {error}") from error
    if not isinstance(content, dict) or not 0 < len(content) <= MAX_LATENTS:
        raise ValueError(f"a pose file must be an object of 1 to {MAX_LATENTS} entries, one a latent")
    c2ws, Ks = [], []
    for name, entry in content.items():
        if not isinstance(entry, dict):
            raise ValueError(f"entry {name!r:.40} must have 'extrinsic' and 'K', got {type(entry).__name__}")
        c2w = _matrix(entry.get("extrinsic"), 4, f"extrinsic of entry {name!r:.40}")
        check_rigid(f"extrinsic of entry {name!r:.40}", c2w)
        c2ws.append(c2w)
        Ks.append(normalised(_matrix(entry.get("K"), 3, f"K of entry {name!r:.40}")))
    return Trajectory(c2ws=np.stack(c2ws), Ks=np.stack(Ks))


def moved(c2w: NDArray[np.float64], motions: Sequence[Motion]) -> NDArray[np.float64]:
    """The cameras [N + 1, 4, 4] of N motions, from the camera to world matrix [4, 4] they begin with."""
    path = [c2w]
    for motion in motions:
        c2w = c2w @ _rotation(1, motion.yaw) @ _rotation(0, motion.pitch)
        c2w = c2w @ _shift(motion.right, 0, motion.forward)
        path.append(c2w := c2w @ _shift(0, 0, 1) @ _rotation(1, -motion.third_yaw) @ _shift(0, 0, -1))
    return np.stack(path)


def normalised(K: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intrinsics [3, 3] in pixels as fractions of the frame, whose middle the principal point is taken for.

    Raises:
        ValueError: a focal length or the principal point is not positive.
    """
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    if min(fx, fy, cx, cy) <= 0:
        raise ValueError(f"K must have positive focal lengths and principal point, got {fx:g}, {fy:g}, {cx:g}, {cy:g}")
    return np.array([[fx / (2 * cx), 0, 0.5], [0, fy / (2 * cy), 0.5], [0, 0, 1]])


def default_K() -> NDArray[np.float64]:  # noqa: N802
    """The camera that the models were released with, [3, 3], as fractions of width and height."""
    return np.array([[FOCAL[0], 0, 0.5], [0, FOCAL[1], 0.5], [0, 0, 1]])


def _count(item: str) -> int:
    """How many latents an item of a motion string lasts."""
    name, *rest = (part.strip() for part in item.split("-"))
    if name not in _MOTIONS or len(rest) != 1:
        raise ValueError(f"{item!r:.60} must be one of {', '.join(_MOTIONS)}, a hyphen and a count, as in 'w-5'")
    try:
        return int(float(rest[0]))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"the count of {item!r:.60} must be a number") from error


def _matrix(value: object, size: int, name: str) -> NDArray[np.float64]:
    """What stands in a file as a [size, size] matrix of finite numbers."""
    try:
        matrix = np.array(value, np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} must be a [{size}, {size}] matrix of numbers") from error
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be a finite [{size}, {size}] matrix, got {list(matrix.shape)}")
    return matrix


def _between(before: NDArray[np.float64], after: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The camera [4, 4] at a share of the straight way and the even turn between two."""
    w, *axis = quat_from_rotation(before[:3, :3].T @ after[:3, :3])
    half = math.atan2(float(np.linalg.norm(axis)), w)
    c2w = np.eye(4)
    c2w[:3, :3] = before[:3, :3]
    if half > 1e-12:
        turn = np.asarray(axis) * (math.sin(share * half) / math.sin(half))
        c2w[:3, :3] = before[:3, :3] @ rotation_from_quat([math.cos(share * half), *turn])
    c2w[:3, 3] = (1 - share) * before[:3, 3] + share * after[:3, 3]
    return c2w


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    """The rotation [4, 4] by `angle` radians about axis 0, 1 or 2, right-handed."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(4)
    matrix[i, i] = matrix[j, j] = math.cos(angle)
    matrix[i, j], matrix[j, i] = -math.sin(angle), math.sin(angle)
    return matrix


def _shift(x: float, y: float, z: float) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix
