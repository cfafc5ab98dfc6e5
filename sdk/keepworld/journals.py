"""Walks as files (.kwj): all that it takes to make them again, from a server and to another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from keepworld.connection import Connection
from keepworld.errors import ProtocolError, StreamStalledError, from_grpc
from keepworld.files import whole_file
from keepworld.v1 import world_service_pb2

MAX_BYTES = 8 * 2**30  # of a file
_PART_BYTES = 2**20
_MIN_STALL_S = 3.0

Done = TypeVar("Done")


async def fetch(connection: Connection, request: world_service_pb2.GetJournalRequest, path: Path) -> None:
    """Write what a server has of a walk to a file, whole or not at all.

    Raises:
        ServerError: the server did not give it.
        OSError: it cannot be written.
    """
    call, num_bytes = connection.worlds.GetJournal(request), 0
    try:
        with whole_file(path) as unfinished, from_grpc():
            file = await asyncio.to_thread(unfinished.open, "wb")
            try:
                while isinstance(part := await _soon(connection, call.read()), world_service_pb2.GetJournalResponse):
                    num_bytes += len(part.data)
                    if num_bytes > MAX_BYTES:
                        raise ProtocolError(f"the server sent a journal of more than {MAX_BYTES} bytes")
                    await asyncio.to_thread(file.write, part.data)
            finally:
                await asyncio.to_thread(file.close)
    finally:
        call.cancel()


async def give(connection: Connection, path: Path, name: str) -> world_service_pb2.Snapshot:
    """Have a server keep the walk in a file, as a snapshot.

    Raises:
        InvalidRequestError: it is not such a file, or not whole, or not of a family as it is there.
        ServerError: the server did not take it.
        OSError: it cannot be read.
    """
    call = connection.worlds.ImportJournal()
    try:
        with path.open("rb") as file, from_grpc():
            with contextlib.suppress(asyncio.InvalidStateError):  # ended already: its answer says why
                while data := await asyncio.to_thread(file.read, _PART_BYTES):
                    await _soon(connection, call.write(world_service_pb2.ImportJournalRequest(data=data, name=name)))
                await call.done_writing()
            return (await call).snapshot
    finally:
        call.cancel()


async def _soon(connection: Connection, done: Awaitable[Done]) -> Done:
    """What comes of something that must not take long."""
    stall_s = max(_MIN_STALL_S, connection.deadline_s)
    try:
        async with asyncio.timeout(stall_s):
            return await done
    except TimeoutError:
        raise StreamStalledError(f"nothing came from the server, or went to it, for {stall_s:g} s") from None
