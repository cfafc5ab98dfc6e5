"""Writing a walk to disk while it goes on: a thread of its own, and one chunk of patience."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keepworld.capabilities import FamilyCapabilities, Reading, SessionInfo
from keepworld.capture import Capture
from keepworld.capture_writer import CaptureWriter, Provenance
from keepworld.errors import CaptureError
from keepworld.files import whole_folder
from keepworld.frames import Chunk

_NOTHING = "nothing was recorded: steer or follow, or open the session with record='folder'"


def provenance_of(info: SessionInfo, prompt: str, capabilities: FamilyCapabilities, reading: Reading) -> Provenance:
    """What a session's walks are made by and from."""
    return Provenance(
        family=info.model,
        version=info.version,
        licence=capabilities.licence,
        prompt=prompt,
        seed=info.seed,
        mode=info.mode,
        width=info.size[0],
        height=info.size[1],
        fps=capabilities.fps,
        units=capabilities.units,
        pose_source=capabilities.pose_source,
        used=reading.used,
        ignored=reading.ignored,
        weights=capabilities.weights,
    )


class Recorder:
    """Records chunks into a folder, or into a temporary one until somebody wants it.

    Raises:
        CaptureError: the folder already holds something.
    """

    def __init__(self, folder: str | Path | None, provenance: Provenance) -> None:
        self._temporary: _TemporaryFolder | None = None
        if folder is None:
            self._temporary = _TemporaryFolder()
            folder = self._temporary.path / "walk"
        self._writer = CaptureWriter(folder, provenance)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keepworld-recorder")
        self._writing: asyncio.Future[None] | None = None
        self._has_failed = False
        self._last_chunk = -1

    async def put(self, chunk: Chunk) -> None:
        """Hand a chunk over; waits until the one before is on disk. After one that failed, none is taken: there are no gaps.

        Raises:
            CaptureError: the chunk before did not fit the capture.
            OSError: it could not be written.
        """
        await self._flush()
        await self.go_back(chunk.index)
        self._last_chunk = chunk.index
        self._writing = asyncio.get_running_loop().run_in_executor(self._thread, self._writer.append, chunk)

    async def go_back(self, chunk: int) -> None:
        """Forget `chunk` and all after it."""
        await self._flush()
        if chunk <= self._last_chunk:
            run = asyncio.get_running_loop().run_in_executor
            self._last_chunk = await run(self._thread, self._writer.go_back, chunk)

    async def capture(self, folder: str | Path | None) -> Capture:
        """What has been recorded so far, up to a failure if there was one; in `folder`, if that is given.

        Raises:
            CaptureError: nothing has been recorded, or `folder` already holds something.
            OSError: the last chunk could not be written, and this is the first to tell; or `folder` could not be.
        """
        if not self._has_failed:
            await self._flush()
        if self._last_chunk < 0:
            raise CaptureError(_NOTHING)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._open, folder)

    async def close(self) -> None:
        """Finish writing; a failure that was told is not told again."""
        try:
            if not self._has_failed:
                await self._flush()
        finally:
            self._thread.shutdown(wait=False)
            self._temporary = None  # goes when the last capture of it goes

    async def _flush(self) -> None:
        if self._writing is not None:
            try:
                await asyncio.shield(self._writing)
            except (CaptureError, OSError):
                self._has_failed = True
                raise
            self._writing = None

    def _open(self, folder: str | Path | None) -> Capture:
        target = self._writer.folder
        if folder is not None and Path(folder).resolve() != target.resolve():
            target = Path(folder)
            self._bring(target)
        capture = Capture(target)
        capture.temporary = self._temporary
        return capture

    def _bring(self, folder: Path) -> None:
        """Copy what was recorded to `folder`, whole or not at all; a temporary recording goes on there."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CaptureError(f"{folder} already exists and is not an empty folder; choose another name or remove it")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(folder) as unfinished:
            shutil.copytree(self._writer.folder, unfinished, dirs_exist_ok=True)
        if self._temporary is None:
            return
        shutil.rmtree(self._writer.folder, ignore_errors=True)
        self._writer.folder = folder
        self._temporary = None


class Recording:
    """What of a session is recorded, and where.

    Args:
        record: a folder to record everything into; None: what `put` is told to, into a temporary one; False: nothing.
        provenance: of what is recorded.

    Attributes:
        is_everything: whether everything is.

    Raises:
        CaptureError: the folder already holds something.
    """

    def __init__(self, record: str | Path | bool | None, provenance: Provenance) -> None:
        self._provenance = provenance
        self._is_wanted = record is not False
        self.is_everything = isinstance(record, str | Path)
        self._recorder = Recorder(record, provenance) if isinstance(record, str | Path) else None

    async def put(self, chunk: Chunk, *, record_from: int | None) -> None:
        """Record a chunk if everything is, or frames from `record_from` on are and it has one.

        Raises:
            CaptureError, OSError: it, or the one before, could not be recorded.
        """
        is_asked_for = self._is_wanted and record_from is not None and chunk.frames[-1].number >= record_from
        if not (self.is_everything or is_asked_for):
            return
        if any(not frame.encoding.is_lossless for frame in chunk.frames):
            return  # left from a lossy walk before this one
        if self._recorder is None:
            self._recorder = Recorder(None, self._provenance)
        await self._recorder.put(chunk)

    async def go_back(self, chunk: int) -> None:
        """The session goes on with `chunk`: what was recorded from there on is no part of it any more."""
        if self._recorder is not None:
            await self._recorder.go_back(chunk)

    async def capture(self, folder: str | Path | None) -> Capture:
        """What has been recorded: see `Recorder.capture`."""
        if self._recorder is None:
            raise CaptureError(_NOTHING)
        return await self._recorder.capture(folder)

    async def close(self) -> None:
        """Finish writing."""
        if self._recorder is not None:
            await self._recorder.close()


class _TemporaryFolder:
    """A folder that goes when nothing refers to this any more, at the latest with the program."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="keepworld-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
