"""Textures as PNG, and packed numbers as WebP, and back; bounded by what their header says before a pixel is decoded."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

MAX_SIDE = 16_384
_MOST_PACKED, _FREE = (
    2048,
    1 << 20,
)  # pixels a byte that a picture of one colour can have, and what is opened in any case


def encode_png(texture: NDArray[np.uint8]) -> bytes:
    """A texture [H, W, 3] as PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(texture).save(file, "PNG", compress_level=6)
    return file.getvalue()


def encode_pixels(pixels: NDArray[np.uint8]) -> bytes:
    """Numbers [H, W, 4] as a lossless WebP, those of pixels that would not be seen included."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, exact=True, quality=80, method=4)
    return file.getvalue()


def decode_pixels(data: bytes, *, most: int) -> NDArray[np.uint8]:
    """The numbers [H, W, 4] of a WebP or PNG of at most so many pixels.

    Raises:
        ValueError: neither, damaged, or larger.
    """
    from PIL import Image

    width, height = _size(data)
    if not 0 < width * height <= most:
        raise ValueError(f"a picture is {width} x {height}, wanted at most {most} pixels")
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP", "PNG"]) as picture:
            if picture.size != (width, height):
                raise ValueError("a picture is not of the size that it says")
            return np.asarray(picture.convert("RGBA"))
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a WebP or PNG picture that can be read: {error}") from error


def _size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG or a lossless WebP by its header: what opens a WebP makes room for it at once.

    Raises:
        ValueError: it is neither.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        if data[12:16] == b"VP8L" and data[20] == 0x2F:
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if data[12:16] == b"VP8X":
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        raise ValueError("a WebP picture of numbers must be lossless")
    raise ValueError("not a PNG or WebP picture")


def decode_picture(data: bytes) -> NDArray[np.uint8]:
    """A PNG or JPEG as [H, W, 3].

    Raises:
        ValueError: neither, damaged, or of more than `MAX_SIDE` pixels a side.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as picture:
            if max(picture.size) > MAX_SIDE:
                raise ValueError(
                    f"the texture is {picture.width} x {picture.height}; at most {MAX_SIDE} a side is read"
                )
            if picture.width * picture.height > _MOST_PACKED * len(data) + _FREE:
                raise ValueError(f"the texture claims {picture.width} x {picture.height} pixels in {len(data)} bytes")
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the texture is not a PNG or JPEG picture that can be read: {error}") from error


def flip_v(uvs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places in a picture [N, 2] counted from the lower left corner instead of the upper left one, or back."""
    return np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1)
