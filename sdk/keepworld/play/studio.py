"""The studio of one browser: its lines, the walk that runs, and what the page asks for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from keepworld.capabilities import Snapshot
from keepworld.client import AsyncClient
from keepworld.errors import KeepworldError
from keepworld.play import packing
from keepworld.play.keeping import Keeper, Wish
from keepworld.play.line import Line, Note
from keepworld.play.messages import Message
from keepworld.play.walk import Page, Walk
from keepworld.session import AsyncSession
from keepworld.uploads import Clip

MAX_LINES = 6
_MAX_SNAPSHOTS = 40
_MAX_WAITING = 16  # commands


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A snapshot on the timeline: of which line, after how many chunks."""

    snapshot: Snapshot
    line: Line
    notes: tuple[Note, ...]


class Studio:
    """Everything one browser has open. It outlives the page: who comes back finds it as it was.

    Args:
        client: to the server.
        keeper: makes files of walks.

    Attributes:
        wants_video: whether frames shall travel as video to a page that can decode it.
    """

    def __init__(self, client: AsyncClient, keeper: Keeper) -> None:
        self._client = client
        self._keeper = keeper
        self._page: Page | None = None
        self._encoding = "jpeg"
        self._lines: dict[int, Line] = {}
        self._ids = itertools.count(1)
        self._current: Line | None = None
        self._walk: Walk | None = None
        self._is_paused = False
        self._is_away = False  # paused because nobody looks: whoever comes back goes on
        self._snapshots: dict[str, Kept] = {}
        self._keep: asyncio.Task[None] | None = None
        self._told_of_keep: Mapping[str, object] | None = None
        self._doing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.wants_video = True
        self.image: bytes | None = None
        self.clip: Clip | None = None

    # The page

    async def enter(self, page: Page) -> None:
        """Show everything to a page, in place of the one before."""
        before, self._page = self._page, page
        if before is not None:
            with contextlib.suppress(ConnectionError):
                await before.tell({"is": "elsewhere"})
        async with self._doing:
            if self._is_away:
                self._is_paused = self._is_away = False
            told = packing.server(await self._client.capabilities())
            await page.tell({"is": "server", **told, "keeps": self._keeper.offers()})
            await self._tell_world()
            if self._told_of_keep is not None:
                await page.tell(self._told_of_keep)
            if self._current is not None and not self._is_paused:
                await self._halt()
                self._go()

    async def leave(self, page: Page) -> None:
        """The page has gone: the walk waits for the next one."""
        if self._page is page:
            self._page = None
            if self._walk is not None:
                self._walk.hands.let_go()
            async with self._doing:
                if self._page is None:
                    await self._halt()

    async def do(self, message: Message) -> None:
        """Begin what the page asks; says on the page what is wrong with it.

        Controls are taken at once. Anything else is done while more may come, commands one after the other.

        Raises:
            ConnectionError: the page has gone.
        """
        try:
            if message.do == "control":
                control, serial = message.control()
                if self._walk is not None:
                    self._walk.hands.hold(control, serial)
            elif message.do == "ping":
                await self._tell({"is": "pong", "at": message.text("at", 40)})
            elif len(self._tasks) >= _MAX_WAITING:
                raise ValueError("too much is asked at once; wait a moment")
            else:
                task = asyncio.create_task(self._do(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except ValueError as error:
            await self._tell({"is": "wrong", "about": message.do, "text": str(error)})

    async def _do(self, message: Message) -> None:
        with contextlib.suppress(ConnectionError):
            await self._try(message)

    async def _try(self, message: Message) -> None:
        try:
            if message.do == "event":
                await self._event(message)
            elif message.do in _COMMANDS:
                async with self._doing:
                    await _COMMANDS[message.do](self, message)
            else:
                raise ValueError(f"nothing here does {message.do!r}")
        except (KeepworldError, ValueError, OSError) as error:
            await self._tell({"is": "wrong", "about": message.do, "text": str(error)})

    async def close(self) -> None:
        """End everything that was started here."""
        self._page = None
        for task in (*self._tasks, self._keep):
            await _cancelled(task)
        if self._walk is not None:
            await self._walk.end(at_once=True)
        for line in self._lines.values():
            with contextlib.suppress(KeepworldError):
                await line.session.close()
        self._lines.clear()

    async def _tell(self, content: Mapping[str, object]) -> None:
        if self._page is not None:
            await self._page.tell(content)

    async def _tell_world(self) -> None:
        line = self._current
        await self._tell(
            {
                "is": "world",
                "line": None if line is None else line.told_whole(),
                "lines": [each.told() for each in self._lines.values()],
                "snapshots": [
                    {"id": key, "name": kept.snapshot.name, "line": kept.line.id, "chunks": kept.snapshot.chunks}
                    for key, kept in self._snapshots.items()
                ],
                "paused": self._is_paused or (self._walk is not None and self._walk.has_stopped),
            }
        )

    # The walk

    def _go(self) -> None:
        """Walk on along the current line, if somebody looks."""
        if self._current is not None and self._page is not None:
            self._walk = Walk(self._current, self._page, self._encoding)

    async def _halt(self) -> None:
        """Let the walk come to the end of its chunk, and stop there."""
        walk, self._walk = self._walk, None
        if walk is not None:
            await walk.end()

    @contextlib.asynccontextmanager
    async def _standing(self) -> AsyncIterator[None]:
        """Have the walk stand still; afterwards it goes on, along whichever line is current then, and the page is told."""
        await self._halt()
        try:
            yield
        finally:
            await self._tell_world()  # first: the frames that follow are of this world
            if not self._is_paused:
                self._go()

    # What the page asks for

    async def _hello(self, message: Message) -> None:
        """Take note of what the page can decode."""
        wanted = "h264" if message.truth("h264") and self.wants_video else "jpeg"
        if wanted != self._encoding:
            self._encoding = wanted
            async with self._standing():
                pass

    async def _open(self, message: Message) -> None:
        self._check_room()
        model = message.text("model", 80)
        prompt = message.text("prompt", (await self._client.capabilities()).family(model).max_prompt_chars)
        begins = message.one_of("begins", ("words", "image", "clip"))
        async with self._standing():
            session = await self._client.sessions.open(
                prompt,
                model=model,
                seed=message.optional_whole("seed", 0, 2**53),
                size=message.size("size"),
                mode=message.text("mode", 40, default="") or None,
                image=self.image if begins == "image" else None,
                clip=self.clip if begins == "clip" else None,
                record=False,
            )
            self._switch(Line(id=next(self._ids), session=session, prompt=prompt))

    async def _pause(self, message: Message) -> None:
        await self._halt()
        self._is_paused, self._is_away = True, message.truth("away")
        await self._tell_world()

    async def _go_on(self, _: Message) -> None:
        self._is_paused = False
        async with self._standing():
            pass

    async def _event(self, message: Message) -> None:
        line, text = self._here(), message.text("text", 2000)
        receipt = await line.session.event(text)
        await self._tell(
            {
                "is": "receipt",
                "text": text,
                "chunk": receipt.applies_to_chunk,
                "used": list(receipt.used),
                "ignored": list(receipt.ignored),
            }
        )

    async def _undo(self, message: Message) -> None:
        line = self._here()
        async with self._standing():
            n = min(message.whole("chunks", 1, 100_000), len(line.notes))
            await line.session.undo(n)
            line.go_back(len(line.notes) - n)
            line.is_stale, self._is_paused = False, False

    async def _branch(self, message: Message) -> None:
        self._check_room()
        line = self._here()
        async with self._standing():
            at = min(message.whole("at", 0, 10**9), len(line.notes))
            session = await line.session.branch(at, record=False)
            self._switch(self._line_from(line, session, line.notes[:at]))

    async def _snapshot(self, message: Message) -> None:
        line = self._here()
        if len(self._snapshots) >= _MAX_SNAPSHOTS:
            raise ValueError(f"there are {_MAX_SNAPSHOTS} snapshots here; that is as many as a timeline holds")
        name = message.text("name", 80).strip() or f"snapshot {len(self._snapshots) + 1}"
        async with self._standing():
            if line.is_stale:  # the snapshot shall be of what is seen, not of what was made ahead
                await line.session.undo(0)
                line.is_stale = False
            snapshot = await line.session.snapshot(name)
            self._snapshots[str(next(self._ids))] = Kept(snapshot=snapshot, line=line, notes=tuple(line.notes))

    async def _jump(self, message: Message) -> None:
        self._check_room()
        kept = self._snapshots.get(message.text("snapshot", 40))
        if kept is None:
            raise ValueError("there is no such snapshot")
        async with self._standing():
            session = await self._client.sessions.open(snapshot=kept.snapshot, record=False)
            self._switch(self._line_from(kept.line, session, kept.notes))

    async def _line(self, message: Message) -> None:
        line = self._line_of(message)
        async with self._standing():
            self._switch(line)

    async def _drop(self, message: Message) -> None:
        """Close a line; the world's others stay."""
        line = self._line_of(message)
        async with self._standing():
            del self._lines[line.id]
            if line is self._current:
                self._current = next(iter(self._lines.values()), None)
            with contextlib.suppress(KeepworldError):
                await line.session.close()

    async def _record(self, message: Message) -> None:
        self._here().record(on=message.truth("on"))
        await self._tell_world()

    async def _begin_keep(self, message: Message) -> None:
        line = self._here()
        if self._keep is not None and not self._keep.done():
            raise ValueError("something is being kept already; stop it first, or wait")
        line.record(on=False)
        first, last = message.whole("first", 0, 10**9), min(message.whole("last", 0, 10**9), len(line.notes))
        wish = Wish.of(message, first=first, last=last)
        at_end = await line.session.branch(last, record=False)
        self._keep = asyncio.create_task(self._run_keep(at_end, wish, line.prompt))
        await self._tell_world()

    async def _run_keep(self, at_end: AsyncSession, wish: Wish, prompt: str) -> None:
        async def tell(content: Mapping[str, object]) -> None:
            self._told_of_keep = content
            with contextlib.suppress(ConnectionError):
                await self._tell(content)

        try:
            await tell({"is": "kept", **await self._keeper.keep(self._client, at_end, wish, prompt, tell)})
        except asyncio.CancelledError:
            await tell({"is": "unkept", "text": "Stopped. The walk is untouched."})
            raise
        except (KeepworldError, ValueError, OSError) as error:
            await tell({"is": "unkept", "text": str(error)})

    async def _stop_keep(self, _: Message) -> None:
        await _cancelled(self._keep)

    def _here(self) -> Line:
        if self._current is None:
            raise ValueError("no world is open")
        return self._current

    def _line_of(self, message: Message) -> Line:
        line = self._lines.get(message.whole("id", 0, 10**9))
        if line is None:
            raise ValueError("there is no such line")
        return line

    def _check_room(self) -> None:
        if len(self._lines) >= MAX_LINES:
            raise ValueError(f"{MAX_LINES} lines are open; close one first")

    def _switch(self, line: Line) -> None:
        self._lines[line.id] = self._current = line
        self._is_paused = False

    def _line_from(self, parent: Line, session: AsyncSession, notes: Sequence[Note]) -> Line:
        """A line that shares its first chunks with another."""
        return Line(
            id=next(self._ids),
            session=session,
            prompt=parent.prompt,
            parent=parent.id,
            start=len(notes),
            notes=list(notes),
        )


_COMMANDS: Mapping[str, Callable[[Studio, Message], Awaitable[None]]] = MappingProxyType(
    {
        "hello": Studio._hello,
        "open": Studio._open,
        "pause": Studio._pause,
        "go": Studio._go_on,
        "undo": Studio._undo,
        "branch": Studio._branch,
        "snapshot": Studio._snapshot,
        "jump": Studio._jump,
        "line": Studio._line,
        "drop": Studio._drop,
        "record": Studio._record,
        "keep": Studio._begin_keep,
        "unkeep": Studio._stop_keep,
    }
)


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    """End a task, and wait until it has."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
