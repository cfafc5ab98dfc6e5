"""HTTP/2 meant to harm: the connection that does it is refused or closed, and everybody else is answered."""

import asyncio
import struct

import grpc
import pytest
from keepworld.v1 import world_service_pb2

from tests.runtime.serving.client import WITHIN_S, Walk, create, script, serving

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 1, 3, 4, 6, 7
ENHANCE_YOUR_CALM = 11
END_HEADERS, END_STREAM = 4, 1


def http2(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header, HPACK's way without any table."""
    assert len(name) < 127 and len(value) < 127
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


# :method POST and :scheme http of HPACK's own table, and what a call of ours needs.
CALL = b"\x83\x86" + b"".join(
    literal(name, value)
    for name, value in [
        (b":path", b"/keepworld.v1.WorldService/ListSessions"),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
)


async def send(port: int, frames: bytes) -> list[tuple[int, bytes]]:
    """Send frames, and read what comes back until the server closes or says nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    came = []
    try:
        writer.write(PREFACE + http2(SETTINGS) + frames)
        async with asyncio.timeout(WITHIN_S):
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                came.append((head[3], payload))
                if head[3] == GOAWAY:
                    return came
    except (asyncio.IncompleteReadError, ConnectionError):
        return came
    finally:
        writer.close()


async def answers(stub) -> None:
    await stub.ListSessions(world_service_pb2.ListSessionsRequest(), timeout=WITHIN_S)


async def test_a_flood_of_pings_is_told_to_calm_down():
    async with serving() as (server, stub):
        came = await send(server.port, http2(PING, b"\0" * 8) * 100)
        reasons = [struct.unpack(">I", payload[4:8])[0] for kind, payload in came if kind == GOAWAY]
        assert reasons == [ENHANCE_YOUR_CALM]
        await answers(stub)


async def test_calls_that_are_taken_back_at_once_cost_nobody_else_a_frame():
    async with serving() as (server, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        taken_back = b"".join(
            http2(HEADERS, CALL, flags=END_HEADERS, stream=i) + http2(RST_STREAM, struct.pack(">I", 8), stream=i)
            for i in range(1, 10_001, 2)
        )
        calm = http2(PING, b"\0" * 8) * 100  # so that the server ends the connection when it has read all
        _, *frames = await asyncio.gather(send(server.port, taken_back + calm), _walked(walk))
        assert [frame.seq for frame in frames[0]] == list(range(len(frames[0])))
        await answers(stub)


async def _walked(walk):
    await walk.send(script=script((0.1, 30)))
    return [frame for _ in range(2) for frame in (await walk.chunk())[0]]


async def test_metadata_without_measure_is_refused():
    async with serving() as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            request = world_service_pb2.ListSessionsRequest()
            await stub.ListSessions(request, metadata=[("x", "y" * 100_000)], timeout=WITHIN_S)
        assert refused.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
        await answers(stub)


async def test_what_is_no_http2_is_closed():
    async with serving() as (server, stub):
        for garbage in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01" + b"\xff" * 200,
            b"\0" * 5000,
            PREFACE + b"\xff" * 5000,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(garbage)
            async with asyncio.timeout(WITHIN_S):
                while await _more(reader):
                    pass
            writer.close()
        await answers(stub)


async def _more(reader) -> bool:
    try:
        return bool(await reader.read(65_536))
    except ConnectionError:
        return False
