"""Pictures from strangers as pixels: measured from their first bytes, before anything is spent on them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin

Format = Literal["PNG", "JPEG"]

_MAX_SCANS = 32  # of a JPEG; each costs as much as the whole picture, and real ones have about ten
_MAX_SEGMENTS = 1024  # of a JPEG before its size; real ones have up to a few hundred, of profiles
_MAX_TEXT_BYTES = 1 << 20  # of a PNG's words, unpacked
_HAS_SIZE = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG's markers of frames
_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"

PngImagePlugin.MAX_TEXT_CHUNK = _MAX_TEXT_BYTES
PngImagePlugin.MAX_TEXT_MEMORY = _MAX_TEXT_BYTES


@dataclass(frozen=True, slots=True)
class Size:
    """Of a picture, pixels, as its header says."""

    width: int
    height: int


def picture(data: bytes, kind: Format, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a picture [H, W, 3], turned as it was taken.

    Raises:
        ValueError: it is no such picture, it is damaged, or its header says that it is too large.
    """
    size = _SIZES[kind](data)
    if not 0 < size.width * size.height <= max_pixels:
        raise ValueError(f"{size.width}x{size.height} is not within 1 and {max_pixels} pixels")
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as opened:
            if opened.size != (size.width, size.height):
                raise ValueError(f"a {kind} with two sizes")
            upright = ImageOps.exif_transpose(opened)
            return np.asarray(upright.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, Image.DecompressionBombError):
        raise ValueError(f"not a {kind} picture, or a damaged one") from None


def _png_size(data: bytes) -> Size:
    if not data.startswith(_PNG_START) or len(data) < 33:
        raise ValueError("not a PNG picture")
    return Size(*struct.unpack(">II", data[16:24]))


def _jpeg_size(data: bytes) -> Size:
    """Walk the segments up to the one that has the size, and bound the scans behind it."""
    if not data.startswith(b"\xff\xd8\xff"):
        raise ValueError("not a JPEG picture")
    at = 2
    for _ in range(_MAX_SEGMENTS):
        segment = data[at : at + 9]
        if len(segment) < 9 or segment[0] != 0xFF:
            break
        if segment[1] == 0xFF:  # filling
            at += 1
            continue
        length, _, height, width = struct.unpack(">HBHH", segment[2:])
        if segment[1] in _HAS_SIZE:
            if data.count(b"\xff\xda", at) > _MAX_SCANS:
                raise ValueError(f"a JPEG of more than {_MAX_SCANS} scans")
            return Size(width, height)
        at += 2 + length
    raise ValueError("not a JPEG picture, or a damaged one")


_SIZES: Mapping[Format, Callable[[bytes], Size]] = {"PNG": _png_size, "JPEG": _jpeg_size}
