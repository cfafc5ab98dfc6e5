"""A COLMAP model, binary or text: cameras, images and points; the axes are the session's own.

One camera an intrinsic matrix, pinhole; images without the features they were found by; points without the images that see
them, which COLMAP's readers take (pycolmap among them). Source: COLMAP's "Output format" page and its reader of models.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from keepworld.camera import invert_rigid, quat_from_rotation, rotation_from_quat
from numpy.typing import NDArray

from keepworld_exporters.formats.checks import checked_points, checked_shot
from keepworld_exporters.formats.ply import comments, one_line
from keepworld_exporters.scene import Points, Shot, Views

BINARY, TEXT = ("cameras.bin", "images.bin", "points3D.bin"), ("cameras.txt", "images.txt", "points3D.txt")
_MODELS = {  # number: (name, how many numbers)
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
}
_NUMBERS = {name: number for number, (name, _) in _MODELS.items()}
_STRAIGHT = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")  # without bending where the rest is zero
_PINHOLE = 1
_Lens = tuple[NDArray[np.float64], int, int]  # K, width, height


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A camera as COLMAP has it: one of its models, the size of its pictures, and the model's numbers."""

    model: str
    width: int
    height: int
    numbers: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Image:
    """A picture of a model: its file's name, where it was taken from ([4, 4] camera to world), and by which camera."""

    name: str
    c2w: NDArray[np.float64]
    camera: Camera


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Model:
    """A COLMAP model, lenses that bend included; images in the order of their names."""

    images: tuple[Image, ...]
    points: Points | None


def encode_binary(views: Views) -> dict[str, bytes]:
    """The three files of a binary model by name."""
    lenses, users = _lenses(views)
    cameras = [struct.pack("<Q", len(lenses))]
    cameras += [
        struct.pack("<iiQQ4d", number, _PINHOLE, width, height, *_four(K))
        for number, (K, width, height) in enumerate(lenses, 1)
    ]
    images = [struct.pack("<Q", len(views.shots))]
    for number, (shot, lens) in enumerate(zip(views.shots, users, strict=True), 1):
        images.append(
            struct.pack("<i7di", number, *_pose(shot), lens) + shot.name.encode() + b"\0" + struct.pack("<Q", 0)
        )
    rows = _point_rows(views.points)
    points = [struct.pack("<Q", len(rows))]
    points += [
        struct.pack("<Q3d3BdQ", number, *place, *colour, 0.0, 0) for number, (place, colour) in enumerate(rows, 1)
    ]
    return dict(zip(BINARY, (b"".join(cameras), b"".join(images), b"".join(points)), strict=True))


def encode_text(views: Views, about: Mapping[str, object] | None = None) -> dict[str, bytes]:
    """The three files of a text model by name; what it says about itself are remarks in the first."""
    lenses, users = _lenses(views)
    cameras = [f"# {one_line(text)}" for text in comments(about or {})]
    cameras.append("# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]")
    cameras += [
        f"{number} PINHOLE {width} {height} " + " ".join(map(repr, _four(K)))
        for number, (K, width, height) in enumerate(lenses, 1)
    ]
    images = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    for number, (shot, lens) in enumerate(zip(views.shots, users, strict=True), 1):
        # The second line of an image, its features, is empty and has to be there.
        images += [f"{number} {' '.join(map(repr, _pose(shot)))} {lens} {shot.name}", ""]
    points = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]"]
    for number, (place, colour) in enumerate(_point_rows(views.points), 1):
        points.append(f"{number} {' '.join(map(repr, place))} {' '.join(map(str, colour))} 0")
    return {
        name: ("\n".join(lines) + "\n").encode() for name, lines in zip(TEXT, (cameras, images, points), strict=True)
    }


def decode(files: Mapping[str, bytes]) -> Views:
    """Read a model of files by name, binary if it is there; images in the order of their names.

    Raises:
        ValueError: damaged, or with cameras that are no pinholes.
    """
    model = decode_model(files)
    shots = [checked_shot(image.name, image.c2w, *_lens(image.camera)) for image in model.images]
    return Views(shots=tuple(shots), points=model.points)


def decode_model(files: Mapping[str, bytes]) -> Model:
    """Read a model of files by name, with cameras of any kind.

    Raises:
        ValueError: damaged.
    """
    binary = "cameras.bin" in files
    names = BINARY if binary else TEXT
    if not {*names[:2]} <= set(files):
        raise ValueError(f"a COLMAP model has the files {' '.join(BINARY)} or {' '.join(TEXT)}, got {' '.join(files)}")
    try:
        cameras = dict(_binary_cameras(files[names[0]]) if binary else _text_cameras(files[names[0]]))
        images = list(_binary_images(files[names[1]], cameras) if binary else _text_images(files[names[1]], cameras))
        points = None
        if names[2] in files:
            points = _binary_points(files[names[2]]) if binary else _text_points(files[names[2]])
    except (struct.error, KeyError, IndexError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError(f"damaged COLMAP model: {error!r}") from error
    return Model(images=tuple(sorted(images, key=lambda image: image.name)), points=points)


def _lenses(views: Views) -> tuple[list[_Lens], list[int]]:
    """The different intrinsics of the shots, and which of them, from 1, each shot has."""
    known: dict[bytes, int] = {}
    lenses: list[_Lens] = []
    users = []
    for shot in views.shots:
        camera = shot.camera
        key = camera.K.tobytes() + struct.pack("<qq", camera.width, camera.height)
        if key not in known:
            lenses.append((camera.K, camera.width, camera.height))
            known[key] = len(lenses)
        users.append(known[key])
    return lenses, users


def _four(K: NDArray[np.float64]) -> list[float]:
    return [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])]


def _pose(shot: Shot) -> list[float]:
    viewmat = shot.camera.viewmat
    return [*quat_from_rotation(viewmat[:3, :3]).tolist(), *viewmat[:3, 3].tolist()]


def _point_rows(points: Points | None) -> list[tuple[list[float], list[int]]]:
    if points is None:
        return []
    return list(zip(points.positions.astype(np.float64).tolist(), points.colours.tolist(), strict=True))


def _camera(model: str, width: int, height: int, numbers: Sequence[float]) -> Camera:
    if model not in _NUMBERS or len(numbers) != _MODELS[_NUMBERS[model]][1]:
        raise ValueError(
            f"cameras of the models {', '.join(_NUMBERS)} are read, got {model[:40]} with {len(numbers)} numbers"
        )
    return Camera(model=model, width=width, height=height, numbers=tuple(numbers))


def _lens(camera: Camera) -> _Lens:
    numbers, model = camera.numbers, camera.model
    single = model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
    focal = [numbers[0], numbers[0]] if single else list(numbers[:2])
    centre, bent = (numbers[1:3], numbers[3:]) if single else (numbers[2:4], numbers[4:])
    if model not in _STRAIGHT or any(bent):
        raise ValueError(
            f"the {model} camera's lens bends ({', '.join(f'{k:g}' for k in bent)}): undistort the pictures first"
        )
    K = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]], np.float64)
    return K, camera.width, camera.height


def _image(pose: Sequence[float], camera: Camera, name: str) -> Image:
    if not np.isfinite(pose).all() or not np.linalg.norm(pose[:4]) > 1e-9:
        raise ValueError(f"{name[:80]}: its pose holds numbers that make none")
    viewmat = np.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = rotation_from_quat(pose[:4]), pose[4:]
    return Image(name=name, c2w=invert_rigid(viewmat), camera=camera)


def _count(data: bytes, least: int) -> int:
    """How many rows a binary file says it has, when it can have that many of at least so many bytes."""
    count = int(struct.unpack_from("<Q", data)[0])
    if count * least > len(data):
        raise ValueError(f"the COLMAP file claims {count} rows, more than its {len(data)} bytes can hold")
    return count


def _binary_cameras(data: bytes) -> Iterator[tuple[int, Camera]]:
    start = 8
    for _ in range(_count(data, 24)):
        number, model, width, height = struct.unpack_from("<iiQQ", data, start)
        if model not in _MODELS:
            raise ValueError(f"cameras of the models {', '.join(_NUMBERS)} are read, got number {model}")
        name, length = _MODELS[model]
        yield number, _camera(name, width, height, struct.unpack_from(f"<{length}d", data, start + 24))
        start += 24 + 8 * length


def _binary_images(data: bytes, cameras: Mapping[int, Camera]) -> Iterator[Image]:
    start = 8
    for _ in range(_count(data, 73)):
        *pose, camera = struct.unpack_from("<7di", data, start + 4)
        end = data.find(b"\0", start + 64, start + 64 + 1025)
        if end < 0:
            raise ValueError("a COLMAP image's name does not end")
        yield _image(pose, cameras[camera], data[start + 64 : end].decode())
        features = struct.unpack_from("<Q", data, end + 1)[0]
        start = end + 9 + 24 * features
        if start > len(data):
            raise ValueError(f"a COLMAP image claims {features} features, more than the file holds")


def _binary_points(data: bytes) -> Points:
    count, start = _count(data, 51), 8
    positions, colours = np.empty((count, 3)), np.empty((count, 3), np.uint8)
    for row in range(count):
        *values, _, track = struct.unpack_from("<3d3BdQ", data, start + 8)
        positions[row], colours[row] = values[:3], values[3:]
        start += 51 + 8 * track
    if start > len(data):
        raise ValueError("a COLMAP point's track claims more than the file holds")
    return checked_points(positions, colours=colours)


def _lines(data: bytes) -> Iterator[list[str]]:
    for line in data.decode().splitlines():
        if not line.startswith("#") and line.strip():
            yield line.split()


def _text_cameras(data: bytes) -> Iterator[tuple[int, Camera]]:
    for number, model, width, height, *numbers in _lines(data):
        yield int(number), _camera(model, int(width), int(height), [float(value) for value in numbers])


def _text_images(data: bytes, cameras: Mapping[int, Camera]) -> Iterator[Image]:
    lines = [line for line in data.decode().splitlines() if not line.startswith("#")]
    for line in lines[::2]:  # every second line holds features, or nothing
        words = line.split(maxsplit=9)
        if words:
            yield _image([float(word) for word in words[1:8]], cameras[int(words[8])], words[9])


def _text_points(data: bytes) -> Points:
    rows = np.array([[float(word) for word in words[1:7]] for words in _lines(data)]).reshape(-1, 6)
    if not np.isfinite(rows).all() or (len(rows) and (rows[:, 3:].min() < 0 or rows[:, 3:].max() > 255)):
        raise ValueError("the COLMAP points hold colours outside [0, 255], or numbers that are not finite")
    return checked_points(rows[:, :3], colours=rows[:, 3:])
