"""Cameras, and the same camera as other programs want it.

One frame of reference everywhere in keepworld: the OpenCV one. A camera looks along its +z, +x is right, +y is down; the
world of a session has the same axes (y points down, towards the ground), metres for families that know their scale.
Pixel centres lie at half integers: the centre of the upper left pixel is (0.5, 0.5).

Other programs differ in two things, the axes of the world and the axes of the camera. Both are 3x3 matrices with entries
0, 1 and -1, so one line of algebra converts: ``c2w_there = W @ c2w_here @ inv(C)``. `CONVENTIONS` is the whole table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Units(StrEnum):
    """What one unit of length is."""

    METRES = "metres"
    MODEL = "model"  # a learned model's own unit: consistent within a session, otherwise arbitrary


class PoseSource(StrEnum):
    """Where a camera pose came from."""

    COMMANDED = "commanded"  # asked of a learned model, which drew roughly this
    RENDERED = "rendered"  # exact: the frame was rendered from it
    GIVEN = "given"  # came with pictures from elsewhere
    REFINED = "refined"  # estimated from the frames by an exporter


@dataclass(frozen=True, kw_only=True, slots=True)
class Convention:
    """The axes of a program, seen from ours.

    Attributes:
        world: [3, 3] takes our world coordinates (x right, y down, z forward) to theirs.
        camera: [3, 3] takes our camera axes to theirs.
        scale: their units a metre (Unreal counts centimetres: 100).
    """

    world: NDArray[np.float64]
    camera: NDArray[np.float64]
    scale: float = 1.0

    @property
    def left_handed(self) -> bool:
        """Whether the world's axes are a left-handed triple, so that meshes change their winding on the way."""
        return bool(np.linalg.det(self.world) < 0)


def _axes(*rows: str) -> NDArray[np.float64]:
    """Build [3, 3] from what each of their axes is in ours, as in ``_axes("x", "-y", "-z")``."""
    basis = dict(zip("xyz", np.eye(3), strict=True))
    return np.stack([-basis[row[1]] if row[0] == "-" else basis[row] for row in rows])


_Y_UP = _axes("x", "-y", "-z")  # right, up, back: OpenGL, glTF, three.js, Godot
_Z_UP = _axes("x", "z", "-y")  # right, forward, up: Blender, nerfstudio

CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        "opencv": Convention(world=np.eye(3), camera=np.eye(3)),
        "colmap": Convention(world=np.eye(3), camera=np.eye(3)),
        "opengl": Convention(world=_Y_UP, camera=_Y_UP),
        "gltf": Convention(world=_Y_UP, camera=_Y_UP),
        "godot": Convention(world=_Y_UP, camera=_Y_UP),
        "nerfstudio": Convention(world=_Z_UP, camera=_Y_UP),
        "blender": Convention(world=_Z_UP, camera=_Y_UP),
        "unity": Convention(world=_axes("x", "-y", "z"), camera=_axes("x", "-y", "z")),
        "unreal": Convention(world=_axes("z", "x", "-y"), camera=_axes("z", "x", "-y"), scale=100.0),
    }
)


def convention(name: str) -> Convention:
    """Look a convention up by its name.

    Raises:
        ValueError: the name is not one of `CONVENTIONS`.
    """
    if name not in CONVENTIONS:
        raise ValueError(f"convention must be one of {', '.join(CONVENTIONS)}, got {name!r}")
    return CONVENTIONS[name]


def convert_c2w(c2w: ArrayLike, *, to: str) -> NDArray[np.float64]:
    """Turn camera-to-world matrices [..., 4, 4] from ours (OpenCV, metres) to another program's."""
    there = convention(to)
    ours = np.asarray(c2w, np.float64)
    theirs = np.empty_like(ours)
    theirs[..., :3, :3] = there.world @ ours[..., :3, :3] @ there.camera.T
    theirs[..., :3, 3] = ours[..., :3, 3] @ there.world.T * there.scale
    theirs[..., 3, :] = [0, 0, 0, 1]
    return theirs


def restore_c2w(c2w: ArrayLike, *, source: str) -> NDArray[np.float64]:
    """Turn another program's camera-to-world matrices [..., 4, 4] into ours; the inverse of `convert_c2w`."""
    there = convention(source)
    theirs = np.asarray(c2w, np.float64)
    ours = np.empty_like(theirs)
    ours[..., :3, :3] = there.world.T @ theirs[..., :3, :3] @ there.camera
    ours[..., :3, 3] = theirs[..., :3, 3] @ there.world / there.scale
    ours[..., 3, :] = [0, 0, 0, 1]
    return ours


def convert_points(points: ArrayLike, *, to: str) -> NDArray[np.float64]:
    """Turn points [..., 3] of our world into another program's axes and units. Directions: divide by its scale."""
    there = convention(to)
    return np.asarray(points, np.float64) @ there.world.T * there.scale


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Camera:
    """A pinhole camera without distortion: where it stands and what it sees.

    Attributes:
        c2w: [4, 4] camera to world, float64, OpenCV axes.
        K: [3, 3] intrinsics in pixels, pixel centres at half integers.
        width: pixels in a row.
        height: rows.
        units: what one unit of `c2w`'s translation is.
        source: where the pose came from.

    Raises:
        ValueError: a matrix has the wrong shape, is not finite, or `c2w` is not a rigid motion.
    """

    c2w: NDArray[np.float64]
    K: NDArray[np.float64]
    width: int
    height: int
    units: Units = Units.METRES
    source: PoseSource = PoseSource.RENDERED

    def __post_init__(self) -> None:
        check_rigid("c2w", self.c2w)
        if self.K.shape != (3, 3) or not np.isfinite(self.K).all():
            raise ValueError(f"K must be a finite [3, 3] matrix, got shape {self.K.shape}")
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"width and height must be positive, got {self.width}x{self.height}")

    @property
    def viewmat(self) -> NDArray[np.float64]:
        """World to camera [4, 4], the inverse of `c2w`."""
        return invert_rigid(self.c2w)

    @property
    def centre(self) -> NDArray[np.float64]:
        """Where the camera stands, [3], world coordinates."""
        return self.c2w[:3, 3]

    @property
    def fov_x(self) -> float:
        """The angle from the left edge to the right one, radians, if the principal point is in the middle."""
        return float(2 * np.arctan2(self.width, 2 * self.K[0, 0]))

    @property
    def fov_y(self) -> float:
        """The angle from the upper edge to the lower one, radians, as above: Unity and Godot want this one, in degrees."""
        return float(2 * np.arctan2(self.height, 2 * self.K[1, 1]))

    def to(self, name: str) -> NDArray[np.float64]:
        """The camera-to-world matrix [4, 4] in another program's axes and units: one of `CONVENTIONS`."""
        return convert_c2w(self.c2w, to=name)

    def project(self, points: ArrayLike) -> NDArray[np.float64]:
        """Find where world points [..., 3] appear: [..., 3] of u, v in pixels and depth along +z."""
        viewmat = self.viewmat
        seen = np.asarray(points, np.float64) @ viewmat[:3, :3].T + viewmat[:3, 3]
        pixels = seen @ self.K.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.concatenate([pixels[..., :2] / pixels[..., 2:], seen[..., 2:]], axis=-1)

    def unproject(self, depth: NDArray[np.float32]) -> NDArray[np.float64]:
        """Lift a depth map [H, W] (z, this camera's units) into the world, [H, W, 3]."""
        if depth.shape != (self.height, self.width):
            raise ValueError(f"depth must be [{self.height}, {self.width}], got {list(depth.shape)}")
        u, v = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(self.K).T
        return np.asarray((rays * depth[..., None]) @ self.c2w[:3, :3].T + self.c2w[:3, 3])


def check_rigid(name: str, matrix: NDArray[np.float64]) -> None:
    """Refuse a matrix that is not a rigid motion [4, 4]: a ValueError that says what is wrong with `name`."""
    if matrix.shape != (4, 4):
        raise ValueError(f"{name} must be [4, 4], got {list(matrix.shape)}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    rotation = matrix[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
        raise ValueError(f"{name} must hold a rotation (orthonormal, determinant 1)")
    if not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise ValueError(f"{name}'s last row must be 0 0 0 1, got {matrix[3].tolist()}")


def invert_rigid(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Invert rigid motions [..., 4, 4] exactly up to rounding, without a general solve."""
    inverse = np.zeros_like(matrix)
    transposed = np.swapaxes(matrix[..., :3, :3], -1, -2)
    inverse[..., :3, :3] = transposed
    inverse[..., :3, 3] = -(transposed @ matrix[..., :3, 3:])[..., 0]
    inverse[..., 3, 3] = 1.0
    return inverse


def intrinsics(width: int, height: int, fov_x: float) -> NDArray[np.float64]:
    """K [3, 3] of a camera with square pixels, a centred principal point and `fov_x` radians from left to right."""
    focal = 0.5 * width / np.tan(0.5 * fov_x)
    return np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])


def quat_from_rotation(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The unit quaternion [4], w x y z with w >= 0, of a rotation [3, 3] (Shepperd's method)."""
    m = rotation
    trace = float(np.trace(m))
    candidates = np.array([trace, m[0, 0], m[1, 1], m[2, 2]])
    largest = int(np.argmax(candidates))
    if largest == 0:
        quat = np.array([1 + trace, m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        quat = np.empty(4)
        quat[0] = m[k, j] - m[j, k]
        quat[1 + i] = 1 + m[i, i] - m[j, j] - m[k, k]
        quat[1 + j] = m[j, i] + m[i, j]
        quat[1 + k] = m[k, i] + m[i, k]
    quat /= np.linalg.norm(quat)
    return -quat if quat[0] < 0 else quat


def rotation_from_quat(quat: ArrayLike) -> NDArray[np.float64]:
    """The rotation [3, 3] of a quaternion [4], w x y z, of any non-zero length."""
    w, x, y, z = np.asarray(quat, np.float64) / np.linalg.norm(quat)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
