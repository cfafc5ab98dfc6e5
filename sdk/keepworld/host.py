"""A server as a client sees it: found or started, connected to, what it can do, and the sessions opened on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from keepworld import wire_world
from keepworld.capabilities import Capabilities
from keepworld.connection import Connection
from keepworld.credentials import Address, Credentials
from keepworld.errors import UnavailableError
from keepworld.local import LocalServer
from keepworld.patience import Retry
from keepworld.v1 import world_service_pb2

if TYPE_CHECKING:
    from keepworld.session import AsyncSession

_LOCAL_RESUME_S = 5.0  # a private server that has gone does not come back


class Host:
    """The server of a client.

    Args:
        address: where it is; None: a private one is started when it is needed.
        credentials: what is shown to it.
        deadline_s: how long an answer may take.
        resume_s: how long a broken stream is tried again.
        retries: how often calls are made that may be made again.
        progress: show one line on a terminal while a private server starts.

    Attributes:
        address: where it is; None before a private one has been started.
    """

    def __init__(
        self,
        address: Address | None,
        credentials: Credentials,
        *,
        deadline_s: float,
        resume_s: float,
        retries: Retry,
        progress: bool,
    ) -> None:
        self.address = address
        self._credentials = credentials
        self._deadline_s = deadline_s
        self._resume_s = resume_s
        self._retries = retries
        self._progress = progress
        self._connecting = asyncio.Lock()
        self._connection: Connection | None = None
        self._server: LocalServer | None = None
        self._capabilities: Capabilities | None = None
        self._sessions: list[AsyncSession] = []
        self._is_closed = False

    @property
    def resume_s(self) -> float:
        """How long a broken stream is tried again."""
        return self._resume_s if self._server is None else min(self._resume_s, _LOCAL_RESUME_S)

    async def connected(self) -> Connection:
        """The connection, made if there is none yet.

        Raises:
            UnavailableError: the client has been closed, or the private server did not start.
        """
        async with self._connecting:
            if self._is_closed:
                raise UnavailableError("the client has been closed", code="CLIENT_CLOSED")
            if self._connection is None:
                if self.address is None:
                    self._server = await LocalServer.start(progress=self._progress)
                    self.address = Address(self._server.address, is_encrypted=False)
                self._connection = Connection(
                    self.address, self._credentials, deadline_s=self._deadline_s, retries=self._retries
                )
            return self._connection

    async def capabilities(self, *, again: bool = False) -> Capabilities:
        """What the server can do; with `again`, as it is now.

        Raises:
            ServerError: it did not answer.
        """
        if self._capabilities is None or again:
            connection = await self.connected()
            request = world_service_pb2.GetCapabilitiesRequest()
            response = await connection.repeat(connection.worlds.GetCapabilities, request)
            self._capabilities = wire_world.capabilities(response)
        return self._capabilities

    def keep(self, session: AsyncSession) -> None:
        """Close this session with the client."""
        self._sessions = [other for other in self._sessions if not other.is_closed] + [session]

    async def close(self) -> None:
        """Close every session, the connection, and a server started here."""
        self._is_closed = True
        try:
            for session in self._sessions:
                await session.close()
        finally:
            if self._connection is not None:
                await self._connection.close()
            if self._server is not None:
                server, self._server = self._server, None
                await server.stop()
