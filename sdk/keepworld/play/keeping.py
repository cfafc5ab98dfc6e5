"""From a stretch of a walk to files: drawn again without loss, exported by a process of its own, and fitted to a program."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import json
import re
import shutil
import sys
import unicodedata
import zipfile
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from keepworld.capture import Capture
from keepworld.client import AsyncClient
from keepworld.errors import ExportError, MissingExtraError, printable
from keepworld.operation import INSTALL
from keepworld.play.messages import Message
from keepworld.session import AsyncSession

KINDS: Mapping[str, str] = MappingProxyType(
    {"splats": "scene.splat.ply", "mesh": "scene.glb", "points": "scene.points.ply", "film": "walk.mp4"}
)
QUALITIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "quick": ("--preset", "preview"),
        "standard": ("--preset", "standard", "--texture", "2048"),
        "final": ("--preset", "final", "--texture", "4096"),
    }
)
TARGETS = ("as it is", "unity", "unreal", "blender", "godot", "web")
_DRAWING, _EXPORTING, _SHOWING = 0.25, 0.65, 0.1  # their parts of the whole
_MAX_LINE = 2**20

Tell = Callable[[Mapping[str, object]], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What to keep: chunks from `first` up to `last`, as which kinds, how well, for which program."""

    first: int
    last: int
    kinds: tuple[str, ...]
    quality: str
    target: str

    @classmethod
    def of(cls, message: Message, *, first: int, last: int) -> Self:
        """As a page asks for it.

        Raises:
            ValueError: a word is unknown, or there is nothing to keep.
        """
        if not first < last:
            raise ValueError("there is nothing to keep yet: walk a little first")
        return cls(
            first=first,
            last=last,
            kinds=message.some_of("kinds", KINDS),
            quality=message.one_of("quality", QUALITIES),
            target=message.one_of("target", TARGETS),
        )


class Keeper:
    """Makes files of walks, into a folder of its own.

    Args:
        folder: an empty folder, where everything goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._files: dict[tuple[str, str], Path] = {}

    def offers(self) -> dict[str, object]:
        """What can be made here; for the page."""
        missing = [name for name in ("open3d", "av", "scipy") if importlib.util.find_spec(name) is None]
        return {
            "kinds": list(KINDS),
            "qualities": list(QUALITIES),
            "targets": list(TARGETS),
            "why_not": f"Keeping needs more packages on this machine: {INSTALL}" if missing else None,
        }

    def file(self, number: str, name: str) -> Path | None:
        """A file that was made, by the names that the page was told; None for any other."""
        return self._files.get((number, name))

    async def keep(
        self, client: AsyncClient, session: AsyncSession, wish: Wish, prompt: str, tell: Tell
    ) -> dict[str, object]:
        """Make the files; gives what the page shows of them. The session is one at the end of the stretch, and is closed.

        Raises:
            KeepworldError: it could not be done; says why.
        """
        number = str(next(self._numbers))
        folder = self._folder / number
        try:
            capture = await self._record(client, session, wish, folder / "walk", tell)
            made = await self._export(capture, wish, folder, tell)
            await tell(_progress("making it ready to look at", _DRAWING + _EXPORTING))
            results = await self._for_target(made.paths, wish.target, folder / "for")
            archive = folder / f"{slug(prompt)}-{slug(wish.target)}.zip"
            await asyncio.to_thread(_pack, archive, results)
            view = await self._prepare([*made.paths, capture.folder], folder / "view")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        offered = [archive, *results]
        self._files |= {(number, path.name): path for path in offered}
        self._files |= {(number, f"view-{path.name}"): path for path in view.iterdir()}
        return {
            "id": number,
            "files": [{"name": path.name, "bytes": path.stat().st_size} for path in offered],
            "metrics": made.metrics,
            "frames": len(capture),
        }

    async def _record(
        self, client: AsyncClient, session: AsyncSession, wish: Wish, folder: Path, tell: Tell
    ) -> Capture:
        """Draw the stretch again, without loss and with depth: the server has what it takes to make every frame twice."""
        try:
            await tell(_progress("drawing the walk again, without loss", 0.0))
            after = session.capabilities.first_frame_of(wish.first) - 1
            async with client.sessions.resume(session.ticket, after=after, record=folder) as again:
                async with contextlib.aclosing(again.stream(encoding="png", depth=True, pace="fast")) as chunks:
                    async for chunk in chunks:
                        share = (chunk.index + 1 - wish.first) / (wish.last - wish.first)
                        await tell(_progress("drawing the walk again, without loss", share * _DRAWING))
                        if chunk.index + 1 >= wish.last:
                            break
                return await again.capture(folder)
        finally:
            await session.close()

    async def _export(self, capture: Capture, wish: Wish, folder: Path, tell: Tell) -> _Made:
        targets = [str(folder / KINDS[kind]) for kind in wish.kinds]

        async def follow(content: Mapping[str, object]) -> None:
            share, stage = content.get("share"), content.get("stage")
            if isinstance(share, int | float):
                await tell(_progress(printable(str(stage), 80), _DRAWING + _EXPORTING * share, content.get("left_s")))

        words = ["keepworld_exporters", str(capture.folder), *targets, *QUALITIES[wish.quality]]
        said = await run_module(*words, "--json", "--progress", "json", follow=follow)
        content = _last_object(said)
        metrics = content.get("metrics")
        known = metrics.items() if isinstance(metrics, dict) else ()
        return _Made(
            paths=[Path(path) for path in targets],
            metrics={str(name): float(value) for name, value in known if isinstance(value, int | float)},
        )

    async def _for_target(self, paths: Sequence[Path], target: str, folder: Path) -> list[Path]:
        """The files as a program takes them in; films are the same everywhere."""
        if target == TARGETS[0]:
            return list(paths)
        await asyncio.to_thread(folder.mkdir)
        results = [path for path in paths if path.suffix == ".mp4"]
        for path in paths:
            if path not in results:
                said = await run_module(
                    "keepworld_exporters.convert", str(path), f"{folder}/", "--profile", target, "--json"
                )
                made = Path(str(_last_object(said).get("path", "")))
                results += [made, made.with_name(f"{made.name}.manifest.json")]
        return results

    async def _prepare(self, paths: Sequence[Path], folder: Path) -> Path:
        scenes = [str(path) for path in paths if path.suffix != ".mp4"]
        await run_module("keepworld_exporters.view", *scenes, "--prepare", str(folder))
        return folder


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    paths: Sequence[Path]
    metrics: Mapping[str, float]


async def run_module(
    module: str, *arguments: str, follow: Callable[[Mapping[str, object]], Awaitable[None]] | None = None
) -> str:
    """Run ``python -m module`` to its end and give what it wrote; it ends with whoever waits for it.

    Args:
        module, arguments: what to run.
        follow: is told the JSON objects that it writes to its standard error, line by line.

    Raises:
        ExportError: it failed; says why.
        MissingExtraError: it is not installed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        limit=_MAX_LINE, start_new_session=True,  # Ctrl-C is for us, and we end it
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    reading = asyncio.create_task(process.stdout.read())
    complaints: deque[str] = deque(maxlen=20)
    try:
        async for line in process.stderr:
            text = line.decode(errors="replace")
            try:
                content = json.loads(text)
            except ValueError:
                complaints.append(printable(text))
                continue
            if follow is not None and isinstance(content, dict):
                await follow(content)
        said, status = await reading, await process.wait()
    finally:
        reading.cancel()
        await _end(process)
    if status:
        raise _failure([text for text in complaints if text])
    return said.decode(errors="replace")


def slug(text: str) -> str:
    """A name for a file: letters, digits and dashes of ASCII, at most 40."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:40].strip("-") or "world"


def _progress(stage: str, share: float, left_s: object = None) -> dict[str, object]:
    return {"is": "keeping", "stage": stage, "share": share, "left_s": left_s}


def _last_object(said: str) -> Mapping[str, object]:
    lines = said.strip().splitlines()
    try:
        content = json.loads(lines[-1]) if lines else None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ExportError("the exporters ended without saying what they wrote")
    return content


def _pack(archive: Path, paths: Sequence[Path]) -> None:
    unfinished = archive.with_suffix(".part")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for path in paths:
            file.write(path, path.name)
    unfinished.rename(archive)


def _failure(complaints: Sequence[str]) -> ExportError | MissingExtraError:
    last = complaints[-1] if complaints else "the exporters ended without a word"
    if "No module named" in last:
        return MissingExtraError(f"keeping needs more packages ({last.partition(';')[0]})", install=INSTALL)
    return ExportError(re.sub(r"^keepworld[ -](export|view|convert): ", "", last))


async def _end(process: asyncio.subprocess.Process) -> None:
    for insist in (process.terminate, process.kill):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                insist()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await process.wait()
