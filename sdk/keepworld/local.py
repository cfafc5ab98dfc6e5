"""A private server: a process of its own on this machine, started when no address is given and ended with its client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, Self

from keepworld.errors import MissingExtraError, UnavailableError, printable
from keepworld.progress import ProgressLine

INSTALL = "pip install 'keepworld[runtime]'"
_READY_WITHIN_S = 300.0  # the first start on a machine compiles
_END_WITHIN_S = 10.0
_MAX_LINE_BYTES = 2**16


class LocalServer:
    """A running server process; made by `start`, ended by `stop`.

    It also ends when this process does, however that happens: it watches its standard input.

    Attributes:
        address: host and port that it listens on.
    """

    def __init__(self, process: asyncio.subprocess.Process, complaints: IO[bytes]) -> None:
        self._process = process
        self._complaints = complaints
        self._reader: asyncio.Task[None] | None = None
        self.address = ""

    @classmethod
    async def start(cls, *, progress: bool = False) -> Self:
        """Start a server and wait until it is ready.

        Raises:
            MissingExtraError: the server is not installed.
            UnavailableError: it did not come up.
        """
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "keepworld_runtime", "--port", "0", "--exit-with-stdin",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=complaints,
            limit=_MAX_LINE_BYTES,
            start_new_session=True,  # Ctrl-C is for the client, which then ends it
        )  # fmt: skip
        server = cls(process, complaints)
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                await server._become_ready(ProgressLine(wanted=progress))
        except TimeoutError:
            await server.stop()
            raise UnavailableError(f"the local server was not ready within {_READY_WITHIN_S:g} s") from None
        except BaseException:
            await server.stop()
            raise
        server._reader = asyncio.create_task(server._drain())
        return server

    async def stop(self) -> None:
        """End the process: politely, then not."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        for insist in (self._process.terminate, self._process.kill):
            try:
                async with asyncio.timeout(_END_WITHIN_S / 2):
                    await self._process.wait()
                break
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    insist()
        await self._process.wait()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)
        self._complaints.close()

    async def _become_ready(self, line: ProgressLine) -> None:
        line.show("starting a local server")
        while (said := await self._hear()) is not None:
            listening = said.get("listening")
            if isinstance(listening, str):
                self.address = listening
            if said.get("ready") is True and self.address:
                line.show(f"local server ready on {self.address}")
                line.end()
                return
            line.show("starting a local server: " + ", ".join(f"{key} {value}" for key, value in said.items()))
        await self._process.wait()
        raise self._failure()

    async def _hear(self) -> Mapping[str, object] | None:
        """The next JSON object that the server writes; empty for anything else it writes, None at its end."""
        assert self._process.stdout is not None
        try:
            text = await self._process.stdout.readline()
        except ValueError:  # longer than any line it should write
            return {}
        if not text:
            return None
        try:
            content = json.loads(text)
        except ValueError:
            return {}
        return {printable(str(key), 80): value for key, value in content.items()} if isinstance(content, dict) else {}

    async def _drain(self) -> None:
        """Keep reading, so that the server never waits for us to."""
        while await self._hear() is not None:
            pass

    def _failure(self) -> MissingExtraError | UnavailableError:
        self._complaints.seek(max(0, self._complaints.seek(0, 2) - 20_000))
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        last = printable(lines[-1], 500) if lines else f"exit status {self._process.returncode}"
        if "ModuleNotFoundError" in last or "No module named" in last:
            return MissingExtraError(f"a local server needs more packages ({last})", install=INSTALL)
        return UnavailableError(f"the local server did not start: {last}", code="LOCAL_SERVER")
