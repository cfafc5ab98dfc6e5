"""The client: one connection to a server, which it starts itself if it is given no address."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from keepworld import journals, wire_world
from keepworld.capabilities import Capabilities, FamilyCapabilities, Snapshot
from keepworld.credentials import Address, Credentials
from keepworld.exports import AsyncExports
from keepworld.host import Host
from keepworld.patience import DEFAULT_RETRY, Retry
from keepworld.sending import sent
from keepworld.sessions import AsyncSessions, Opening
from keepworld.uploads import Asset, Frames
from keepworld.v1 import world_service_pb2

__all__ = ["AsyncClient", "AsyncSessions", "FamilyCapabilities", "Opening"]


class AsyncClient:
    """A connection to a server; ``async with`` closes it, its sessions, and the server if it started it.

    Args:
        address: "grpcs://host:port", encrypted, or "grpc://host:port" or "host:port"; None: the environment's KEEPWORLD_URL,
            else a private server, started on this machine at the first call.
        api_key: shows the server who is calling; None: the environment's KEEPWORLD_API_KEY, if there is one.
        root_certificates: a PEM file of who vouches for the server; None: whom gRPC trusts.
        client_certificate: PEM files of the client's own certificate and its key, where the server wants one.
        deadline_s: how long an answer may take; opening a world may take six times as long.
        resume_s: how long a stream that broke is tried again before it is a `SessionLostError`; a private server that has
            gone is waited for 5 seconds at most.
        retries: how often a call is made that may be made again, while no server is there.
        progress: show one line on a terminal while a private server starts.

    Attributes:
        sessions: opens worlds and lists them.
        exports: has what was walked made into 3D files on the server.

    Raises:
        ValueError: the address is not one, or what is shown and trusted does not go with it.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        api_key: str | None = None,
        root_certificates: str | Path | None = None,
        client_certificate: tuple[str | Path, str | Path] | None = None,
        deadline_s: float = 10.0,
        resume_s: float = 60.0,
        retries: Retry = DEFAULT_RETRY,
        progress: bool = False,
    ) -> None:
        if not deadline_s > 0:
            raise ValueError(f"deadline_s must be positive, got {deadline_s}")
        if not resume_s >= 0:
            raise ValueError(f"resume_s must be 0 or more, got {resume_s}")
        given = address if address is not None else os.environ.get("KEEPWORLD_URL") or None
        where = None if given is None else Address.parse(given)
        credentials = Credentials(
            api_key=api_key or os.environ.get("KEEPWORLD_API_KEY") or None,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
        )
        if where is not None:
            credentials.check(where)
        self._host = Host(
            where, credentials, deadline_s=deadline_s, resume_s=resume_s, retries=retries, progress=progress
        )
        self.sessions = AsyncSessions(self._host)
        self.exports = AsyncExports(self._host)

    async def __aenter__(self) -> Self:
        await self._host.connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def address(self) -> str | None:
        """Host and port of the server; None before a private one has been started."""
        return None if self._host.address is None else self._host.address.target

    async def capabilities(self) -> Capabilities:
        """What the server can do.

        Raises:
            ServerError: it did not answer.
        """
        return await self._host.capabilities(again=True)

    async def snapshots(self) -> list[Snapshot]:
        """The worlds that the server keeps and that are yours to see, the newest first.

        Raises:
            ServerError: it did not answer.
        """
        connection = await self._host.connected()
        response = await connection.repeat(connection.worlds.ListSnapshots, world_service_pb2.ListSnapshotsRequest())
        return [wire_world.snapshot(snapshot) for snapshot in response.snapshots[: wire_world.MAX_LISTED]]

    async def delete_snapshot(self, snapshot: Snapshot | str) -> None:
        """Have the server keep a world no longer; sessions that went on from it go on.

        Raises:
            NotFoundError: it is gone already, or not yours.
        """
        connection = await self._host.connected()
        request = world_service_pb2.DeleteSnapshotRequest(
            snapshot_id=snapshot if isinstance(snapshot, str) else snapshot.id
        )
        await connection.once(connection.worlds.DeleteSnapshot, request)

    async def export_snapshot(self, snapshot: Snapshot | str, path: str | Path) -> Path:
        """Write all that led to a world that the server keeps to a file: `import_journal` takes it, on any server.

        Args:
            snapshot: which, or its id.
            path: the file, such as walk.kwj.

        Raises:
            NotFoundError: it is gone, or not yours.
            OSError: the file cannot be written.
        """
        connection = await self._host.connected()
        snapshot_id = snapshot if isinstance(snapshot, str) else snapshot.id
        request = world_service_pb2.GetJournalRequest(snapshot_id=snapshot_id)
        await journals.fetch(connection, request, Path(path))
        return Path(path)

    async def import_journal(self, path: str | Path, name: str = "") -> Snapshot:
        """Have the server keep the world that a file's walk led to, for ``open(snapshot=...)`` to go on from.

        Args:
            path: the file, as `AsyncSession.journal` or `export_snapshot` wrote it.
            name: for people; need not be unique.

        Raises:
            InvalidRequestError: it is no such file, not whole, or of a family that the server has not in that version.
            OSError: it cannot be read.
        """
        connection = await self._host.connected()
        return wire_world.snapshot(await journals.give(connection, Path(path), name))

    async def upload(self, clip: Frames, *, progress: bool = False) -> Asset:
        """Send frames that sessions shall be opened from or go on from, once for all of them; they are kept for a while.

        Args:
            clip: as for `AsyncSessions.open`.
            progress: show one line on a terminal.

        Raises:
            ValueError: it is none.
            InvalidRequestError: the server refused it.
            CaptureError, OSError: it cannot be read.
        """
        return await sent(await self._host.connected(), clip, resume_s=self._host.resume_s, progress=progress)

    async def close(self) -> None:
        """Close every session, the connection, and a server started here."""
        await self._host.close()
