"""Scenes to write and read: random ones, and the golden letter F with its bars as splats, points and a mesh."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from keepworld.camera import Camera, intrinsics
from keepworld_exporters.scene import Mesh, Points, Scene, Shot, Splats, Views
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tests import scenes

CELL = 0.1  # of the letter's wall


def some_splats(count: int = 40, bands: int = 15, seed: int = 3) -> Splats:
    """Splats such as a fit leaves them: colours mostly in range, harmonics below 1."""
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(count, 4))
    return Splats(
        means=rng.uniform(-3, 5, (count, 3)).astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=np.exp(rng.uniform(-5, 0, (count, 3))).astype(np.float32),
        opacities=rng.uniform(0.05, 0.95, count).astype(np.float32),
        sh0=rng.uniform(-1.7, 1.7, (count, 3)).astype(np.float32),
        shN=rng.uniform(-0.9, 0.9, (count, bands, 3)).astype(np.float32),
    )


def some_points(count: int = 30) -> Points:
    """A cloud with every attribute used."""
    rng = np.random.default_rng(4)
    normals = rng.normal(size=(count, 3))
    return Points(
        positions=rng.uniform(-20, 20, (count, 3)).astype(np.float32),
        normals=(normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
        colours=rng.integers(0, 256, (count, 3), dtype=np.uint8),
        confidence=rng.integers(1, 900, count).astype(np.uint16),
    )


def tetrahedron(*, textured: bool = False) -> Mesh:
    """Four corners, four colours, faces outwards; or with a texture of four colours instead."""
    return Mesh(
        vertices=np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        faces=np.int32([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
        colours=np.full((4, 3), 255, np.uint8)
        if textured
        else np.uint8([[0, 10, 128], [255, 1, 2], [64, 200, 31], [90, 91, 92]]),
        uvs=np.float32([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]) if textured else None,
        texture=np.uint8([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 0]]]) if textured else None,
    )


def letter_points(cell: float = CELL) -> Points:
    """The wall with the letter F and the three bars, as a cloud on a grid."""
    x, y = np.meshgrid(np.arange(-1.6, 1.8, cell), np.arange(-1.2, 1.2, cell))
    wall = np.stack([x, y, np.full(x.shape, scenes.F_WALL_Z)], -1).reshape(-1, 3)
    colours = [scenes.letter(wall)]
    places = [wall]
    for name, (low, high, rgb) in scenes.BARS.items():
        axis = "xyz".index(name)
        along = np.tile((np.array(low) + high) / 2, (30, 1))
        along[:, axis] = np.linspace(low[axis], high[axis], 30)
        places.append(along)
        colours.append(np.tile(np.float64(rgb), (30, 1)))
    positions = np.concatenate(places).astype(np.float32)
    return Points(
        positions=positions,
        normals=np.tile(np.float32([0, 0, -1]), (len(positions), 1)),
        colours=np.concatenate(colours).astype(np.uint8),
        confidence=np.full(len(positions), 7, np.uint16),
    )


def letter_splats(cell: float = CELL) -> Splats:
    """The same as round splats without harmonics, opaque enough to be told apart."""
    points = letter_points(cell)
    count = len(points.positions)
    return Splats(
        means=points.positions,
        quats=np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        scales=np.full((count, 3), 0.6 * cell, np.float32),
        opacities=np.full(count, 0.9, np.float32),
        sh0=((points.colours / 255.0 - 0.5) / 0.28209479177387814).astype(np.float32),
        shN=np.zeros((count, 0, 3), np.float32),
    )


def letter_mesh(cell: float = CELL) -> Mesh:
    """The same as small triangles that face the camera of `look_ahead`, one a point."""
    points = letter_points(cell)
    reach = min(0.6 * cell, 0.03)
    corner = np.float32(
        [[-reach, reach, 0], [reach, reach, 0], [0, -reach, 0]]
    )  # anticlockwise with y down, seen along z
    vertices = (points.positions[:, None] + corner[[0, 2, 1]][None]).reshape(-1, 3)
    return Mesh(
        vertices=vertices,
        faces=np.arange(len(vertices), dtype=np.int32).reshape(-1, 3),
        colours=np.repeat(points.colours, 3, 0),
    )


def lantern() -> Splats:
    """A ball of opaque splats 3 m ahead whose harmonics of degree 3 make it look different from every side."""
    rng = np.random.default_rng(9)
    ways = rng.normal(size=(2500, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    weights = rng.normal(size=(15, 3))
    quats = rng.normal(size=(2500, 4))
    return Splats(
        means=(ways * 0.8 + [0.1, -0.2, 3]).astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=np.tile(np.float32([0.06, 0.05, 0.02]), (2500, 1)),
        opacities=np.full(2500, 0.95, np.float32),
        sh0=np.tile(np.float32([0.2, 0.1, 0.0]), (2500, 1)),
        shN=np.tile((0.18 * weights).astype(np.float32), (2500, 1, 1)),
        antialiased=True,
    )


LETTERS = {"splats": letter_splats, "points": letter_points, "mesh": letter_mesh}
SOME = {"splats": some_splats, "points": some_points, "mesh": tetrahedron}


def places_and_colours(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where a scene has which colour, [N, 3] and sRGB [N, 3] in [0, 255]."""
    match scene:
        case Points():
            return scene.positions.astype(np.float64), scene.colours.astype(np.float64)
        case Mesh():
            return scene.vertices.astype(np.float64), scene.colours.astype(np.float64)
        case Splats():
            return scene.means.astype(np.float64), 255 * (0.28209479177387814 * scene.sh0.astype(np.float64) + 0.5)


def colour_at(
    places: NDArray[np.float64], colours: NDArray[np.float64], place: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The colour of what is nearest to a place."""
    return colours[np.linalg.norm(places - place, axis=1).argmin()]


def assert_same(one: Scene, other: Scene) -> None:
    """Two scenes are equal in every array."""
    assert type(one) is type(other)
    for entry in fields(one):
        np.testing.assert_array_equal(getattr(one, entry.name), getattr(other, entry.name), err_msg=entry.name)


def some_views(count: int = 5) -> Views:
    """A walk of turned cameras with a principal point off the middle."""
    rng = np.random.default_rng(8)
    K = intrinsics(640, 360, 1.2) + np.array([[0, 0, 3.5], [0, 20, -2.25], [0, 0, 0]])
    shots = []
    for k in range(count):
        c2w = np.eye(4)
        c2w[:3, :3] = Rotation.from_rotvec(rng.normal(size=3)).as_matrix()
        c2w[:3, 3] = rng.normal(size=3)
        shots.append(
            Shot(name=f"frames/{k:06d}.png", camera=Camera(c2w=c2w, K=K, width=640, height=360), time_s=k / 24)
        )
    return Views(shots=tuple(shots), points=some_points())
