"""What every reader asks of the arrays it found before it calls them a scene."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
from keepworld.camera import Camera
from numpy.typing import NDArray

from keepworld_exporters.formats.harmonics import BANDS
from keepworld_exporters.formats.picture import MAX_SIDE
from keepworld_exporters.scene import Mesh, Points, Shot, Splats

_UNIT = 1e-4  # quaternions further than this from unit length are made so
_MOST_PACKED, _FREE = 64, 1 << 20  # how many times smaller packed scenes are at most, and what is unpacked in any case


def check_unpacked(size: int, data: bytes, claim: str) -> None:
    """Refuse what would unpack to more bytes than a scene in so few can be: a bomb.

    Raises:
        ValueError: it would; the message begins with the claim.
    """
    if size > len(data) * _MOST_PACKED + _FREE:
        raise ValueError(f"{claim}, {size} bytes unpacked: more than {len(data)} bytes can hold")


def checked_splats(
    *,
    means: NDArray[np.generic],
    quats: NDArray[np.generic],
    scales: NDArray[np.generic],
    opacities: NDArray[np.generic],
    sh0: NDArray[np.generic],
    shN: NDArray[np.generic],
    antialiased: bool = False,
) -> Splats:
    """Splats of arrays of one length, finite, with quaternions of unit length.

    Raises:
        ValueError: something is not so.
    """
    arrays = {"means": means, "quats": quats, "scales": scales, "opacities": opacities, "sh0": sh0, "shN": shN}
    solid = {name: np.array(array, np.float32, order="C") for name, array in arrays.items()}
    for name, array in solid.items():
        if len(array) != len(means):
            raise ValueError(f"the splats have {len(means)} means but {len(array)} {name}")
        if not np.isfinite(array).all():
            raise ValueError(f"the splats' {name} hold values that are not finite")
    if solid["shN"].shape[1] not in BANDS:
        raise ValueError(f"the splats' harmonics must be of degree 0 to 3, got {solid['shN'].shape[1]} coefficients")
    if len(means) and (solid["scales"].min() < 0 or solid["opacities"].min() < 0 or solid["opacities"].max() > 1):
        raise ValueError("the splats' scales must not be negative, and their opacities lie in [0, 1]")
    length = np.linalg.norm(solid["quats"].astype(np.float64), axis=1, keepdims=True)
    if len(means) and length.min() < 1e-12:
        raise ValueError("the splats hold a quaternion of length 0")
    if len(means) and np.abs(length - 1).max() > _UNIT:
        solid["quats"] = (solid["quats"] / length).astype(np.float32)
    return Splats(**solid, antialiased=antialiased)


def checked_points(
    positions: NDArray[np.generic],
    *,
    normals: NDArray[np.generic] | None = None,
    colours: NDArray[np.generic] | None = None,
    confidence: NDArray[np.generic] | None = None,
) -> Points:
    """A cloud; where the file has them not, normals are zero, colours grey and the confidence 1.

    Raises:
        ValueError: places or normals are not finite.
    """
    count = len(positions)
    solid = Points(
        positions=np.array(positions, np.float32, order="C"),
        normals=np.zeros((count, 3), np.float32) if normals is None else np.array(normals, np.float32, order="C"),
        colours=np.full((count, 3), 128, np.uint8) if colours is None else np.array(colours, np.uint8, order="C"),
        confidence=np.ones(count, np.uint16) if confidence is None else np.array(confidence, np.uint16),
    )
    if not (np.isfinite(solid.positions).all() and np.isfinite(solid.normals).all()):
        raise ValueError("the points hold values that are not finite")
    return solid


def checked_shot(
    name: str, c2w: NDArray[np.float64], K: NDArray[np.float64], width: int, height: int, time_s: float = 0.0
) -> Shot:
    """A shot whose picture lies in its folder and whose camera is one.

    Raises:
        ValueError: the name leads elsewhere, or the camera's numbers make no sense.
    """
    parts = PurePosixPath(name).parts
    if not parts or len(name) > 1024 or ".." in parts or name.startswith("/") or "\\" in name or "\0" in name:
        raise ValueError(f"a picture's name must lead to a file within its folder, got {name[:80]!r}")
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and K[0, 0] > 0 and K[1, 1] > 0):
        raise ValueError(
            f"{name}: the focal lengths must be above 0 and the size within {MAX_SIDE}, got {K[0, 0]:g}, {K[1, 1]:g}, "
            f"{width} x {height}"
        )
    if not np.isfinite(time_s):
        raise ValueError(f"{name}: the time must be finite, got {time_s}")
    return Shot(name=name, camera=Camera(c2w=c2w, K=K, width=width, height=height), time_s=time_s)


def checked_mesh(
    vertices: NDArray[np.generic],
    faces: NDArray[np.generic],
    *,
    colours: NDArray[np.uint8] | None = None,
    normals: NDArray[np.float32] | None = None,
    uvs: NDArray[np.float32] | None = None,
    texture: NDArray[np.uint8] | None = None,
) -> Mesh:
    """A mesh whose faces name vertices that are there; white where the file has no colours.

    Raises:
        ValueError: something is not so, or not finite.
    """
    count = len(vertices)
    if not len(faces):
        raise ValueError("the mesh has no faces")
    if faces.min() < 0 or faces.max() >= count:
        raise ValueError(f"a face names a vertex that is not there: {faces.min()} … {faces.max()} of {count}")
    for name, array in {"vertices": vertices, "colours": colours, "normals": normals, "uvs": uvs}.items():
        if array is not None and (len(array) != count or not np.isfinite(array.astype(np.float64)).all()):
            raise ValueError(f"the mesh's {name} are not finite, or not one a vertex")
    return Mesh(
        vertices=np.array(vertices, np.float32, order="C"),
        faces=np.array(faces, np.int32, order="C"),
        colours=np.full((count, 3), 255, np.uint8) if colours is None else np.array(colours, np.uint8, order="C"),
        normals=normals,
        uvs=uvs,
        texture=texture,
    )
