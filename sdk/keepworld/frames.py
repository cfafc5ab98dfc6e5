"""What a stream gives: frames with their cameras, gathered into chunks, and receipts for what was asked."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from keepworld import png
from keepworld.camera import Camera, convert_c2w
from keepworld.errors import MissingExtraError
from keepworld.motion import Control
from keepworld.video import Run


class Encoding(StrEnum):
    """How a frame's picture travels."""

    RAW = "raw"  # rows from the top, RGB, 8 bits
    PNG = "png"  # the same, losslessly compressed
    JPEG = "jpeg"  # lossy; decoding needs Pillow
    H264 = "h264"  # video, lossy: a frame follows from those before it in its chunk; decoding needs PyAV

    @property
    def is_lossless(self) -> bool:
        """Whether a picture comes as it was drawn."""
        return self in (Encoding.RAW, Encoding.PNG)


class Label(IntFlag):
    """What a pixel shows beside its colour."""

    SKY = 1
    MOVING = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """When a frame came to be, seconds on the server's monotonic clock; `sent_s - drawn_s` is encoding and queueing."""

    drawn_s: float
    sent_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One frame: a picture, the camera it was made from, and what is known of every pixel.

    Attributes:
        number: counted from the session's start, without gaps.
        chunk: the chunk it belongs to.
        index: its place in that chunk.
        time_s: its time in the world, seconds from the start.
        camera: pose and intrinsics, OpenCV axes.
        encoding: of `data`.
        data: the picture as it travelled; of H.264, one access unit, Annex B.
        depth: [H, W] float32 along +z in the camera's units, 0 where there is none (sky); None if not asked for.
        labels: [H, W] uint8 of `Label` bits; None if not asked for.
        confidence: [H, W] uint8, 255 = sure; None if not asked for.
        timing: when it was made and sent; None for frames read from a file.
        run: of H.264, the pictures that it follows from, and its place among them.
    """

    number: int
    chunk: int
    index: int
    time_s: float
    camera: Camera
    encoding: Encoding
    data: bytes
    depth: NDArray[np.float32] | None = None
    labels: NDArray[np.uint8] | None = None
    confidence: NDArray[np.uint8] | None = None
    timing: Timing | None = None
    run: tuple[Run, int] | None = None

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """The picture [H, W, 3], uint8 sRGB, decoded when first asked for.

        Raises:
            MissingExtraError: it travelled as JPEG and Pillow is not installed, or as H.264 and PyAV is not.
            ValueError: the data is damaged or not of the camera's size.
        """
        height, width = self.camera.height, self.camera.width
        if self.encoding is Encoding.RAW:
            if len(self.data) != height * width * 3:
                raise ValueError(
                    f"a raw frame of {width}x{height} has {height * width * 3} bytes, got {len(self.data)}"
                )
            return np.frombuffer(self.data, np.uint8).reshape(height, width, 3)
        if self.run is not None:
            run, place = self.run
            return run.picture(place)
        image = (
            png.decode(self.data, max_pixels=height * width)
            if self.encoding is Encoding.PNG
            else _decode_jpeg(self.data, width, height)
        )
        if image.shape != (height, width, 3):
            raise ValueError(f"the picture must be [{height}, {width}, 3], got {list(image.shape)}")
        return image

    @property
    def sky(self) -> NDArray[np.bool_] | None:
        """Where nothing was hit, [H, W]."""
        return None if self.labels is None else (self.labels & Label.SKY) != 0

    @property
    def moving(self) -> NDArray[np.bool_] | None:
        """Where something is seen that is no lasting part of the world, [H, W]."""
        return None if self.labels is None else (self.labels & Label.MOVING) != 0


def _decode_jpeg(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("decoding JPEG frames needs Pillow", install="pip install pillow") from error
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
        if picture.size != (width, height):
            raise ValueError(f"the picture must be {width}x{height}, got {picture.size[0]}x{picture.size[1]}")
        return np.asarray(picture.convert("RGB"))


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Camera-to-world matrices [N, 4, 4], OpenCV axes, of the frames of a chunk."""

    c2ws: NDArray[np.float64]

    def to(self, name: str) -> NDArray[np.float64]:
        """The same poses [N, 4, 4] in another program's axes and units: one of `keepworld.camera.CONVENTIONS`."""
        return convert_c2w(self.c2ws, to=name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The server's word on when something asked for takes effect: from the first frame of `applies_to_chunk`.

    Attributes:
        applies_to_chunk: that chunk.
        id: of what was asked for, as `Session.cancel_event` takes it.
        used, ignored: the words of an event that counted, and those that did not.
    """

    applies_to_chunk: int
    id: str = ""
    used: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRecord:
    """An event as it took place."""

    text: str
    ramp_s: float
    duration_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """What a chunk cost, milliseconds.

    Attributes:
        control_ms: from the newest control's arrival at the server to its chunk's first frame leaving; None without one.
        draw_ms: time in the family.
        chunk_ms: from the chunk's start to its last frame leaving, queueing included.
        round_trip_ms: from the newest control's leaving this client to its chunk having come whole; None without one.
    """

    control_ms: float | None
    draw_ms: float
    chunk_ms: float
    round_trip_ms: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chunk:
    """The frames drawn together, and what they were drawn from.

    Attributes:
        index: from 0; chunk 0 is shorter than the others.
        frames: in order.
        controls: one a frame; where a camera path was followed they are neutral.
        events: those that began with this chunk.
        latency: what it cost.
        extended: whether it goes on from what `Session.extend` gave, and not from the chunk before.
    """

    index: int
    frames: Sequence[Frame]
    controls: Sequence[Control]
    events: Sequence[EventRecord]
    latency: Latency
    extended: bool = False

    @property
    def poses(self) -> Poses:
        """Where the camera was in each frame."""
        return Poses(np.stack([frame.camera.c2w for frame in self.frames]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """What a walk known beforehand came to.

    Attributes:
        first_frame, last_frame: numbers, counted from the session's start.
        chunks, frames: how many; the last chunk stands still once the walk is over.
        seconds: time in the world.
        wall_s: time it took.
        chunk_ms: the median time a chunk took the server.
    """

    first_frame: int
    last_frame: int
    chunks: int
    frames: int
    seconds: float
    wall_s: float
    chunk_ms: float
