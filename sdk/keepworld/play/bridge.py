"""The web server of ``keepworld play``: the page, its WebSocket, what is dropped on it, and what it downloads."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from aiohttp import WSMsgType, web

from keepworld.client import AsyncClient
from keepworld.credentials import Address
from keepworld.play import messages
from keepworld.play.access import Access
from keepworld.play.keeping import Keeper
from keepworld.play.messages import Message
from keepworld.play.studio import Studio
from keepworld.uploads import MAX_PICTURE_BYTES, Clip

logger = logging.getLogger(__name__)

PICTURES = ("auto", "h264", "jpeg")  # auto: H.264, and JPEG where nothing leaves this machine
STATIC = Path(__file__).parent / "static"
TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
        ".svg": "image/svg+xml", ".json": "application/json", ".txt": "text/plain; charset=utf-8",
    }
)  # fmt: skip
_MAX_STUDIOS = 8
_MAX_CLIP_BYTES = 192 * 2**20
_CLIP_HEADER = struct.Struct("<III")  # frames, height, width; then RGB
_PING_S = 10.0
_CLOSE_S = 1.0


class Bridge:
    """A studio for each browser, behind one client of a server.

    Args:
        client: to the server.
        keeper: makes files of walks.
        access: who may come in.
        pictures: how frames shall travel, one of `PICTURES`.
    """

    def __init__(self, client: AsyncClient, keeper: Keeper, access: Access, pictures: str = "auto") -> None:
        self._client = client
        self._pictures = pictures
        self._keeper = keeper
        self._access = access
        self._studios: dict[str, Studio] = {}
        self._sockets: set[web.WebSocketResponse] = set()

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application(middlewares=[self._access.middleware()], client_max_size=MAX_PICTURE_BYTES + 1)
        app.add_routes(
            [
                web.get("/enter", self._enter),
                web.get("/", self._page),
                web.get("/static/{name}", static),
                web.get("/talk", self._talk),
                web.post("/image", self._image),
                web.post("/clip", self._clip),
                web.get("/kept/{number}/{name}", self._kept),
            ]
        )
        app.on_shutdown.append(self._close)
        return app

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        return self._access.enter(request)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        self._access.check(request)
        return send(STATIC / "index.html")

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        studio = self._studio(request)
        socket = web.WebSocketResponse(
            heartbeat=_PING_S, timeout=_CLOSE_S, max_msg_size=messages.MAX_BYTES, compress=False
        )
        await socket.prepare(request)
        page = _Socket(socket)
        studio.wants_video = self._pictures == "h264" or (self._pictures == "auto" and not self._is_near(request))
        self._sockets.add(socket)
        try:
            await studio.enter(page)
            async for said in socket:
                if said.type is WSMsgType.TEXT:
                    try:
                        message = Message(said.data)
                    except ValueError as error:
                        await page.tell({"is": "wrong", "about": "", "text": str(error)})
                        continue
                    await studio.do(message)
        except ConnectionError:
            pass  # the page has gone; it will come back
        finally:
            self._sockets.discard(socket)
            await studio.leave(page)
        return socket

    async def _image(self, request: web.Request) -> web.StreamResponse:
        self._studio(request).image = await request.read()
        return web.json_response({"ok": True})

    async def _clip(self, request: web.Request) -> web.StreamResponse:
        studio = self._studio(request)
        studio.clip = await _read_clip(request, (await self._client.capabilities()).limits.max_asset_frames)
        return web.json_response({"ok": True})

    async def _kept(self, request: web.Request) -> web.StreamResponse:
        self._access.check(request)
        name = request.match_info["name"]
        path = self._keeper.file(request.match_info["number"], name)
        if path is None:
            raise web.HTTPNotFound(text="There is no such file.\n")
        return send(path, download=not name.startswith("view-"))

    def _is_near(self, request: web.Request) -> bool:
        """Whether server, bridge and browser are on one machine, where bytes cost less than packing them."""
        server, page = self._client.address, request.remote
        if server is None or page is None:
            return False
        return Address(server, is_encrypted=False).is_this_machine and ipaddress.ip_address(page).is_loopback

    def _studio(self, request: web.Request) -> Studio:
        who = self._access.check(request)
        if who not in self._studios:
            if len(self._studios) >= _MAX_STUDIOS:
                raise web.HTTPServiceUnavailable(text=f"{_MAX_STUDIOS} browsers are here already.\n")
            self._studios[who] = Studio(self._client, self._keeper)
        return self._studios[who]

    async def _close(self, _: web.Application) -> None:
        for socket in list(self._sockets):
            await socket.close(code=1001, message=b"the studio has ended")
        for studio in self._studios.values():
            await studio.close()


class _Socket:
    """A page behind a WebSocket. Messages and frames are written one after the other."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._writing = asyncio.Lock()

    async def tell(self, content: Mapping[str, object]) -> None:
        """Send a message."""
        async with self._writing:
            await self._socket.send_str(json.dumps(content))

    async def show(self, frame: bytes) -> None:
        """Send a frame."""
        async with self._writing:
            await self._socket.send_bytes(frame)


async def static(request: web.Request) -> web.StreamResponse:
    """A file of the page, by its plain name."""
    names = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES}
    path = names.get(request.match_info["name"])
    if path is None:
        raise web.HTTPNotFound(text="There is no such file.\n")
    return send(path)


def send(path: Path, *, download: bool = False) -> web.FileResponse:
    """A file as an answer; as a download it is never shown as a page."""
    kind = "application/octet-stream" if download else TYPES.get(path.suffix, "application/octet-stream")
    headers = {"Content-Type": kind}
    if download:
        headers["Content-Disposition"] = f'attachment; filename="{path.name}"'
    return web.FileResponse(path, headers=headers)


async def _read_clip(request: web.Request, max_frames: int) -> Clip:
    """Frames as the page read them from a video: the browser decoded it, nothing here has to."""
    data = await request.content.readexactly(_CLIP_HEADER.size)
    num_frames, height, width = _CLIP_HEADER.unpack(data)
    num_bytes = num_frames * height * width * 3
    if not (0 < num_frames <= max_frames and 0 < num_bytes <= _MAX_CLIP_BYTES):
        raise web.HTTPRequestEntityTooLarge(_MAX_CLIP_BYTES, num_bytes)
    pixels = bytearray()
    while len(pixels) < num_bytes and (part := await request.content.readany()):
        pixels += part
    if len(pixels) != num_bytes:
        raise web.HTTPBadRequest(text=f"{num_bytes} bytes of pixels were announced, {len(pixels)} came.\n")
    return Clip(np.frombuffer(bytes(pixels), np.uint8).reshape(num_frames, height, width, 3))
