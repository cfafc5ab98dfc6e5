"""The same calls without async: everything runs on one background thread's event loop, nothing is decided here."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self, Unpack

import numpy as np
from numpy.typing import NDArray

from keepworld.capabilities import Capabilities, FamilyCapabilities, Reading, SessionInfo, Snapshot, WaitingEvent
from keepworld.capture import Capture
from keepworld.client import AsyncClient
from keepworld.frames import Chunk, Frame, Receipt, Walk
from keepworld.inputs import Script
from keepworld.loop import Loop
from keepworld.patience import DEFAULT_RETRY, Retry
from keepworld.session import AsyncSession
from keepworld.sync_exports import Export, Exports
from keepworld.timeline import Happening
from keepworld.uploads import Asset, Frames, Image
from keepworld.walker import Hands
from keepworld.wire_export import ServerExportOptions


class Client:
    """As `AsyncClient`; ``with`` closes it, and so does the program's end."""

    def __init__(
        self,
        address: str | None = None,
        *,
        api_key: str | None = None,
        root_certificates: str | Path | None = None,
        client_certificate: tuple[str | Path, str | Path] | None = None,
        deadline_s: float = 10.0,
        resume_s: float = 60.0,
        retries: Retry = DEFAULT_RETRY,
        progress: bool = False,
    ) -> None:
        self._client = AsyncClient(
            address,
            api_key=api_key,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            deadline_s=deadline_s,
            resume_s=resume_s,
            retries=retries,
            progress=progress,
        )
        self._loop = Loop()
        self._is_closed = False
        self.sessions = Sessions(self._client, self._loop)
        self.exports = Exports(self._client.exports, self._loop)
        atexit.register(self.close)

    def __enter__(self) -> Self:
        self._loop.run(self._client.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str | None:
        """As `AsyncClient.address`."""
        return self._client.address

    def capabilities(self) -> Capabilities:
        """As `AsyncClient.capabilities`."""
        return self._loop.run(self._client.capabilities())

    def snapshots(self) -> list[Snapshot]:
        """As `AsyncClient.snapshots`."""
        return self._loop.run(self._client.snapshots())

    def delete_snapshot(self, snapshot: Snapshot | str) -> None:
        """As `AsyncClient.delete_snapshot`."""
        self._loop.run(self._client.delete_snapshot(snapshot))

    def export_snapshot(self, snapshot: Snapshot | str, path: str | Path) -> Path:
        """As `AsyncClient.export_snapshot`."""
        return self._loop.run(self._client.export_snapshot(snapshot, path))

    def import_journal(self, path: str | Path, name: str = "") -> Snapshot:
        """As `AsyncClient.import_journal`."""
        return self._loop.run(self._client.import_journal(path, name))

    def upload(self, clip: Frames, *, progress: bool = False) -> Asset:
        """As `AsyncClient.upload`."""
        return self._loop.run(self._client.upload(clip, progress=progress))

    def close(self) -> None:
        """As `AsyncClient.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        atexit.unregister(self.close)
        try:
            self._loop.run(self._client.close())
        finally:
            self._loop.stop()


class Sessions:
    """As `AsyncSessions`."""

    def __init__(self, client: AsyncClient, loop: Loop) -> None:
        self._client = client
        self._loop = loop

    def open(
        self,
        text: str = "",
        *,
        model: str | None = None,
        seed: int | None = None,
        size: tuple[int, int] | None = None,
        mode: str | None = None,
        image: Image | None = None,
        clip: Frames | None = None,
        snapshot: Snapshot | str | None = None,
        events: Iterable[Happening] = (),
        record: str | Path | bool | None = None,
        idempotency_key: str | None = None,
        progress: bool = False,
    ) -> Session:
        """As `AsyncSessions.open`; the session is open when this returns, and ``with`` closes it."""
        opening = self._client.sessions.open(
            text,
            model=model,
            seed=seed,
            size=size,
            mode=mode,
            image=image,
            clip=clip,
            snapshot=snapshot,
            events=events,
            record=record,
            idempotency_key=idempotency_key,
            progress=progress,
        )
        return Session(self._loop.run(opening.__aenter__()), self._loop)

    def resume(
        self,
        ticket: str,
        *,
        after: int | None = None,
        record: str | Path | bool | None = None,
        progress: bool = False,
    ) -> Session:
        """As `AsyncSessions.resume`; the session is there when this returns, and ``with`` closes it."""
        resuming = self._client.sessions.resume(ticket, after=after, record=record, progress=progress)
        return Session(self._loop.run(resuming.__aenter__()), self._loop)

    def list(self) -> list[SessionInfo]:
        """As `AsyncSessions.list`."""
        return self._loop.run(self._client.sessions.list())


class Session:
    """As `AsyncSession`; ``with`` closes it."""

    def __init__(self, session: AsyncSession, loop: Loop) -> None:
        self._session = session
        self._loop = loop

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._session).replace("AsyncSession", "Session", 1)

    @property
    def id(self) -> str:
        """What the server calls it."""
        return self._session.id

    @property
    def model(self) -> str:
        """Its family of worlds."""
        return self._session.model

    @property
    def seed(self) -> int:
        """What it was made from besides the prompt."""
        return self._session.seed

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its frames."""
        return self._session.size

    @property
    def mode(self) -> str:
        """The way of moving."""
        return self._session.mode

    @property
    def reading(self) -> Reading:
        """How the prompt was understood."""
        return self._session.reading

    @property
    def capabilities(self) -> FamilyCapabilities:
        """What its family can do."""
        return self._session.capabilities

    @property
    def ticket(self) -> str:
        """As `AsyncSession.ticket`."""
        return self._session.ticket

    @property
    def is_closed(self) -> bool:
        """Whether `close` has been called."""
        return self._session.is_closed

    def stream(
        self,
        controls: Hands | Script | str | None = None,
        *,
        encoding: str = "raw",
        depth: bool = False,
        pace: str = "realtime",
    ) -> Iterator[Chunk]:
        """As `AsyncSession.stream`. An input is asked on the background thread."""
        return self._loop.iterate(self._session.stream(controls, encoding=encoding, depth=depth, pace=pace))

    def frames(
        self, controls: Hands | None = None, *, encoding: str = "raw", depth: bool = False, pace: str = "realtime"
    ) -> Iterator[Frame]:
        """As `AsyncSession.frames`. An input is asked on the background thread."""
        return self._loop.iterate(self._session.frames(controls, encoding=encoding, depth=depth, pace=pace))

    def live(
        self, controls: Hands | None = None, *, encoding: str = "raw", depth: bool = False, pace: str = "realtime"
    ) -> Iterator[Frame | Chunk]:
        """As `AsyncSession.live`. An input is asked on the background thread."""
        return self._loop.iterate(self._session.live(controls, encoding=encoding, depth=depth, pace=pace))

    def steer(self, script: str | Script, *, depth: bool = True, pace: str = "fast") -> Walk:
        """As `AsyncSession.steer`."""
        return self._loop.run(self._session.steer(script, depth=depth, pace=pace))

    def follow(
        self,
        path: NDArray[np.float64],
        *,
        events: Iterable[Happening] = (),
        depth: bool = True,
        pace: str = "fast",
    ) -> Walk:
        """As `AsyncSession.follow`."""
        return self._loop.run(self._session.follow(path, events=events, depth=depth, pace=pace))

    def event(
        self,
        text: str,
        *,
        at: float | None = None,
        chunk: int | None = None,
        ramp: float = 2.0,
        duration: float | None = None,
    ) -> Receipt:
        """As `AsyncSession.event`."""
        return self._loop.run(self._session.event(text, at=at, chunk=chunk, ramp=ramp, duration=duration))

    def cancel_event(self, event: Receipt | WaitingEvent | str) -> Receipt:
        """As `AsyncSession.cancel_event`."""
        return self._loop.run(self._session.cancel_event(event))

    def extend(
        self,
        clip: Frames,
        *,
        cameras: NDArray[np.float64] | None = None,
        here: bool = False,
        progress: bool = False,
    ) -> Receipt:
        """As `AsyncSession.extend`."""
        return self._loop.run(self._session.extend(clip, cameras=cameras, here=here, progress=progress))

    def waiting_events(self) -> list[WaitingEvent]:
        """As `AsyncSession.waiting_events`."""
        return self._loop.run(self._session.waiting_events())

    def snapshot(self, name: str = "") -> Snapshot:
        """As `AsyncSession.snapshot`."""
        return self._loop.run(self._session.snapshot(name))

    def journal(self, path: str | Path) -> Path:
        """As `AsyncSession.journal`."""
        return self._loop.run(self._session.journal(path))

    def undo(self, n: int = 1) -> None:
        """As `AsyncSession.undo`."""
        self._loop.run(self._session.undo(n))

    def branch(
        self, at: int | None = None, *, record: str | Path | bool | None = None, progress: bool = False
    ) -> Session:
        """As `AsyncSession.branch`; ``with`` closes the branch."""
        return Session(self._loop.run(self._session.branch(at, record=record, progress=progress)), self._loop)

    def capture(
        self, folder: str | Path | None = None, *, quality_gate: str = "off", min_consistency: float | None = None
    ) -> Capture:
        """As `AsyncSession.capture`."""
        capturing = self._session.capture(folder, quality_gate=quality_gate, min_consistency=min_consistency)
        return self._loop.run(capturing)

    def start_export(
        self,
        *files: str,
        **options: Unpack[ServerExportOptions],
    ) -> Export:
        """As `AsyncSession.start_export`."""
        starting = self._session.start_export(
            *files,
            **options,
        )
        return Export(self._loop.run(starting), self._loop)

    def close(self) -> None:
        """As `AsyncSession.close`."""
        if not self.is_closed:
            self._loop.run(self._session.close())
