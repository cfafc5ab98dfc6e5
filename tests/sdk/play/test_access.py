"""Who gets in at the page's door, and what the page may do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import WSServerHandshakeError
from aiohttp.test_utils import TestClient, TestServer
from keepworld import AsyncClient
from keepworld.play.access import Access
from keepworld.play.bridge import STATIC, Bridge
from keepworld.play.keeping import Keeper


class Door:
    """A bridge's web server, of a server that is not there: nobody gets so far."""

    def __init__(self, client: TestClient, access: Access) -> None:
        self.client = client
        self.access = access
        self.origin = str(client.make_url("")).rstrip("/")

    async def enter(self) -> None:
        async with self.client.get(f"/enter?token={self.access.token}", allow_redirects=False) as answer:
            assert answer.status == 303


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    access = Access(["studio.example"])
    bridge = Bridge(AsyncClient("127.0.0.1:1"), Keeper(tmp_path), access)
    async with TestClient(TestServer(bridge.app(), host="127.0.0.1")) as client:
        yield Door(client, access)


async def test_the_link_of_the_run_opens_the_page_and_its_token_does_not_stay(door: Door) -> None:
    async with door.client.get("/") as answer:
        assert answer.status == 403
    async with door.client.get(f"/enter?token={door.access.token}", allow_redirects=False) as answer:
        assert answer.headers["Location"] == "/"
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert door.access.token not in cookie
    async with door.client.get("/") as answer:
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert "'unsafe-eval'" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("token", ["", "wrong", "é", "x" * 5000])
async def test_another_token_does_not(door: Door, token: str) -> None:
    async with door.client.get("/enter", params={"token": token}, allow_redirects=False) as answer:
        assert answer.status == 403
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403),
        ("evil.example:80", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("127.0.0.1:9", 200),
        ("[::1]:9", 200),
        ("localhost", 200),
        ("STUDIO.example:80", 200),
    ],
)
async def test_a_name_that_somebody_points_here_is_refused(door: Door, host: str, status: int) -> None:
    await door.enter()
    async with door.client.get("/static/style.css", headers={"Host": host}) as answer:
        assert answer.status == status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", None])
async def test_another_sites_page_cannot_talk_or_drop_files(door: Door, origin: str | None) -> None:
    await door.enter()
    headers = {} if origin is None else {"Origin": origin}
    with pytest.raises(WSServerHandshakeError) as refused:
        await door.client.ws_connect("/talk", headers=headers)
    assert refused.value.status == 403
    async with door.client.post("/image", data=b"x", headers=headers) as answer:
        assert answer.status == 403


async def test_who_did_not_enter_cannot_talk(door: Door) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await door.client.ws_connect("/talk", headers={"Origin": door.origin})
    assert refused.value.status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/kept/1/scene.glb",
        "/kept/1/..%2f..%2fetc%2fpasswd",
        "/kept/%2e%2e/x",
        "/static/..%2fbridge.py",
        "/static/%00",
        "/static/bridge.py",
    ],
)
async def test_only_what_was_made_can_be_had(door: Door, path: str) -> None:
    await door.enter()
    async with door.client.get(path) as answer:
        assert answer.status == 404
        assert b"root:" not in await answer.read()


async def test_a_picture_that_is_too_large_is_refused(door: Door) -> None:
    await door.enter()
    async with door.client.post("/image", data=b"x" * (5 * 2**20), headers={"Origin": door.origin}) as answer:
        assert answer.status == 413


def test_the_page_has_no_script_or_style_of_its_own_within() -> None:
    for page in ("index.html", "view.html"):
        text = (STATIC / page).read_text()
        assert "style=" not in text
        assert not re.search(r"\son\w+=", text)
        assert text.count("<script") == text.count('<script type="module" src="/static/')
        assert "http://" not in text
        assert "https://" not in text
