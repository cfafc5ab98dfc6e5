"""The calls that keep a session's world, go back in it, or branch off it."""

from __future__ import annotations

from keepworld.connection import Connection
from keepworld.feed import new_id
from keepworld.v1 import world_service_pb2


class Lines:
    """Makes them for one session."""

    def __init__(self, connection: Connection, session_id: str, token: str) -> None:
        self._connection, self._session_id, self._token = connection, session_id, token

    async def snapshot(self, name: str) -> world_service_pb2.Snapshot:
        """Keep the world as it is after its last whole chunk."""
        request = world_service_pb2.CreateSnapshotRequest(
            request_id=new_id(), session_id=self._session_id, token=self._token, name=name
        )
        call = self._connection.worlds.CreateSnapshot
        return (await self._connection.repeat(call, request, request_id=request.request_id)).snapshot

    async def rewind(self, chunks: int) -> int:
        """Go back to where there were so many chunks; gives their number."""
        request = world_service_pb2.RewindSessionRequest(
            request_id=new_id(), session_id=self._session_id, token=self._token, chunks=chunks
        )
        await self._connection.repeat(self._connection.worlds.RewindSession, request, request_id=request.request_id)
        return chunks

    async def branch(self, chunks: int) -> world_service_pb2.BranchSessionResponse:
        """Open a second session that shares so many chunks."""
        request = world_service_pb2.BranchSessionRequest(
            request_id=new_id(), session_id=self._session_id, token=self._token, chunks=chunks
        )
        return await self._connection.repeat(
            self._connection.worlds.BranchSession, request, request_id=request.request_id
        )
