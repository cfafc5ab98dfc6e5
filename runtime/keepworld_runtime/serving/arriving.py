"""What comes in piece by piece: frames, each measured before it is decoded, or the parts of a video, decoded at the end.

A piece is first read, which takes time and changes nothing, and then added, at once: whatever breaks in between, what has come
is whole pieces.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np
from keepworld.v1 import asset_service_pb2, frame_pb2
from numpy.typing import NDArray

from keepworld_runtime.engine.errors import InputNotSupportedError, InvalidFieldError
from keepworld_runtime.families.family import Clip
from keepworld_runtime.serving import decode, decode_video, validate
from keepworld_runtime.serving.assets import AssetLimits, AssetStore, Image

Request = asset_service_pb2.UploadAssetRequest
Header = asset_service_pb2.AssetHeader

MAX_VIDEO_BYTES = 256 << 20
_IMAGE, _VIDEO = asset_service_pb2.ASSET_KIND_IMAGE, asset_service_pb2.ASSET_KIND_VIDEO
_KINDS = (_IMAGE, asset_service_pb2.ASSET_KIND_CLIP, _VIDEO)
_FORMATS: Mapping[int, decode.Format] = {frame_pb2.IMAGE_ENCODING_PNG: "PNG", frame_pb2.IMAGE_ENCODING_JPEG: "JPEG"}

Piece = TypeVar("Piece")


class Arriving(ABC, Generic[Piece]):
    """Pieces that have come and those that are still to come; what they take is held until `close`.

    Attributes:
        header: what was said of them.
        received: how many have come.
        hasher: of their data.
    """

    def __init__(self, header: Header, store: AssetStore) -> None:
        self.header = header
        self.received = 0
        self.hasher = hashlib.sha256()
        self._store = store
        self._held = ExitStack()

    @abstractmethod
    async def read(self, request: Request) -> Piece:
        """Make of a message what it holds.

        Raises:
            InvalidFieldError: it is not what is due.
        """

    @abstractmethod
    def add(self, piece: Piece) -> None:
        """Take the next piece.

        Raises:
            TooManyAssetsError: there is no room.
            InvalidFieldError: all of them together are too much.
        """

    @abstractmethod
    async def whole(self) -> Image | Clip:
        """Make an asset of all; may be asked for again.

        Raises:
            InvalidFieldError: it cannot be made.
        """

    def close(self) -> None:
        """Let go of what is held."""
        self._held.close()


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """A frame [H, W, 3], its camera to world [4, 4] if there is one, and the bytes that it came as."""

    image: NDArray[np.uint8]
    c2w: NDArray[np.float64] | None
    data: bytes


class ArrivingFrames(Arriving[_Frame]):
    """A picture, or the frames of a clip; `threads` decode."""

    def __init__(self, header: Header, store: AssetStore, threads: Executor) -> None:
        super().__init__(header, store)
        self._threads = threads
        self._frames: NDArray[np.uint8] | None = None
        self._c2ws = np.empty((header.frames, 4, 4)) if header.has_cameras else None

    async def read(self, request: Request) -> _Frame:
        """Decode a frame."""
        if request.WhichOneof("message") != "frame":
            raise InvalidFieldError(f"frame {self.received} of {self.header.frames} was due", field="frame")
        header, message = self.header, request.frame
        if message.HasField("world_from_camera") != header.has_cameras:
            raise InvalidFieldError(
                f"frame {self.received}: cameras must come with all frames or none, as the header says",
                field="frame.world_from_camera",
            )
        c2w = validate.pose(message.world_from_camera, "frame.world_from_camera") if header.has_cameras else None
        size = (header.width, header.height) if self._frames is None else self._frames.shape[2:0:-1]
        pixels = partial(_decode, message.image, size, self._store.limits.max_pixels)
        image = await asyncio.get_running_loop().run_in_executor(self._threads, pixels)
        return _Frame(image=image, c2w=c2w, data=message.image.data)

    def add(self, piece: _Frame) -> None:
        """Take a frame; with the first it is known how much there will be."""
        if self._frames is None:
            self._frames = self._room_for(*piece.image.shape[:2])
        self._frames[self.received] = piece.image
        if self._c2ws is not None:
            self._c2ws[self.received] = piece.c2w
        self.hasher.update(piece.data)
        self.received += 1

    async def whole(self) -> Image | Clip:
        """The picture, or the clip."""
        assert self._frames is not None
        return self._frames[0] if self.header.kind == _IMAGE else Clip(frames=self._frames, c2ws=self._c2ws)

    def _room_for(self, height: int, width: int) -> NDArray[np.uint8]:
        number, most = self.header.frames, self._store.limits.max_bytes
        num_bytes = number * height * width * 3
        if num_bytes > most:
            raise InvalidFieldError(
                f"{number} frames of {width}x{height} have {num_bytes} bytes, more than {most}", field="header.frames"
            )
        self._held.enter_context(self._store.room(num_bytes))
        return np.empty((number, height, width, 3), np.uint8)


class ArrivingVideo(Arriving[bytes]):
    """The parts of a video's file; `decoding` says how many are decoded at once."""

    def __init__(self, header: Header, store: AssetStore, decoding: asyncio.Semaphore) -> None:
        super().__init__(header, store)
        self._decoding = decoding
        self._data = bytearray()

    async def read(self, request: Request) -> bytes:
        """Take a part out of its message."""
        if request.WhichOneof("message") != "part":
            raise InvalidFieldError(f"part {self.received} of {self.header.frames} was due", field="part")
        return request.part

    def add(self, piece: bytes) -> None:
        """Take a part."""
        if len(self._data) + len(piece) > MAX_VIDEO_BYTES:
            raise InvalidFieldError(f"a video has at most {MAX_VIDEO_BYTES} bytes", field="part")
        self._held.enter_context(self._store.room(len(piece)))
        self._data += piece
        self.hasher.update(piece)
        self.received += 1

    async def whole(self) -> Clip:
        """Decode the file."""
        async with self._decoding:
            try:
                frames = await decode_video.video(self._data, self._store.limits, self._store.room)
            except ValueError as error:
                raise InvalidFieldError(str(error), field="part") from None
        return Clip(frames=frames, c2ws=None)


def check(header: Header, limits: AssetLimits) -> Header:
    """See that what is announced can be taken.

    Raises:
        InvalidFieldError, InputNotSupportedError: it cannot.
    """
    if header.kind not in _KINDS:
        raise InvalidFieldError("choose a kind: image, clip or video", field="header.kind")
    if header.kind == _VIDEO and not decode_video.is_available():
        raise InputNotSupportedError("this server decodes no videos; send frames", field="header.kind")
    most = 1 if header.kind == _IMAGE else limits.max_frames
    if not 1 <= header.frames <= most:
        raise InvalidFieldError(f"must be in [1, {most}], got {header.frames}", field="header.frames")
    if bool(header.width) != bool(header.height) or header.width * header.height > limits.max_pixels:
        raise InvalidFieldError(
            f"{header.width}x{header.height} must be both sides, or none, and at most {limits.max_pixels} pixels",
            field="header.width",
        )
    if header.kind == _VIDEO and (header.has_cameras or header.width):
        raise InvalidFieldError("a video is of its own size, and without cameras", field="header")
    return header


def _decode(image: frame_pb2.Image, size: tuple[int, int], max_pixels: int) -> NDArray[np.uint8]:
    """A picture as [H, W, 3]; its size must be `size`, width and height, unless that is (0, 0)."""
    field = "frame.image.data"
    if image.encoding == frame_pb2.IMAGE_ENCODING_RAW_RGB8:
        width, height = size
        if not image.data or len(image.data) != width * height * 3:
            raise InvalidFieldError(
                f"a raw frame of {width}x{height} has {width * height * 3} bytes, got {len(image.data)}", field=field
            )
        return np.frombuffer(image.data, np.uint8).reshape(height, width, 3)
    if image.encoding not in _FORMATS:
        raise InvalidFieldError("choose an encoding: raw, PNG or JPEG", field="frame.image.encoding")
    try:
        pixels = decode.picture(image.data, _FORMATS[image.encoding], max_pixels)
    except ValueError as error:
        raise InvalidFieldError(str(error), field=field) from None
    if any(size) and pixels.shape[:2] != size[::-1]:
        raise InvalidFieldError(
            f"every frame must be {size[0]}x{size[1]}, got {pixels.shape[1]}x{pixels.shape[0]}", field=field
        )
    return pixels
