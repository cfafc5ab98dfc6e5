"""Textures as PNG, and packed numbers as WebP, and back; bounded by what their header says before a pixel is decoded."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

MAX_SIDE = 16_384


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

    try:
        with Image.open(io.BytesIO(data), formats=["WEBP", "PNG"]) as picture:
            if picture.width * picture.height > most:
                raise ValueError(f"a picture is {picture.width} x {picture.height}, wanted at most {most} pixels")
            return np.asarray(picture.convert("RGBA"))
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a WebP or PNG picture that can be read: {error}") from error


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
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the texture is not a PNG or JPEG picture that can be read: {error}") from error


def flip_v(uvs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places in a picture [N, 2] counted from the lower left corner instead of the upper left one, or back."""
    return np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1)
