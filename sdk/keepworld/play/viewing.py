"""The web server of ``keepworld view``: the viewer's page and the files made ready for it."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from keepworld.play.access import Access
from keepworld.play.bridge import STATIC, send, static


def view_app(access: Access, folder: Path) -> web.Application:
    """An application that shows what lies in a folder; see `keepworld_exporters.view`."""
    files = {path.name: path for path in folder.iterdir()}

    async def enter(request: web.Request) -> web.StreamResponse:
        return access.enter(request)

    async def page(request: web.Request) -> web.StreamResponse:
        access.check(request)
        return send(STATIC / "view.html")

    async def shown(request: web.Request) -> web.StreamResponse:
        access.check(request)
        path = files.get(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound(text="There is no such file.\n")
        return send(path)

    app = web.Application(middlewares=[access.middleware()])
    app.add_routes(
        [
            web.get("/enter", enter),
            web.get("/", page),
            web.get("/static/{name}", static),
            web.get("/view/{name}", shown),
        ]
    )
    return app
