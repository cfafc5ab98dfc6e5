"""AssetService: pictures and frames come in one by one, each measured before it is decoded.

A clip may also come as a video file: with the metadata `keepworld-upload: video`, the frames that follow the header are the
file's parts, in order, in their `image.data`; `keepworld-sha256`, if it is there, is what the whole file must hash to.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from functools import partial
from typing import Any

import grpc
import numpy as np
from keepworld.v1 import asset_service_pb2, asset_service_pb2_grpc, frame_pb2
from numpy.typing import NDArray

from keepworld_runtime.engine.errors import InputNotSupportedError, InvalidFieldError
from keepworld_runtime.families.family import Clip
from keepworld_runtime.serving import decode, decode_video, validate
from keepworld_runtime.serving.assets import AssetLimits, AssetStore

Request = asset_service_pb2.UploadAssetRequest

MAX_VIDEO_BYTES = 256 << 20
_MAX_DECODING = 2  # videos at once
_NEXT_WITHIN_S = 30.0
_KINDS = (asset_service_pb2.ASSET_KIND_IMAGE, asset_service_pb2.ASSET_KIND_CLIP)
_FORMATS: Mapping[int, decode.Format] = {frame_pb2.IMAGE_ENCODING_PNG: "PNG", frame_pb2.IMAGE_ENCODING_JPEG: "JPEG"}


class AssetServicer(asset_service_pb2_grpc.AssetServiceServicer):
    """Fills a store; `threads` decode."""

    def __init__(self, store: AssetStore, threads: Executor) -> None:
        self._store = store
        self._threads = threads
        self._decoding = asyncio.Semaphore(_MAX_DECODING)

    async def UploadAsset(  # noqa: N802 - gRPC's names
        self,
        request_iterator: AsyncIterator[Request],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> asset_service_pb2.UploadAssetResponse:
        """Takes a header, and then its frames."""
        limits = self._store.limits
        header = _header(await _next(request_iterator), limits)
        said = {name: str(value) for name, value in context.invocation_metadata() or ()}
        if said.get("keepworld-upload") == "video":
            return await self._video(request_iterator, header, said.get("keepworld-sha256"))
        first = await self._frame(request_iterator, header, 0, size=(header.width, header.height))
        height, width = first[0].shape[:2]
        num_bytes = header.frames * height * width * 3
        if num_bytes > limits.max_bytes:
            raise InvalidFieldError(
                f"{header.frames} frames of {width}x{height} have {num_bytes} bytes, more than {limits.max_bytes}",
                field="header.frames",
            )
        with self._store.room(num_bytes):
            frames = np.empty((header.frames, height, width, 3), np.uint8)
            c2ws = np.empty((header.frames, 4, 4)) if header.has_cameras else None
            for index in range(header.frames):
                image, c2w = (
                    first if index == 0 else await self._frame(request_iterator, header, index, (width, height))
                )
                frames[index] = image
                if c2ws is not None:
                    c2ws[index] = c2w
            if await _next(request_iterator) is not None:
                raise InvalidFieldError(f"more than the {header.frames} frames of the header came", field="frame")
            is_image = header.kind == asset_service_pb2.ASSET_KIND_IMAGE
            asset_id = self._store.keep(frames[0] if is_image else Clip(frames=frames, c2ws=c2ws))
        return asset_service_pb2.UploadAssetResponse(
            asset_id=asset_id, frames=header.frames, width=width, height=height
        )

    async def _video(
        self, requests: AsyncIterator[Request], header: asset_service_pb2.AssetHeader, sha256: str | None
    ) -> asset_service_pb2.UploadAssetResponse:
        """Takes a file in parts, and then has it decoded."""
        if not decode_video.is_available():
            raise InputNotSupportedError("this server decodes no videos; send frames", field="header.kind")
        if header.kind != asset_service_pb2.ASSET_KIND_CLIP or header.has_cameras or header.width:
            raise InvalidFieldError("a video is a clip of its own size, without cameras", field="header")
        data, hasher = bytearray(), hashlib.sha256()
        with ExitStack() as held:
            for index in range(header.frames):
                request = await _next(requests)
                if request is None or request.WhichOneof("message") != "frame":
                    raise InvalidFieldError(f"part {index} of {header.frames} was due", field="frame")
                part = request.frame.image.data
                if len(data) + len(part) > MAX_VIDEO_BYTES:
                    raise InvalidFieldError(f"a video has at most {MAX_VIDEO_BYTES} bytes", field="frame.image.data")
                held.enter_context(self._store.room(len(part)))
                data += part
                hasher.update(part)
            if await _next(requests) is not None:
                raise InvalidFieldError(f"more than the {header.frames} parts of the header came", field="frame")
            if sha256 is not None and sha256.lower() != hasher.hexdigest():
                raise InvalidFieldError("the file that came has another SHA-256", field="frame.image.data")
            async with self._decoding:
                try:
                    frames = await decode_video.video(data, self._store.limits, self._store.room)
                except ValueError as error:
                    raise InvalidFieldError(str(error), field="frame.image.data") from None
        asset_id = self._store.keep(Clip(frames=frames, c2ws=None))
        number, height, width, _ = frames.shape
        return asset_service_pb2.UploadAssetResponse(asset_id=asset_id, frames=number, width=width, height=height)

    async def _frame(
        self,
        requests: AsyncIterator[Request],
        header: asset_service_pb2.AssetHeader,
        index: int,
        size: tuple[int, int],
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64] | None]:
        """The next frame [H, W, 3], and its camera to world [4, 4] if there is one."""
        request = await _next(requests)
        if request is None or request.WhichOneof("message") != "frame":
            raise InvalidFieldError(f"frame {index} of {header.frames} was due", field="frame")
        message = request.frame
        if message.HasField("world_from_camera") != header.has_cameras:
            raise InvalidFieldError(
                f"frame {index}: cameras must come with all frames or none, as the header says",
                field="frame.world_from_camera",
            )
        c2w = validate.pose(message.world_from_camera, "frame.world_from_camera") if header.has_cameras else None
        pixels = partial(_decode, message.image, size, self._store.limits.max_pixels)
        return await asyncio.get_running_loop().run_in_executor(self._threads, pixels), c2w


async def _next(requests: AsyncIterator[Request]) -> Request | None:
    try:
        async with asyncio.timeout(_NEXT_WITHIN_S):
            return await anext(requests, None)
    except TimeoutError:
        raise InvalidFieldError(f"nothing came within {_NEXT_WITHIN_S:g} s", field="frame") from None


def _header(request: Request | None, limits: AssetLimits) -> asset_service_pb2.AssetHeader:
    if request is None or request.WhichOneof("message") != "header":
        raise InvalidFieldError("the first message of an upload must be its header", field="header")
    header = request.header
    if header.kind not in _KINDS:
        raise InvalidFieldError("choose a kind: image or clip", field="header.kind")
    most = 1 if header.kind == asset_service_pb2.ASSET_KIND_IMAGE else limits.max_frames
    if not 1 <= header.frames <= most:
        raise InvalidFieldError(f"must be in [1, {most}], got {header.frames}", field="header.frames")
    if bool(header.width) != bool(header.height) or header.width * header.height > limits.max_pixels:
        raise InvalidFieldError(
            f"{header.width}x{header.height} must be both sides, or none, and at most {limits.max_pixels} pixels",
            field="header.width",
        )
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
