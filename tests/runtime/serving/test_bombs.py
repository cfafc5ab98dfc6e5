"""Pictures that are small to send and large to open, or that pretend: refused from their first bytes."""

import io
import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from keepworld import png
from keepworld_runtime.serving import decode
from PIL import Image

MAX_PIXELS = 3840 * 2160
GREY = np.full((16, 24, 3), 90, np.uint8)
PICTURE = png.encode(GREY)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(chunks)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def packed(num_bytes: int) -> bytes:
    return zlib.compress(b"\0" * num_bytes, 9)


def written(kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, kind, **options)
    return file.getvalue()


def with_scans(number: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    whole = written("JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * number + whole[-2:]


def with_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says another size."""
    at = next(at for at in range(len(data)) if data[at] == 0xFF and data[at + 1] in (0xC0, 0xC2))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def with_segments(number: int) -> bytes:
    whole = written("JPEG")
    return whole[:2] + b"\xff\xfe\x00\x02" * number + whole[2:]


def twice_framed() -> bytes:
    whole = written("JPEG")
    at = whole.index(b"\xff\xc0")
    length = struct.unpack(">H", whole[at + 2 : at + 4])[0]
    frame = with_size(whole, 60_000, 60_000)[at : at + 2 + length]
    return whole[: at + 2 + length] + frame + whole[at + 2 + length :]


BOMBS: dict[str, tuple[decode.Format, bytes]] = {
    "a PNG of 50,000 x 50,000": ("PNG", png_of(50_000, 50_000)),
    "a PNG of 2^32 - 1 squared": ("PNG", png_of(2**32 - 1, 2**32 - 1)),
    "a PNG of no width": ("PNG", png_of(0, 16)),
    "a PNG with 200 MB of words": ("PNG", png_of(24, 16, chunk(b"zTXt", b"a\0\0" + packed(200 << 20)))),
    "a PNG with 60 times 1 MB of words": ("PNG", png_of(24, 16, *[chunk(b"zTXt", b"a\0\0" + packed(1 << 20))] * 60)),
    "a PNG with 200 MB of foreign words": ("PNG", png_of(24, 16, chunk(b"iTXt", b"a\0\1\0\0\0" + packed(200 << 20)))),
    "a PNG with a profile of 200 MB": ("PNG", png_of(24, 16, chunk(b"iCCP", b"a\0\0" + packed(200 << 20)))),
    "a PNG that says two sizes": ("PNG", png_of(24, 16, png_of(40_000, 40_000)[8:33])),
    "a PNG cut short": ("PNG", PICTURE[:-30]),
    "a PNG's first bytes alone": ("PNG", PICTURE[:20]),
    "a JPEG of 65,535 x 65,535": ("JPEG", with_size(written("JPEG"), 65_535, 65_535)),
    "a JPEG of no height": ("JPEG", with_size(written("JPEG"), 24, 0)),
    "a JPEG of 5,000 scans": ("JPEG", with_scans(5000)),
    "a JPEG of a million segments": ("JPEG", with_segments(1_000_000)),
    "a JPEG with two frames": ("JPEG", twice_framed()),
    "a JPEG cut short": ("JPEG", written("JPEG")[:-40]),
    "a JPEG that is a PNG": ("JPEG", PICTURE),
    "a PNG that is a JPEG": ("PNG", written("JPEG")),
    "a GIF of 10 GB": ("PNG", b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\xf7\0\0" + b"\0" * 768),
    "an SVG": ("PNG", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>'),
    "a TIFF": ("JPEG", written("TIFF")),
    "a BMP": ("PNG", written("BMP")),
    "PostScript": ("JPEG", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "nothing": ("PNG", b""),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_every_bomb_is_refused_and_the_refusal_tells_nothing_of_this_machine(name):
    kind, data = BOMBS[name]
    with pytest.raises(ValueError) as refusal:
        decode.picture(data, kind, MAX_PIXELS)
    assert " at 0x" not in str(refusal.value) and "/" not in str(refusal.value)


MEASURE = """
import json, resource, sys
from pathlib import Path
from keepworld_runtime.serving import decode
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
decode.picture(Path(sys.argv[1], "first").read_bytes(), "PNG", 10**6)
start = peak()
for kind, name in json.loads(sys.argv[2]):
    try:
        decode.picture(Path(sys.argv[1], name).read_bytes(), kind, int(sys.argv[3]))
    except ValueError:
        continue
    sys.exit(name)
print(peak() - start)
"""


def test_all_bombs_together_take_less_than_64_megabytes(tmp_path):
    (tmp_path / "first").write_bytes(PICTURE)
    listed = [(kind, str(i)) for i, (kind, _) in enumerate(BOMBS.values())]
    for (_, name), (_, data) in zip(listed, BOMBS.values(), strict=True):
        (tmp_path / name).write_bytes(data)
    command = (sys.executable, "-c", MEASURE, tmp_path, json.dumps(listed), str(MAX_PIXELS))
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 64 << 20


def test_a_picture_that_is_also_something_else_is_its_pixels():
    archive = b"PK\x03\x04" + b"<script>alert(1)</script>" * 10
    assert np.array_equal(decode.picture(PICTURE + archive, "PNG", MAX_PIXELS), GREY)


@pytest.mark.parametrize("number", [1, 10])
def test_pictures_as_cameras_and_programs_write_them_are_taken(number):
    for data in (
        with_scans(number),
        with_segments(number),
        written("JPEG", exif=b"Exif\0\0" + b"II*\0" + b"\xff" * 40),
    ):
        assert decode.picture(data, "JPEG", MAX_PIXELS).shape == GREY.shape
    text = chunk(b"zTXt", b"Software\0\0" + packed(10_000))
    (size,) = struct.unpack(">I", PICTURE[8:12])
    assert np.array_equal(decode.picture(PICTURE[: 20 + size] + text + PICTURE[20 + size :], "PNG", MAX_PIXELS), GREY)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_whatever_is_changed_in_a_picture_it_is_pixels_or_a_refusal(kind):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker" * 20
    original = bytearray(written(kind, exif=exif.tobytes()))
    rng = np.random.default_rng(7)
    taken = 0
    for _ in range(400):
        changed = bytearray(original)
        for at in rng.integers(0, len(changed), rng.integers(1, 4)):
            changed[at] = rng.integers(0, 256)
        try:
            pixels = decode.picture(bytes(changed), kind, 10_000)
        except ValueError:
            continue
        taken += 1
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[0] * pixels.shape[1] <= 10_000
    assert taken < 400
