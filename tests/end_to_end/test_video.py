"""H.264 from a real server through the SDK: the pictures are those that were drawn, over a line that breaks too."""

from pathlib import Path

import pytest
from keepworld import AsyncClient, InvalidRequestError

from tests.annexb import psnr
from tests.families import HEIGHT, WIDTH, picture
from tests.proxy import Proxy
from tests.runtime.serving.client import serving, spec

OPEN = {"model": "gradient", "size": (WIDTH, HEIGHT), "mode": "fly", "seed": 7}


async def test_frames_decode_whatever_happens_to_the_line():
    async with serving() as (server, _), Proxy(f"127.0.0.1:{server.port}") as proxy:
        frames = []
        async with AsyncClient(proxy.address) as client, client.sessions.open(**OPEN) as session:
            assert "h264" in (await client.capabilities()).encodings
            async for frame in session.frames(encoding="h264", pace="pause"):
                frames.append(frame)
                if len(frames) in (5, 13, 40):
                    await proxy.cut()
                if len(frames) == 61:
                    break
    assert [frame.number for frame in frames] == list(range(61))
    assert proxy.connections > 3
    for frame in reversed(frames):
        assert psnr(frame.image, picture(spec(), frame.number, 0.0, 0)) > 33


async def test_what_is_to_be_kept_travels_losslessly(tmp_path: Path):
    async with (
        serving() as (server, _),
        AsyncClient(f"127.0.0.1:{server.port}") as client,
        client.sessions.open(**OPEN, record=tmp_path / "walk") as session,
    ):
        with pytest.raises(ValueError, match="lossless"):
            await anext(session.stream(encoding="h264"))


async def test_a_server_without_video_refuses_by_name(monkeypatch):
    monkeypatch.setattr("keepworld_runtime.serving.h264.is_available", lambda: False)
    async with serving() as (server, _), AsyncClient(f"127.0.0.1:{server.port}") as client:
        assert (await client.capabilities()).encodings == ("raw", "png", "jpeg")
        async with client.sessions.open(**OPEN) as session:
            with pytest.raises(InvalidRequestError, match=r"keepworld\[video\]") as refusal:
                await anext(session.stream(encoding="h264"))
    assert (refusal.value.code, refusal.value.field) == ("ENCODING_NOT_SUPPORTED", "attach.config.encoding")
