"""PNG in numpy and zlib: what lossless frames and masks are stored as, without an imaging library.

Writes 8-bit grey and RGB. Reads what it writes fast, and other people's 8-bit non-interlaced grey and RGB files correctly.
Source: the PNG specification (W3C, third edition), sections 5, 9 and 11.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3}  # colour type -> channels
_SUB, _UP, _AVERAGE, _PAETH = 1, 2, 3, 4


def encode(image: NDArray[np.uint8], *, level: int = 1) -> bytes:
    """Turn an image, [H, W] grey or [H, W, 3] RGB, uint8, into a PNG file; `level` is zlib's."""
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or (image.ndim == 3 and image.shape[2] != 3)
        or not image.size
    ):
        raise ValueError(f"image must be uint8 [H, W] or [H, W, 3], got {image.dtype} {list(image.shape)}")
    height, width = image.shape[:2]
    rows = image.reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if image.ndim == 2 else 2, 0, 0, 0)
    body = zlib.compress(filtered.data, level)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def size(data: bytes) -> tuple[int, int]:
    """The width and height a PNG file claims, from its header alone.

    Raises:
        ValueError: it is not a PNG file.
    """
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        raise ValueError("not a PNG file")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def decode(data: bytes, *, max_pixels: int = 64_000_000) -> NDArray[np.uint8]:
    """Read a PNG file: [H, W] for grey, [H, W, 3] for RGB, uint8.

    Raises:
        ValueError: not a PNG file, damaged, larger than `max_pixels`, or of a kind that is not read here.
    """
    width, height = size(data)
    depth, colour, compression, filtering, interlace = struct.unpack(">BBBBB", data[24:29])
    if not width or not height or width * height > max_pixels:
        raise ValueError(f"a picture of {width}x{height} is outside 1..{max_pixels} pixels")
    if depth != 8 or colour not in _CHANNELS or compression or filtering or interlace:
        raise ValueError("only 8-bit grey or RGB PNG files without interlacing are read")
    channels = _CHANNELS[colour]
    stride = width * channels
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(_image_data(data), height * (1 + stride))
    except zlib.error as error:
        raise ValueError(f"damaged PNG file: {error}") from error
    if len(body) != height * (1 + stride):
        raise ValueError("damaged PNG file: it ends too early")
    filtered = np.frombuffer(body, np.uint8).reshape(height, 1 + stride)
    rows = _unfilter(filtered[:, 0], filtered[:, 1:], channels)
    return rows.reshape(height, width, 3) if channels == 3 else rows


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _image_data(data: bytes) -> bytes:
    """Join the IDAT chunks, checking each one's CRC."""
    parts, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        end = data[at + 8 + length : at + 12 + length]
        if len(end) != 4 or struct.unpack(">I", end)[0] != zlib.crc32(kind + body):
            raise ValueError("damaged PNG file: a checksum is wrong")
        if kind == b"IDAT":
            parts.append(body)
        at += 12 + length
    return b"".join(parts)


def _unfilter(filters: NDArray[np.uint8], rows: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Undo the row filters of `rows` [H, W * channels]."""
    if (filters == _UP).all():
        return np.add.accumulate(rows, axis=0, dtype=np.uint8)
    out = np.zeros_like(rows)
    above = np.zeros(rows.shape[1], np.uint8)
    for y, kind in enumerate(filters):
        row = rows[y]
        if kind == 0:
            above = row.copy()
        elif kind == _SUB:
            above = np.add.accumulate(row.reshape(-1, channels), axis=0, dtype=np.uint8).reshape(-1)
        elif kind == _UP:
            above = row + above
        elif kind in (_AVERAGE, _PAETH):
            above = _unfilter_by_pixel(int(kind), row, above, channels)
        else:
            raise ValueError(f"damaged PNG file: no row filter {kind}")
        out[y] = above
    return out


def _unfilter_by_pixel(kind: int, row: NDArray[np.uint8], above: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Undo filters that depend on the pixel just decoded: Average and Paeth."""
    values, up = row.tolist(), above.tolist()
    for i in range(len(values)):
        left = values[i - channels] if i >= channels else 0
        if kind == _AVERAGE:
            guess = (left + up[i]) // 2
        else:
            corner = up[i - channels] if i >= channels else 0
            estimate = left + up[i] - corner
            guess = min((left, up[i], corner), key=lambda value: abs(estimate - value))
        values[i] = (values[i] + guess) & 255
    return np.array(values, np.uint8)
