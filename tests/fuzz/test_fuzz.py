"""What nobody would send: the server answers every call with a status, and goes on as if nothing had been."""

import asyncio
import contextlib

import numpy as np
import pytest

from tests.faults.harness import Held, check_walk, server_process, until_back_at
from tests.fuzz.calls import HUNG_AFTER_S, fuzz, methods
from tests.runtime.serving.client import Walk, connect, create

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def check_well(port: int) -> None:
    """An ordinary walk is what it always was."""
    async with connect(port) as stub:
        walk = Walk(stub, await create(stub))
        await walk.attach()
        check_walk([frame for _ in range(3) for frame in (await walk.chunk())[0]], 45)


@pytest.mark.parametrize("calls", [2500, pytest.param(1_000_000, marks=pytest.mark.slow)])
async def test_every_call_ends_with_a_status_that_is_not_the_servers_fault(calls):
    async with server_process("--max-sessions", "16") as (port, server):
        first = await fuzz(f"127.0.0.1:{port}", 500, seed=1)
        before = Held.by(server)
        findings = await fuzz(f"127.0.0.1:{port}", calls, seed=2)
        held = await until_back_at(server, before)
        await check_well(port)
    assert not first.wrong + findings.wrong
    assert findings.longest_s < HUNG_AFTER_S
    assert {name for name, _ in findings.statuses} == {method.name for method in methods()}
    reached = {name for name, status in findings.statuses if status == "OK"}
    assert {"CreateSession", "StreamSession", "GetCapabilities"} <= reached  # more than the doors were tried
    assert held.rss < before.rss + (64 << 20)  # sessions, snapshots and answers are kept, within their bounds


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


DATA, HEADERS, RST, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
GARBAGE = {
    "nothing": b"",
    "an HTTP/1 request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "half a preface": PREFACE[:10],
    "a preface alone": PREFACE,
    "a frame of 16 MB that never comes": PREFACE + (2**24 - 1).to_bytes(3) + b"\0\0\0\0\0\1",
    "settings of odd length": PREFACE + frame(SETTINGS, 0, 0, b"\0\1\2"),
    "data of no stream": PREFACE + frame(SETTINGS, 0, 0, b"") + frame(DATA, 0, 0, b"x" * 100),
    "headers that do not decode": PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, 4, 1, b"\xff" * 200),
    "a window of nothing": PREFACE + frame(SETTINGS, 0, 0, b"") + frame(WINDOW, 0, 0, bytes(4)),
    "pings without end": PREFACE + frame(SETTINGS, 0, 0, b"") + frame(PING, 0, 0, bytes(8)) * 20_000,
    "settings without end": PREFACE + frame(SETTINGS, 0, 0, b"\0\3\0\0\0\1") * 20_000,
    "resets without end": PREFACE
    + frame(SETTINGS, 0, 0, b"")
    + b"".join(frame(HEADERS, 4, 2 * i + 1, b"\x82\x86\x84") + frame(RST, 0, 2 * i + 1, bytes(4)) for i in range(5000)),
    "headers that go on and on": PREFACE
    + frame(SETTINGS, 0, 0, b"")
    + frame(HEADERS, 0, 1, b"\x82")
    + frame(CONTINUATION, 0, 1, b"\x40\x7f" + bytes(16_000)) * 200,
}


async def send(port: int, data: bytes) -> None:
    """Send bytes and go away; what comes back, if anything, is not looked at."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(5):
            writer.write(data)
            await writer.drain()
            writer.write_eof()
            await reader.read(1 << 16)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_connections_that_speak_no_http2_harm_nobody_else():
    rng = np.random.default_rng(0)
    random = [PREFACE * (i % 2) + rng.bytes(int(rng.integers(1, 4000))) for i in range(60)]
    async with server_process() as (port, server), connect(port) as stub:
        walk = Walk(stub, await create(stub))
        await walk.attach()
        frames = (await walk.chunk())[0]
        before = Held.by(server)
        for data in [*GARBAGE.values(), *random]:
            await send(port, data)
            frames += (await walk.chunk())[0]
        held = await until_back_at(server, before)
        await check_well(port)
    check_walk(frames, 13 + 16 * (len(GARBAGE) + len(random)))
    assert held.rss < before.rss + (20 << 20)
