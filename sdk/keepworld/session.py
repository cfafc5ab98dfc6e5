"""A session: a world of your own on a server, and the walks through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Self, Unpack

import numpy as np
from numpy.typing import NDArray

from keepworld import journals, wire_world
from keepworld.capabilities import Snapshot, WaitingEvent
from keepworld.capture import GATES, Capture
from keepworld.connection import Connection
from keepworld.continuing import Continuer
from keepworld.errors import NotFoundError, UnavailableError
from keepworld.exports import AsyncExport, start
from keepworld.frames import Chunk, Frame, Receipt, Walk
from keepworld.host import Host
from keepworld.inputs import Script
from keepworld.lines import Lines
from keepworld.opened import Opened, walked_by
from keepworld.tickets import Ticket
from keepworld.timeline import Happening, PlannedEvent
from keepworld.uploads import Frames
from keepworld.v1 import export_service_pb2, world_service_pb2
from keepworld.walker import Hands
from keepworld.wire_export import ServerExportOptions


class AsyncSession:
    """A world, and the walk through it. Opened by `AsyncClient.sessions.open`; ``async with`` closes it.

    A connection that breaks is made again, for as long as the client was told to try: no frame is lost, none comes twice.

    Attributes:
        id: what the server calls it.
        model: its family of worlds.
        seed: what it was made from besides the prompt.
        size: width and height of its frames.
        mode: the way of moving.
        reading: how the prompt was understood.
        capabilities: what its family can do, and how long the session's own chunk 0 is.
        is_closed: whether `close` has been called.
    """

    def __init__(self, host: Host, connection: Connection, opened: Opened) -> None:
        info = opened.info
        self.id, self.model, self.seed, self.size, self.mode = info.id, info.model, info.seed, info.size, info.mode
        self.reading = opened.reading
        self.capabilities = opened.capabilities
        self._host = host
        self._connection = connection
        self._opened = opened
        self._recording, self._feed, self._walker = walked_by(connection, opened, host.resume_s)
        self._lines = Lines(connection, self.id, opened.token)
        self._continuer = Continuer(connection, opened.capabilities, self._walker.ask, host.resume_s)
        self.is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {self.model}, seed {self.seed}, {self.size[0]}x{self.size[1]}>"

    @property
    def ticket(self) -> str:
        """A secret line of text; any program takes this session up with it: `AsyncSessions.resume`."""
        opened = self._opened
        return Ticket(session_id=self.id, token=opened.token, prompt=opened.prompt, reading=opened.reading).text()

    async def stream(
        self,
        controls: Hands | Script | str | None = None,
        *,
        encoding: str = "raw",
        depth: bool = False,
        pace: str = "realtime",
    ) -> AsyncGenerator[Chunk, None]:
        """Walk, chunk by chunk: until an input says that it is done, to its end for a script. Chunks already made come first.

        Args:
            controls: an input (see `keepworld.inputs`), a function that gives a `Control`, motion words or a `Script`;
                None stands still, without end.
            encoding: how pictures travel: "raw", "png", "jpeg" (lossy; decoding needs Pillow) or "h264" (video, lossy,
                the smallest; decoding needs PyAV).
            depth: send depth, labels and confidence with each frame.
            pace: "realtime" keeps to the clock, "fast" does not wait for it, "pause" is never more than a chunk ahead of
                the one you have.

        Raises:
            ValueError: an argument is wrong, or an input uses an axis that the session's mode does not honour.
            ServerError: the server refused, or the stream broke; the next call attaches again.
        """
        if isinstance(controls, Script | str):
            settings = self._walker.settings(encoding, depth=depth, pace=pace, only_scripted=True)
            plan = self._walker.script(controls)
            async with contextlib.aclosing(self._walker.walk(plan, settings)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        settings = self._walker.settings(encoding, depth=depth, pace=pace, only_scripted=False)
        async with contextlib.aclosing(self._walker.live(controls, settings)) as items:
            async for item in items:
                if isinstance(item, Chunk):
                    yield item

    async def frames(
        self,
        controls: Hands | None = None,
        *,
        encoding: str = "raw",
        depth: bool = False,
        pace: str = "realtime",
    ) -> AsyncGenerator[Frame, None]:
        """Walk, frame by frame, each as soon as it is here: less delay than `stream`, which waits for whole chunks."""
        settings = self._walker.settings(encoding, depth=depth, pace=pace, only_scripted=False)
        async with contextlib.aclosing(self._walker.live(controls, settings)) as items:
            async for item in items:
                if isinstance(item, Frame):
                    yield item

    async def live(
        self,
        controls: Hands | None = None,
        *,
        encoding: str = "raw",
        depth: bool = False,
        pace: str = "realtime",
    ) -> AsyncGenerator[Frame | Chunk, None]:
        """Walk for a display: each frame as soon as it is here, and behind the last of a chunk the chunk."""
        settings = self._walker.settings(encoding, depth=depth, pace=pace, only_scripted=False)
        async with contextlib.aclosing(self._walker.live(controls, settings)) as items:
            async for item in items:
                yield item

    async def steer(self, script: str | Script, *, depth: bool = True, pace: str = "fast") -> Walk:
        """Walk a script to its end, recording it for `capture`.

        Args:
            script: motion words, as in ``"forward 6s, look left 90deg"``, or a `Script`.
            depth: record depth, labels and confidence too, if the family has them; exports need them.
            pace: as for `stream`.

        Raises:
            ValueError: a step is not in the grammar.
            ServerError: the server refused, or the stream broke.
        """
        return await self._walker.run(self._walker.script(script), depth=depth, pace=pace, events=())

    async def follow(
        self,
        path: NDArray[np.float64],
        *,
        events: Iterable[Happening] = (),
        depth: bool = True,
        pace: str = "fast",
    ) -> Walk:
        """Be at the given cameras, one a frame, recording the walk for `capture`.

        Args:
            path: [N, 4, 4] camera to world, OpenCV axes, the session's frame: see `keepworld.paths`.
            events: what shall happen on the way, seconds from its start: `PlannedEvent` or (seconds, text).
            depth: as for `steer`.
            pace: as for `stream`.

        Raises:
            ValueError: the path is not made of rigid motions, or the family follows none.
            ServerError: the server refused, or the stream broke.
        """
        return await self._walker.run(self._walker.path(path), depth=depth, pace=pace, events=events)

    async def event(
        self,
        text: str,
        *,
        at: float | None = None,
        chunk: int | None = None,
        ramp: float = 2.0,
        duration: float | None = None,
    ) -> Receipt:
        """Have something happen, with the next chunk if not said otherwise.

        Args:
            text: what, as in "a thunderstorm rolls in".
            at: when, seconds of the session's world.
            chunk: with which chunk instead.
            ramp: seconds until it has come in fully.
            duration: seconds until it goes again; None: it stays.

        Raises:
            InvalidRequestError: the server does not understand it, or it is too late for it; the stream goes on.
        """
        return await self._walker.ask_event(PlannedEvent(text, at=at, chunk=chunk, ramp=ramp, duration=duration))

    async def cancel_event(self, event: Receipt | WaitingEvent | str) -> Receipt:
        """Have an event not happen that waits for its chunk; the receipt says which chunk goes without.

        Args:
            event: its receipt, one of `waiting_events`, or the id of either.

        Raises:
            InvalidRequestError: it has begun, or there is none.
        """
        return await self._walker.cancel_event(event if isinstance(event, str) else event.id)

    async def extend(
        self,
        clip: Frames,
        *,
        cameras: NDArray[np.float64] | None = None,
        here: bool = False,
        progress: bool = False,
    ) -> Receipt:
        """Go on from a video, frames or a capture, with the next chunk: as if they had been seen after all that was.

        They are sent and taken in, not shown: the next frames follow from the last of them, with the numbers that were due.
        A family that says `takes_recording` instead of `takes_clip`, as the diorama, goes on from captures of walks
        through the session's own world, exactly as the walk itself would have. `undo` undoes it.

        Args:
            clip: as for `AsyncSessions.open`, or what `AsyncClient.upload` gave. As many of the newest frames count as make
                whole chunks, at least the family's `min_clip_frames`.
            cameras: [N, 4, 4] camera to world of each frame, OpenCV axes, the session's frame; None: the clip's own, or, if
                it has none, the camera stands still where the session's is.
            here: cameras are told from the first of them, which is where the session's camera is: for a clip of elsewhere.
            progress: show one line on a terminal while it is sent.

        Raises:
            ValueError: the family does not go on from such a thing, or there are too few frames or another number of cameras.
            InvalidRequestError: the server refused it, says which field; the stream goes on. Code WORLD_NOT_BEGUN: open a
                session from the clip instead; QUEUE_FULL: something waits already.
            CaptureError, OSError: it cannot be read.
        """
        return await self._continuer.extend(clip, cameras, here=here, progress=progress)

    async def waiting_events(self) -> list[WaitingEvent]:
        """The events that are still to begin, by chunk.

        Raises:
            ServerError: the server did not answer, or the session has ended.
        """
        return await self._feed.waiting_events()

    async def snapshot(self, name: str = "") -> Snapshot:
        """Keep the world on the server as it is after its last whole chunk, which may be ahead of what you have seen.

        Open a session with ``snapshot=`` to go on from there. Events that wait for a later chunk are not part of it.

        Args:
            name: for people; need not be unique.

        Raises:
            ServerError: the session has ended, or the world is too large to be kept.
        """
        return replace(
            wire_world.snapshot(await self._lines.snapshot(name)),
            model=self.model,
            prompt=self._opened.prompt,
            seed=self.seed,
            size=self.size,
            mode=self.mode,
        )

    async def journal(self, path: str | Path) -> Path:
        """Write all that it takes to make the walk again to a file, up to the last chunk that the server has made whole.

        ``keepworld replay`` makes it again, and `AsyncClient.import_journal` lets another server go on from it.

        Args:
            path: the file, such as walk.kwj.

        Raises:
            ServerError: the session has been closed, or the server did not give it.
            OSError: the file cannot be written.
        """
        request = world_service_pb2.GetJournalRequest(session_id=self.id, token=self._opened.token)
        await journals.fetch(self._connection, request, Path(path))
        return Path(path)

    async def undo(self, n: int = 1) -> None:
        """Go back `n` chunks behind the last whole one that you have: the next to come is made anew from there.

        What a script has queued and what is recorded from there on are dropped; what is undone stays on the server.

        Args:
            n: how many chunks; 0 drops only what the server has made ahead.

        Raises:
            ValueError: there are not so many.
            ServerError: the server did not do it.
        """
        chunks = await self._chunks_seen()
        if not 0 <= n <= chunks:
            raise ValueError(f"n must be 0 to {chunks}, the chunks there are, got {n}")
        await self._feed.go_back(lambda: self._lines.rewind(chunks - n))

    async def branch(
        self, at: int | None = None, *, record: str | Path | bool | None = None, progress: bool = False
    ) -> AsyncSession:
        """Open a second session that goes on from here in its own way; nothing is copied. It is closed with the client.

        Args:
            at: how many chunks they share; None: those that you have.
            record: as for `AsyncSessions.open`.
            progress: as for `AsyncSessions.open`.

        Raises:
            ValueError: the session has not so many chunks.
            ServerError: the server did not do it.
        """
        chunks = await self._chunks_seen() if at is None else at
        if chunks < 0:
            raise ValueError(f"at must be a number of chunks, 0 or more, got {at}")
        response = await self._lines.branch(chunks)
        info = wire_world.session_info(response.session)
        wire_world.check_size(response.session, self.size)
        branched = replace(
            self._opened,
            info=info,
            token=response.token,
            first_number=self.capabilities.first_frame_of(chunks),
            sent_before=False,
            record=record,
            progress=progress,
        )
        session = AsyncSession(self._host, self._connection, branched)
        self._host.keep(session)
        return session

    async def _chunks_seen(self) -> int:
        if not self._feed.is_placed:
            await self._walker.attach()
        return self.capabilities.chunk_of(self._feed.next_number)

    async def capture(
        self, folder: str | Path | None = None, *, quality_gate: str = "off", min_consistency: float | None = None
    ) -> Capture:
        """What has been recorded: every `steer` and `follow`, or everything if the session was opened with a folder.

        Args:
            folder: where it shall lie. Without one it stays where it is: in the folder given to `open`, or in a
                temporary one that goes with the `Capture`.
            quality_gate: leave out frames that contradict those around them: "strict", "normal" or "off".
            min_consistency: how far a frame has to agree with them instead, [0, 1]: see `Capture.scores`.

        Raises:
            ValueError: a gate is none.
            CaptureError: nothing was recorded, the folder is in use, or its frames see nothing in common to be judged by.
            MissingExtraError: a walk without depth is to be judged, and the exporters are not installed.
        """
        if quality_gate not in GATES:
            raise ValueError(f"quality_gate must be one of {', '.join(GATES)}, got {quality_gate!r}")
        if min_consistency is not None and not 0 <= min_consistency <= 1:
            raise ValueError(f"min_consistency must be in [0, 1], got {min_consistency}")
        capture = await self._recording.capture(folder)
        least = max(GATES[quality_gate], min_consistency or 0.0)
        if least:
            await asyncio.to_thread(capture.leave_out_below, least)
        return capture

    async def start_export(self, *files: str, **options: Unpack[ServerExportOptions]) -> AsyncExport:
        """Have all that was walked up to now made into 3D files on the server: nothing need have been recorded here.

        The server draws the walk again, then its exporters run; both go on when the session or this program ends.

        Args:
            files: names whose suffixes say what they become, as in "abbey.splat.ply", "abbey.glb"; none: the usual set.
                A report comes with them.
            options: how, see `keepworld.wire_export.ServerExportOptions`: preset, profile, holdout, texture and more.

        Raises:
            InvalidRequestError: an argument is wrong; says which.
            CapacityError: the server has no room for it, or this key may have no more.
            ServerError: the server has no exporters, or no chunk is whole yet.
        """
        source = export_service_pb2.CreateCaptureRequest(session_id=self.id, token=self._opened.token)
        return await start(self._host, source, files, options)

    async def close(self) -> None:
        """End the session on the server and free what it holds here; recorded captures stay."""
        if self.is_closed:
            return
        self.is_closed = True
        await self._walker.let_go()
        try:
            await self._feed.close()
        finally:
            request = world_service_pb2.CloseSessionRequest(session_id=self.id, token=self._opened.token)
            with contextlib.suppress(NotFoundError, UnavailableError):
                await self._connection.once(self._connection.worlds.CloseSession, request)
