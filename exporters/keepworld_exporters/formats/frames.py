"""A scene in another program's axes and units: everything that has a place or a direction moves, harmonics included."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from keepworld.camera import convention, quat_from_rotation
from numpy.typing import NDArray

from keepworld_exporters.formats import harmonics
from keepworld_exporters.scene import Mesh, Points, Scene, Splats

S = TypeVar("S", Points, Mesh, Splats, Scene)


def to_convention(scene: S, name: str) -> S:
    """A scene of the session's frame in the axes and units of one of `keepworld.camera.CONVENTIONS`."""
    there = convention(name)
    return transform(scene, there.world, there.scale)


def from_convention(scene: S, name: str) -> S:
    """The inverse of `to_convention`."""
    there = convention(name)
    return transform(scene, there.world.T, 1.0 / there.scale)


def transform(scene: S, axes: NDArray[np.float64], scale: float = 1.0) -> S:
    """Turn or mirror a scene about the origin by an orthogonal `axes` [3, 3], and then scale it.

    A mirror keeps the meaning: the axes are another program's left-handed ones, in which faces change their winding to face
    the same way, and Gaussians and harmonics are the same seen through them.
    """
    if np.array_equal(axes, np.eye(3)) and scale == 1.0:
        return scene
    moved: Points | Mesh | Splats
    match scene:
        case Points():
            moved = replace(
                scene, positions=_turn(scene.positions, axes, scale), normals=_turn(scene.normals, axes, 1.0)
            )
        case Mesh():
            moved = replace(
                scene,
                vertices=_turn(scene.vertices, axes, scale),
                faces=scene.faces if np.linalg.det(axes) > 0 else np.ascontiguousarray(scene.faces[:, ::-1]),
                normals=None if scene.normals is None else _turn(scene.normals, axes, 1.0),
                tangents=None if scene.tangents is None else _turn_tangents(scene.tangents, axes),
            )
        case Splats():
            # A Gaussian is its own mirror image through its centre, so -axes turns it as axes would mirror it.
            rotation = axes * np.sign(np.linalg.det(axes))
            moved = replace(
                scene,
                means=_turn(scene.means, axes, scale),
                quats=_multiply(quat_from_rotation(rotation), scene.quats),
                scales=(scene.scales * scale).astype(np.float32),
                shN=harmonics.turn(scene.shN, axes),
            )
    return moved


def _turn(places: NDArray[np.float32], axes: NDArray[np.float64], scale: float) -> NDArray[np.float32]:
    return (places.astype(np.float64) @ axes.T * scale).astype(np.float32)


def _turn_tangents(tangents: NDArray[np.float32], axes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Turn tangents [V, 4]; in a mirror, the texture's up lies on their other side."""
    side = tangents[:, 3:] * np.float32(np.sign(np.linalg.det(axes)))
    return np.concatenate([_turn(tangents[:, :3], axes, 1.0), side], 1)


def _multiply(left: NDArray[np.float64], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """The products of a quaternion [4] and quaternions [N, 4], w x y z."""
    a, b, c, d = left
    matrix = np.array([[a, -b, -c, -d], [b, a, -d, c], [c, d, a, -b], [d, -c, b, a]])
    return (right.astype(np.float64) @ matrix.T).astype(np.float32)
