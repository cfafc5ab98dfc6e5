"""The proxy that tests break connections with does what it says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.proxy import Proxy


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[Proxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1000):
                writer.write(data)
        writer.transport.abort()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Proxy("{}:{}".format(*server.sockets[0].getsockname())) as proxy:
        yield proxy
    server.close()
    await server.wait_closed()


async def connected(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = proxy.address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def test_whole_it_passes_everything_both_ways() -> None:
    async with echoing() as proxy:
        reader, writer = await connected(proxy)
        passed = proxy.after(5)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        await passed.wait()
        assert (proxy.connections, proxy.passed_bytes) == (1, 5)
        writer.close()


async def test_a_cut_ends_connections_and_new_ones_come_through_after_it() -> None:
    async with echoing() as proxy:
        reader, writer = await connected(proxy)
        writer.write(b"once")
        assert await reader.readexactly(4) == b"once"
        cutting = asyncio.create_task(proxy.cut(0.2))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        refused, _ = await connected(proxy)
        with contextlib.suppress(ConnectionError):
            assert await refused.read() == b""
        await cutting
        reader, writer = await connected(proxy)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        assert proxy.connections == 2
        writer.close()


async def test_what_a_stall_holds_back_comes_when_it_is_healed() -> None:
    async with echoing() as proxy:
        reader, writer = await connected(proxy)
        proxy.stall()
        writer.write(b"later")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(5), 0.2)
        proxy.heal()
        assert await reader.readexactly(5) == b"later"
        writer.close()
