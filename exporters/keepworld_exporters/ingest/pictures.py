"""Picture files of strangers: measured from their headers before anything is decoded; and what their EXIF says of the lens."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from keepworld.errors import ExportError
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from keepworld_exporters.ingest.lens import MAX_SIDE, Lens
from keepworld_exporters.ingest.sequence import MAX_PHOTOS, Photo

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
MAX_PIXELS = 120_000_000
MAX_BYTES = 512 * 2**20
DIAGONAL_35MM = math.hypot(36, 24)
GUESSED_FOCAL = 1.2  # of the longer side, where nothing is known: about 45 degrees across
_DEPTH_MODES = ("I", "I;16", "F")


def measure(path: Path) -> tuple[int, int]:
    """Width and height of a picture, from its header alone, as it is stored.

    Raises:
        ExportError: not a picture, or too large.
    """
    with _opened(path) as picture:
        return picture.size


def read(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a picture [H, W, 3] of a size; one that is stored lying on its side is turned if only so it fits.

    Raises:
        ExportError: damaged, or of another size.
    """
    with _opened(path) as picture:
        turned: Image.Image = picture
        if picture.size != size:
            turned = ImageOps.exif_transpose(picture)
        if turned.size != size:
            raise ExportError(f"{path} is {picture.width} x {picture.height}, {size[0]} x {size[1]} was wanted")
        try:
            return np.asarray(turned.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            raise ExportError(f"{path} is damaged: {error}") from error


def read_mask(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a mask [H, W]: True where it is not black; another size of the same shape is stretched.

    Raises:
        ExportError: damaged.
    """
    with _opened(path) as picture:
        try:
            return np.asarray(picture.convert("L").resize(size, Image.Resampling.NEAREST)) > 127
        except (OSError, ValueError, SyntaxError) as error:
            raise ExportError(f"{path} is damaged: {error}") from error


def read_alpha(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where a picture is not transparent, [H, W]."""
    with _opened(path) as picture:
        return np.asarray(picture.convert("RGBA").getchannel("A").resize(size, Image.Resampling.NEAREST)) > 127


def has_alpha(path: Path) -> bool:
    """Whether a picture has transparent places, by its header."""
    with _opened(path) as picture:
        return "A" in picture.getbands()


def read_depth(path: Path, size: tuple[int, int], unit: float) -> NDArray[np.float32]:
    """Read depth [H, W] of a 16-bit picture or a .npy file, times `unit`; another size of the same shape is stretched.

    Raises:
        ExportError: damaged, or neither.
    """
    if path.suffix == ".npy":
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ExportError(f"{path}: not an array of numbers: {error}") from error
        if stored.ndim != 2 or max(stored.shape) > MAX_SIDE or stored.dtype.kind not in "fui":
            raise ExportError(f"{path}: depth must be [H, W] numbers, got {stored.dtype} {list(stored.shape)}")
        values = np.asarray(stored, np.float32)
    else:
        with _opened(path) as picture:
            if picture.mode not in _DEPTH_MODES:
                raise ExportError(f"{path}: depth must have 16 bits a pixel, got {picture.mode}")
            try:
                values = np.asarray(picture, np.float32)
            except (OSError, ValueError, SyntaxError) as error:
                raise ExportError(f"{path} is damaged: {error}") from error
    rows = np.minimum(((np.arange(size[1]) + 0.5) * values.shape[0] / size[1]).astype(int), values.shape[0] - 1)
    columns = np.minimum(((np.arange(size[0]) + 0.5) * values.shape[1] / size[0]).astype(int), values.shape[1] - 1)
    depth = values[rows[:, None], columns] * np.float32(unit)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def photos_in(folder: Path, *, fov: float | None = None) -> tuple[Photo, ...]:
    """The pictures of a folder in the order of their names, upright, with lenses from EXIF or guessed.

    Args:
        folder: holds pictures; what else lies there is left alone.
        fov: radians from left to right, where the user knows it.

    Raises:
        ExportError: there are none, or too many.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not 0 < len(paths) <= MAX_PHOTOS:
        raise ExportError(f"{folder} must hold 1 to {MAX_PHOTOS} pictures ({', '.join(SUFFIXES)}), got {len(paths)}")
    return tuple(photo_at(inside_only(folder, path), number, fov=fov) for number, path in enumerate(paths))


def inside_only(folder: Path, path: Path) -> Path:
    """A file found in a folder, if it is not a link that leads out of it."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ExportError(f"{path} is a link that leads out of {folder}")
    return path


def photo_at(path: Path, number: int, *, fov: float | None = None, time_s: float | None = None) -> Photo:
    """A picture file as a photo without a camera."""
    width, height, focal = upright(path)
    if fov is not None:
        focal = 0.5 * width / math.tan(0.5 * fov)
    focal = focal or GUESSED_FOCAL * max(width, height)
    lens = Lens(fx=focal, fy=focal, cx=width / 2, cy=height / 2, width=width, height=height)
    return Photo(
        name=path.name, image=partial(read, path, (width, height)), lens=lens,
        time_s=number / 4 if time_s is None else time_s,
    )  # fmt: skip


def upright(path: Path) -> tuple[int, int, float | None]:
    """Width and height of a picture held upright, and its focal length in pixels if its EXIF says one."""
    with _opened(path) as picture:
        width, height = picture.size
        try:
            exif = picture.getexif()
            if exif.get(ExifTags.Base.Orientation) in (5, 6, 7, 8):
                width, height = height, width
            length = float(exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm) or 0)
        except (ValueError, TypeError, OSError, SyntaxError, ZeroDivisionError, OverflowError):
            length = 0.0
    focal = length / DIAGONAL_35MM * math.hypot(width, height)
    return width, height, focal if math.isfinite(focal) and focal > 0 else None


def reader(path: Path, size: tuple[int, int]) -> Callable[[], NDArray[np.uint8]]:
    """What reads a picture when it is wanted."""
    return partial(read, path, size)


def _opened(path: Path) -> Image.Image:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ExportError(f"{path} has {path.stat().st_size} bytes; at most {MAX_BYTES} are read")
        picture = Image.open(path, formats=FORMATS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ExportError(f"{path} is no picture that is read here ({', '.join(FORMATS)}): {error}") from error
    if max(picture.size) > MAX_SIDE or picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise ExportError(f"{path} is {picture.width} x {picture.height}; at most {MAX_PIXELS} pixels are read")
    return picture
