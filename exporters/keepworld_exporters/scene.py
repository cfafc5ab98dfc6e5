"""What an export is made of: frozen arrays in the session's frame (x right, y down, z forward), no behaviour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from keepworld.camera import Camera
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Points:
    """A point cloud.

    Attributes:
        positions: [N, 3] float32, the capture's units.
        normals: [N, 3] float32, unit length, towards the cameras that saw the point.
        colours: [N, 3] uint8 sRGB.
        confidence: [N] uint16, how many frames saw the point.
    """

    positions: NDArray[np.float32]
    normals: NDArray[np.float32]
    colours: NDArray[np.uint8]
    confidence: NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: [V, 3] float32, the capture's units.
        faces: [F, 3] int32, anticlockwise seen from outside.
        colours: [V, 3] uint8 sRGB.
        normals: [V, 3] float32, unit length, or None: readers make their own.
        uvs: [V, 2] float32, where in the texture a vertex lies: u to the right, v down from its upper left corner; or None.
        texture: [H, W, 3] uint8 sRGB, shown instead of the colours; needs `uvs`.
        tangents: [V, 4] float32, where the texture runs to the right, unit length, and 1 or -1: the side on which its up
            lies, seen from outside (glTF's).
        normal_map: [H, W, 3] uint8, directions by tangent, bitangent and normal, from -1 to 1; needs `tangents`.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    colours: NDArray[np.uint8]
    normals: NDArray[np.float32] | None = None
    uvs: NDArray[np.float32] | None = None
    texture: NDArray[np.uint8] | None = None
    tangents: NDArray[np.float32] | None = None
    normal_map: NDArray[np.uint8] | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Splats:
    """Gaussian splats, named as gsplat names them.

    Attributes:
        means: [N, 3] float32, the capture's units.
        quats: [N, 4] float32, w x y z, unit length.
        scales: [N, 3] float32, standard deviations, linear.
        opacities: [N] float32 in [0, 1].
        sh0: [N, 3] float32, spherical harmonics of degree 0: colour = 0.28209 sh0 + 0.5, sRGB.
        shN: [N, K, 3] float32, those of the higher degrees; K is 0, 3, 8 or 15.
        antialiased: whether they were fitted with a filter that keeps their light (Mip-Splatting), which viewers need to know.
    """

    means: NDArray[np.float32]
    quats: NDArray[np.float32]
    scales: NDArray[np.float32]
    opacities: NDArray[np.float32]
    sh0: NDArray[np.float32]
    shN: NDArray[np.float32]  # noqa: N815  gsplat's name
    antialiased: bool = False


Scene = Points | Mesh | Splats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shot:
    """A picture and where it was taken from.

    Attributes:
        name: of the picture's file, from the folder of the pictures.
        camera: where it stands and what it sees.
        time_s: when, from the first shot on.
    """

    name: str
    camera: Camera
    time_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Views:
    """A walk's cameras in order, and what is known of the world to start from."""

    shots: tuple[Shot, ...]
    points: Points | None = None
