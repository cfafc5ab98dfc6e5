"""PNG files against Pillow, which reads and writes them independently."""

import io
import struct
import zlib

import numpy as np
import pytest
from keepworld import png
from PIL import Image


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def handmade(
    image: np.ndarray, filters: list[int], *, size: tuple[int, int] | None = None, interlace: int = 0
) -> bytes:
    """A file whose rows use the given filters, after the specification's section 9."""
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else 3
    rows = image.reshape(height, -1).astype(int)
    body = b""
    for y, kind in enumerate(filters):
        row, above = rows[y], rows[y - 1] if y else np.zeros_like(rows[0])
        left = np.concatenate([np.zeros(channels, int), row[:-channels]])
        corner = np.concatenate([np.zeros(channels, int), above[:-channels]])
        guess = left + above - corner
        distances = np.stack([abs(guess - left), abs(guess - above), abs(guess - corner)])
        paeth = np.choose(distances.argmin(0), [left, above, corner])
        predicted = [np.zeros_like(row), left, above, (left + above) // 2, paeth][kind]
        body += bytes([kind]) + ((row - predicted) & 255).astype(np.uint8).tobytes()
    width, height = size or (width, height)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (1, 1, 3), (1, 9)])
def test_pillow_reads_what_is_written(shape, rng):
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png.encode(image)))), image)
    np.testing.assert_array_equal(png.decode(png.encode(image)), image)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_pillow_writes_is_read(mode, rng):
    smooth = np.cumsum(rng.integers(-3, 4, (40, 60, 3)), 1) % 256
    picture = Image.fromarray(smooth.astype(np.uint8)).convert(mode)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    np.testing.assert_array_equal(png.decode(out.getvalue()), np.asarray(picture))


@pytest.mark.parametrize("shape", [(10, 6), (10, 6, 3)])
def test_every_row_filter_is_undone(shape, rng):
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    data = handmade(image, [0, 1, 2, 3, 4, 4, 3, 2, 1, 0])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), image)  # the test's own encoder is right
    np.testing.assert_array_equal(png.decode(data), image)
    first = handmade(image, [4, 3, 4, 3, 4, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(png.decode(first), image)


def test_a_claimed_size_is_checked_before_anything_is_made():
    image = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="pixels"):
        png.decode(handmade(image, [0, 0], size=(2**31 - 1, 2**31 - 1)))
    with pytest.raises(ValueError, match="too early"):
        png.decode(handmade(image, [0, 0], size=(900, 900)))


def test_a_bomb_does_not_go_off():
    """A megabyte of zeros a kilobyte: only as much is inflated as the header's size needs."""
    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(50_000_000), 9)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    assert png.decode(data).shape == (2, 2)


@pytest.mark.parametrize("damage", ["text", "empty", "cut", "flipped", "filter", "interlaced", "header"])
def test_damage_is_a_value_error(damage, rng):
    image = rng.integers(0, 256, (6, 4), dtype=np.uint8)
    good = png.encode(image)
    data = {
        "text": b"not a picture at all, but long enough to be looked at closely",
        "empty": b"",
        "cut": good[: len(good) // 2],
        "flipped": good[:45] + bytes([good[45] ^ 255]) + good[46:],
        "filter": good[:33] + chunk(b"IDAT", zlib.compress(b"\x09\0\0\0\0" * 6)) + chunk(b"IEND", b""),
        "interlaced": handmade(image, [0] * 6, interlace=1),
        "header": good[:20],
    }[damage]
    with pytest.raises(ValueError):
        png.decode(data)


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(ValueError, match="uint8"):
        png.encode(image)
