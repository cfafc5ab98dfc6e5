"""A TCP proxy between a client and a server that fails on command: cut, silent, refusing, and whole again."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

_PART_BYTES = 64 * 2**10


class Proxy:
    """Passes bytes between whoever connects to `address` and `target`, until told to fail.

    Args:
        target: host:port of the server.

    Attributes:
        address: host:port to connect to, once entered.
        connections: how many have been accepted and had a server behind them.
        passed_bytes: from the server to its clients.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_refusing = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._watched: list[tuple[int, asyncio.Event]] = []
        self.address = ""
        self.connections = 0
        self.passed_bytes = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname()[:2])
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        await self._drop()
        await self._server.wait_closed()

    async def cut(self, seconds: float = 0.0) -> None:
        """Break every connection, and refuse new ones for so long."""
        self._is_refusing = True
        await self._drop()
        await asyncio.sleep(seconds)
        self._is_refusing = False

    def stall(self) -> None:
        """Pass nothing more, and keep every connection: as when a cable is pulled."""
        self._flows.clear()

    def heal(self) -> None:
        """Pass everything again, what was held back first; take new connections."""
        self._is_refusing = False
        self._flows.set()

    def after(self, num_bytes: int) -> asyncio.Event:
        """An event that is set when so many more bytes have gone from the server to its clients."""
        passed = asyncio.Event()
        self._watched.append((self.passed_bytes + num_bytes, passed))
        return passed

    async def _drop(self) -> None:
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._is_refusing:
                await self._connect(reader, writer)
        except asyncio.CancelledError:
            pass  # cut: asyncio's server takes the end of this task for an error otherwise
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        try:
            there_reader, there_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return
        self.connections += 1
        ways = [
            asyncio.create_task(self._pass(reader, there_writer, is_answer=False)),
            asyncio.create_task(self._pass(there_reader, writer, is_answer=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            there_writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while part := await reader.read(_PART_BYTES):
                await self._flows.wait()
                writer.write(part)
                await writer.drain()
                if is_answer:
                    self._count(len(part))

    def _count(self, num_bytes: int) -> None:
        self.passed_bytes += num_bytes
        for at, passed in self._watched:
            if self.passed_bytes >= at:
                passed.set()
        self._watched = [(at, passed) for at, passed in self._watched if not passed.is_set()]
