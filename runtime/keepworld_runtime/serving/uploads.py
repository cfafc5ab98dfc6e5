"""AssetService: pictures, frames and videos come in, in one call, or in as many as it takes; what exports made goes out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import Any

import grpc
import numpy as np
from keepworld.v1 import asset_service_pb2, asset_service_pb2_grpc

from keepworld_runtime.engine.errors import InvalidFieldError, UploadBrokenOffError
from keepworld_runtime.serving import arriving, validate
from keepworld_runtime.serving.arriving import Arriving, ArrivingFrames, ArrivingVideo, Header, Request
from keepworld_runtime.serving.assets import AssetStore, Image
from keepworld_runtime.serving.exports.store import OperationStore
from keepworld_runtime.serving.idempotency import AnswerStore
from keepworld_runtime.serving.unfinished import Unfinished, Upload

Response = asset_service_pb2.UploadAssetResponse
Begun = asset_service_pb2.BeginUploadResponse

_PART_BYTES = 256 << 10
_MAX_DECODING = 2  # videos at once
_NEXT_WITHIN_S = 30.0


class AssetServicer(asset_service_pb2_grpc.AssetServiceServicer):
    """Fills a store, and gives what operations have `made`; `unfinished` has what is on its way, `threads` decode."""

    def __init__(self, store: AssetStore, unfinished: Unfinished, made: OperationStore, threads: Executor) -> None:
        self._store = store
        self._unfinished = unfinished
        self._made = made
        self._threads = threads
        self._decoding = asyncio.Semaphore(_MAX_DECODING)
        self._begun: AnswerStore[Begun] = AnswerStore(time.monotonic)

    async def UploadAsset(  # noqa: N802 - gRPC's names
        self,
        request_iterator: AsyncIterator[Request],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> Response:
        """Takes a header, or goes on with what has come before, and then the pieces that are due."""
        first = await _next(request_iterator)
        if first and first.HasField("resume"):
            return await self._resumed(request_iterator, first.resume)
        if first and first.HasField("header"):
            there = self._arriving(first.header)
            try:
                return await self._received(request_iterator, Upload(there, time.monotonic()), 0)
            finally:
                there.close()
        raise InvalidFieldError("the first message of an upload must be its header, or resume one", field="header")

    async def BeginUpload(  # noqa: N802
        self,
        request: asset_service_pb2.BeginUploadRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> Begun:
        """Begins an upload that can be gone on with."""

        async def begin() -> Begun:
            return Begun(upload_id=self._unfinished.begin(self._arriving(request.header)))

        if not validate.request_id(request.request_id):
            return await begin()
        return await self._begun.once(request.request_id, request.SerializeToString(deterministic=True), begin)

    async def GetUpload(  # noqa: N802
        self,
        request: asset_service_pb2.GetUploadRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> asset_service_pb2.GetUploadResponse:
        """How far it has come."""
        upload = self._unfinished.get(request.upload_id, "upload_id")
        return asset_service_pb2.GetUploadResponse(received=upload.arriving.received, asset=upload.asset)

    async def DownloadAsset(  # noqa: N802
        self,
        request: asset_service_pb2.DownloadAssetRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[asset_service_pb2.DownloadAssetResponse]:
        """A file of an operation, from any byte of it on."""
        file, path = self._made.file(request.operation_id, request.name)
        if request.offset > file.size:
            raise InvalidFieldError(f"the file has {file.size} bytes, got {request.offset}", field="offset")
        with await asyncio.to_thread(path.open, "rb") as source:
            source.seek(request.offset)
            yield asset_service_pb2.DownloadAssetResponse(size=file.size, sha256=file.sha256)
            while data := await asyncio.to_thread(source.read, _PART_BYTES):
                yield asset_service_pb2.DownloadAssetResponse(data=data)

    def _arriving(self, header: Header) -> Arriving[Any]:
        arriving.check(header, self._store.limits)
        if header.kind == asset_service_pb2.ASSET_KIND_VIDEO:
            return ArrivingVideo(header, self._store, self._decoding)
        return ArrivingFrames(header, self._store, self._threads)

    async def _resumed(self, requests: AsyncIterator[Request], resume: asset_service_pb2.UploadResume) -> Response:
        """Go on with an upload; one that breaks off can be gone on with, one that is refused holds nothing more."""
        upload, call = self._unfinished.resume(resume)
        try:
            if upload.asset is None:
                upload.asset = await self._received(requests, upload, call)
                upload.arriving.close()
            return upload.asset
        except UploadBrokenOffError:
            raise
        except InvalidFieldError as error:
            upload.check_mine(call)
            upload.refused = error
            upload.arriving.close()
            raise
        finally:
            upload.is_busy = upload.is_busy and upload.calls != call

    async def _received(self, requests: AsyncIterator[Request], upload: Upload, call: int) -> Response:
        """Take what is due, and keep what it comes to."""
        there = upload.arriving
        while there.received < there.header.frames:
            request = await _next(requests)
            if request is None:
                raise UploadBrokenOffError(f"{there.received} of {there.header.frames} came", field="frame")
            piece = await there.read(request)
            upload.check_mine(call)
            there.add(piece)
            self._unfinished.touch(upload)
        await _end(requests, there)
        asset = await there.whole()
        upload.check_mine(call)
        height, width = asset.shape[:2] if isinstance(asset, np.ndarray) else asset.frames.shape[1:3]
        return Response(asset_id=self._store.keep(asset), frames=_num_frames(asset), width=width, height=height)


async def _next(requests: AsyncIterator[Request]) -> Request | None:
    try:
        async with asyncio.timeout(_NEXT_WITHIN_S):
            return await anext(requests, None)
    except TimeoutError:
        raise UploadBrokenOffError(f"nothing came within {_NEXT_WITHIN_S:g} s", field="frame") from None


async def _end(requests: AsyncIterator[Request], there: Arriving[Any]) -> None:
    """Read to the end, and see that what came is what was meant."""
    last = await _next(requests)
    if last is not None and last.WhichOneof("message") == "sha256":
        if last.sha256 != there.hasher.digest():
            raise InvalidFieldError("what came has another SHA-256", field="sha256")
        last = await _next(requests)
    if last is not None:
        raise InvalidFieldError(f"more than the {there.header.frames} of the header came", field="frame")


def _num_frames(asset: Image | Any) -> int:
    return 1 if isinstance(asset, np.ndarray) else len(asset.frames)
