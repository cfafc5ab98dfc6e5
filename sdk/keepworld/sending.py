"""Sends what worlds begin with or go on from. What breaks off is gone on with from where the server has it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from typing import TYPE_CHECKING, TypeAlias

from keepworld import uploads, wire_world
from keepworld.connection import Connection
from keepworld.errors import (
    InvalidRequestError,
    NotFoundError,
    SessionLostError,
    StreamStalledError,
    UnavailableError,
    from_grpc,
)
from keepworld.feed import new_id
from keepworld.patience import Patience
from keepworld.progress import ProgressLine
from keepworld.uploads import Asset, Frames, Upload
from keepworld.v1 import asset_service_pb2

if TYPE_CHECKING:
    import grpc.aio

logger = logging.getLogger(__name__)

Request = asset_service_pb2.UploadAssetRequest
Call: TypeAlias = "grpc.aio.StreamUnaryCall[Request, asset_service_pb2.UploadAssetResponse]"

_OPEN_FACTOR = 6  # decoding at the end takes longer than other calls
_PIECE_S = 1.0  # added to the time a call may take, for each piece
_MIN_STALL_S = 3.0
_OFFSET = "UPLOAD_OFFSET"


async def sent(connection: Connection, given: Frames, *, resume_s: float, progress: bool = False) -> Asset:
    """Frames to go on from, on the server: sent by `send`, if they are not there already."""
    if isinstance(given, Asset):
        return given
    return await send(connection, uploads.clip(given), resume_s=resume_s, progress=progress)


async def send(connection: Connection, upload: Upload, *, resume_s: float, progress: bool = False) -> Asset:
    """Send a picture, frames or a video, over broken connections if need be.

    Args:
        connection: to the server.
        upload: what is sent.
        resume_s: how long it is tried again without anything more coming through.
        progress: show one line on a terminal.

    Raises:
        InvalidRequestError: it was refused.
        ServerError: the server refused, or could not be reached for so long.
    """
    line = ProgressLine(wanted=progress)
    try:
        return await _over_breaks(_Sender(connection, upload, line), Patience(resume_s))
    finally:
        line.end()


async def _over_breaks(sender: _Sender, patience: Patience) -> Asset:
    while True:
        try:
            return await sender.go_on()
        except (UnavailableError, StreamStalledError) as error:
            if sender.got_on():
                patience.renew()
            try:
                pause = patience.next_pause_s(error)
            except SessionLostError:
                raise error from None
            logger.info("the upload broke: %s; again in %.1f s", error, pause)
            await asyncio.sleep(pause)


class _Sender:
    """One upload, over as many calls as it takes."""

    def __init__(self, connection: Connection, upload: Upload, line: ProgressLine) -> None:
        self._connection, self._upload = connection, upload
        self._request = asset_service_pb2.BeginUploadRequest(request_id=new_id(), header=wire_world.header(upload))
        self._line = line
        self._upload_id = ""
        self._hashers = [hashlib.sha256()]  # of the data before each piece
        self._had = self._has = 0  # pieces that the server had before the last call, and now

    def got_on(self) -> bool:
        """Whether the server has more than when this was last asked."""
        had, self._had = self._had, self._has
        return self._has > had

    async def go_on(self) -> Asset:
        """Send what the server has not; gives the asset.

        Raises:
            UnavailableError, StreamStalledError: it broke off.
            ServerError: it was refused.
        """
        connection = self._connection
        if not self._upload_id:
            begun = await connection.repeat(connection.assets.BeginUpload, self._request)
            self._upload_id = begun.upload_id
        else:
            try:
                request = asset_service_pb2.GetUploadRequest(upload_id=self._upload_id)
                told = await connection.repeat(connection.assets.GetUpload, request)
            except NotFoundError as error:  # the server was started again, or it took too long
                self._upload_id, self._had, self._has = "", 0, 0
                self._request.request_id = new_id()
                raise UnavailableError("the server has forgotten the upload", code="UPLOAD_NOT_FOUND") from error
            if told.asset.asset_id:
                return wire_world.asset(told.asset)
            self._has = min(told.received, self._upload.num_pieces)
        return await self._call()

    async def _call(self) -> Asset:
        connection = self._connection
        deadline_s = _OPEN_FACTOR * connection.deadline_s + _PIECE_S * self._upload.num_pieces
        worlds, call = connection.worlds, connection.assets.UploadAsset(timeout=deadline_s)
        try:
            with from_grpc(), contextlib.suppress(asyncio.InvalidStateError):  # ended already: its answer says why
                await self._write(call)
            with from_grpc():
                return wire_world.asset(await call)
        except InvalidRequestError as error:
            if error.code != _OFFSET:
                raise
            raise UnavailableError("a piece came through that was thought lost", code=_OFFSET) from error
        except StreamStalledError:
            await connection.renew(worlds)
            raise
        finally:
            call.cancel()

    async def _write(self, call: Call) -> None:
        await self._put(call, wire_world.resumed(self._upload_id, self._has))
        pieces = self._upload.pieces(self._has)
        for number in range(self._has, self._upload.num_pieces):
            # A picture is read or packed on a thread, when the connection has taken the one before.
            piece = await asyncio.to_thread(next, pieces, None)
            assert piece is not None
            if number + 1 == len(self._hashers):
                hasher = self._hashers[-1].copy()
                hasher.update(piece.data)
                self._hashers.append(hasher)
            await self._put(call, wire_world.piece(piece))
            self._line.show(f"sent {number + 1} of {self._upload.num_pieces} {self._upload.words}")
        await self._put(call, Request(sha256=self._hashers[-1].digest()))
        await call.done_writing()

    async def _put(self, call: Call, request: Request) -> None:
        stall_s = max(_MIN_STALL_S, self._connection.deadline_s)
        try:
            async with asyncio.timeout(stall_s):
                await call.write(request)
        except TimeoutError:
            raise StreamStalledError(f"the server took nothing for {stall_s:g} s") from None
