"""Frames as bytes: lossless ones come back exactly, JPEG nearly, depth to the last bit."""

import io
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from keepworld import png
from keepworld_runtime.families.family import FrameData
from keepworld_runtime.serving.pictures import Encoding, PictureFormat, encode
from PIL import Image


@pytest.fixture
def frame(rng) -> FrameData:
    smooth = np.add.outer(np.arange(48) * 2, np.arange(64))[..., None] + [0, 20, 40]
    return FrameData(
        index=0,
        c2w=np.eye(4),
        K=np.eye(3),
        image=(smooth % 256).astype(np.uint8),
        depth=np.exp(rng.normal(size=(48, 64)) * 3).astype(np.float32),
        labels=rng.integers(0, 4, (48, 64), np.uint8),
        confidence=None,
    )


def test_raw_is_the_pixels(frame):
    encoded = encode(frame, PictureFormat(encoding=Encoding.RAW))
    assert encoded.image == frame.image.tobytes()
    assert (encoded.depth, encoded.labels, encoded.confidence) == (b"", b"", b"")


def test_png_comes_back_exactly(frame):
    encoded = encode(frame, PictureFormat(encoding=Encoding.PNG))
    np.testing.assert_array_equal(png.decode(encoded.image), frame.image)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encoded.image))), frame.image)


@pytest.mark.parametrize(("quality", "sampling"), [(95, (1, 1)), (90, (1, 1)), (89, (2, 2)), (1, (2, 2))])
def test_jpeg_keeps_colour_at_full_resolution_from_quality_90(frame, quality, sampling):
    encoded = encode(frame, PictureFormat(encoding=Encoding.JPEG, quality=quality))
    with Image.open(io.BytesIO(encoded.image)) as picture:
        assert picture.size == (64, 48)
        assert tuple(picture.layer[0][1:3]) == sampling


def test_jpeg_is_near(frame):
    encoded = encode(frame, PictureFormat(encoding=Encoding.JPEG, quality=95))
    error = np.asarray(Image.open(io.BytesIO(encoded.image))).astype(float) - frame.image
    assert np.abs(error).mean() < 3


def test_depth_travels_as_byte_planes(frame):
    encoded = encode(frame, PictureFormat(encoding=Encoding.RAW, pixel_data=True))
    planes = np.frombuffer(zlib.decompress(encoded.depth), np.uint8).reshape(4, -1)
    values = sum(planes[i].astype(np.uint32) << np.uint32(8 * i) for i in range(4))
    np.testing.assert_array_equal(values.view(np.float32).reshape(48, 64), frame.depth)
    assert zlib.decompress(encoded.labels) == frame.labels.tobytes()
    assert encoded.confidence == b""


@pytest.mark.parametrize("quality", [30, 75, 90, 100])
def test_jpeg_loses_what_another_writer_of_jpeg_loses(frame, quality):
    file = io.BytesIO()
    sampling = "4:4:4" if quality >= 90 else "4:2:0"
    Image.fromarray(frame.image).save(file, "JPEG", quality=quality, subsampling=sampling)
    ours = encode(frame, PictureFormat(encoding=Encoding.JPEG, quality=quality)).image
    assert len(ours) == pytest.approx(len(file.getvalue()), rel=0.05)
    assert _error(ours, frame) == pytest.approx(_error(file.getvalue(), frame), rel=0.1)


def _error(picture: bytes, frame: FrameData) -> float:
    decoded = np.asarray(Image.open(io.BytesIO(picture))).astype(float)
    return float(np.sqrt(((decoded - frame.image) ** 2).mean()))


def test_a_view_of_a_larger_picture_is_encoded_as_its_copy(frame):
    wanted = PictureFormat(encoding=Encoding.JPEG)
    view = replace(frame, image=frame.image[:, ::2])
    copy = replace(frame, image=frame.image[:, ::2].copy())
    assert encode(view, wanted).image == encode(copy, wanted).image


def test_encoding_leaves_no_file_open(frame):
    before = set(Path("/proc/self/fd").iterdir())
    for _ in range(20):
        encode(frame, PictureFormat(encoding=Encoding.JPEG))
    assert set(Path("/proc/self/fd").iterdir()) == before
