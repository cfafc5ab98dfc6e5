"""Frames to bytes: the picture as the reader wants it, and what is known of each pixel. Runs in threads, beside the loop."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import simplejpeg
from keepworld import png
from numpy.typing import NDArray

from keepworld_runtime.families.family import FrameData
from keepworld_runtime.serving.h264 import H264Encoder

_FULL_COLOUR_FROM = 90  # JPEG quality from which colour is kept at full resolution


class Encoding(StrEnum):
    """How a picture travels."""

    RAW = "raw"
    PNG = "png"
    JPEG = "jpeg"
    H264 = "h264"


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFormat:
    """What a reader asked for: an encoding, the quality of JPEG and H.264, and whether pixel data comes along."""

    encoding: Encoding
    quality: int = 90
    pixel_data: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """A frame's bytes; those not asked for, or not there, are empty.

    Attributes:
        encode_s: how long it took.
        ready_s: when it was done, on the monotonic clock.
    """

    encoding: Encoding
    image: bytes
    depth: bytes
    labels: bytes
    confidence: bytes
    encode_s: float
    ready_s: float


def encode(data: FrameData, wanted: PictureFormat, video: H264Encoder | None = None) -> Encoded:
    """Turn a frame into bytes, as the next picture of `video` if H.264 is wanted."""
    started_s = time.monotonic()
    if wanted.encoding is Encoding.H264:
        assert video is not None
        image = video.encode(data.image, alone=data.index == 0)
    else:
        image = _picture(data.image, wanted)
    depth = _depth_planes(data.depth) if wanted.pixel_data else b""
    labels = _deflate(data.labels) if wanted.pixel_data else b""
    confidence = _deflate(data.confidence) if wanted.pixel_data else b""
    ready_s = time.monotonic()
    return Encoded(
        encoding=wanted.encoding,
        image=image,
        depth=depth,
        labels=labels,
        confidence=confidence,
        encode_s=ready_s - started_s,
        ready_s=ready_s,
    )


def _picture(image: NDArray[np.uint8], wanted: PictureFormat) -> bytes:
    if wanted.encoding is Encoding.RAW:
        return image.tobytes()
    if wanted.encoding is Encoding.PNG:
        return png.encode(image)
    return _jpeg(image, wanted.quality)


def _jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """A picture [H, W, 3] as JPEG. Other threads run meanwhile, and libjpeg-turbo reads the array as it lies."""
    subsampling = "444" if quality >= _FULL_COLOUR_FROM else "420"
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=quality, colorspace="RGB", colorsubsampling=subsampling, fastdct=False
    )
    return encoded


def _depth_planes(depth: NDArray[np.float32] | None) -> bytes:
    """Depth [H, W] as a zlib stream of its four byte planes, all lowest bytes first."""
    if depth is None:
        return b""
    planes = depth.astype("<f4", copy=False).reshape(-1).view(np.uint8).reshape(-1, 4).T
    return _deflate(np.ascontiguousarray(planes))


def _deflate(values: NDArray[Any] | None) -> bytes:
    return b"" if values is None else zlib.compress(np.ascontiguousarray(values).data, 1)
