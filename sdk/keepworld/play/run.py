"""Running a page until Ctrl-C: the port, the link, the browser, and the end of everything that was started."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import signal
import tempfile
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from keepworld.client import AsyncClient
from keepworld.errors import KeepworldError
from keepworld.play.access import Access
from keepworld.play.bridge import Bridge
from keepworld.play.keeping import Keeper, run_module
from keepworld.play.viewing import view_app

_RESUME_S = 600.0  # a server that was restarted is found again within so long


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """Where the page is.

    Attributes:
        host, port: to listen on; port 0 is any free one.
        names: what else this machine may be called in a link.
        opens: whether to open a browser.
        as_json: whether to say the link as a line of JSON.
    """

    host: str
    port: int
    names: tuple[str, ...]
    opens: bool
    as_json: bool


async def play(url: str | None, where: Where, pictures: str) -> None:
    """Run the studio until Ctrl-C; `pictures` is one of `bridge.PICTURES`.

    Raises:
        KeepworldError: there is no server, or the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="keepworld-play-") as folder:
        async with AsyncClient(url, resume_s=_RESUME_S, progress=not where.as_json) as client:
            access = Access(where.names)
            bridge = Bridge(client, Keeper(Path(folder)), access, pictures)
            await _serve(bridge.app(), access, where, what="the studio")


async def view(files: Sequence[str], where: Where) -> None:
    """Show files in the viewer until Ctrl-C.

    Raises:
        ExportError: one of them is nothing that can be shown.
        KeepworldError: the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="keepworld-view-") as folder:
        await run_module("keepworld_exporters.view", *files, "--prepare", folder)
        access = Access(where.names)
        await _serve(view_app(access, Path(folder)), access, where, what="the viewer")


async def _serve(app: web.Application, access: Access, where: Where, *, what: str) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, where.host, where.port)
        try:
            await site.start()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise KeepworldError(f"port {where.port} is taken; choose another with --port, 0 for any") from error
            raise
        link = f"http://{_shown(where.host)}:{runner.addresses[0][1]}/enter?token={access.token}"
        if where.as_json:
            print(json.dumps({"url": link}), flush=True)
        else:
            print(
                f"{what} is at\n\n  {link}\n\nThe link is a key: it lets in whoever has it. Ctrl-C ends everything.",
                flush=True,
            )
        if where.opens:
            with contextlib.suppress(webbrowser.Error):
                await asyncio.to_thread(webbrowser.open, link)
        await stop.wait()
        for number in (signal.SIGINT, signal.SIGTERM):  # a second Ctrl-C does not wait
            loop.remove_signal_handler(number)
    finally:
        await runner.cleanup()


def _shown(host: str) -> str:
    """A host as it stands in a link; for "all of them" this machine."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
