"""Writing a walk to disk while it goes on: a thread of its own, and one chunk of patience."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keepworld.capabilities import FamilyCapabilities, Reading, SessionInfo
from keepworld.capture import Capture, CaptureWriter, Provenance
from keepworld.errors import CaptureError
from keepworld.frames import Chunk


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
        self._last_chunk = -1

    async def put(self, chunk: Chunk) -> None:
        """Hand a chunk over; waits until the one before is on disk.

        Raises:
            CaptureError: the chunk before did not fit the capture.
            OSError: it could not be written.
        """
        await self._flush()
        if chunk.index > self._last_chunk:
            self._last_chunk = chunk.index
            self._writing = asyncio.get_running_loop().run_in_executor(self._thread, self._writer.append, chunk)

    async def capture(self, folder: str | Path | None) -> Capture:
        """What has been recorded so far, moved to `folder` if that is given and it lies elsewhere.

        Raises:
            CaptureError: nothing has been recorded, or `folder` already holds something.
        """
        await self._flush()
        if self._last_chunk < 0:
            raise CaptureError("nothing was recorded: steer or follow, or open the session with record='folder'")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._open, folder)

    async def close(self) -> None:
        """Finish writing."""
        try:
            await self._flush()
        finally:
            self._thread.shutdown(wait=False)
            self._temporary = None  # goes when the last capture of it goes

    async def _flush(self) -> None:
        if self._writing is not None:
            await asyncio.shield(self._writing)
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
        """Move a temporary recording to `folder`, copy one that the caller placed."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CaptureError(f"{folder} already exists and is not an empty folder; choose another name or remove it")
        if self._temporary is None:
            shutil.copytree(self._writer.folder, folder, dirs_exist_ok=True)
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            folder.rmdir()
        shutil.move(self._writer.folder, folder)
        self._writer.folder = folder
        self._temporary = None


class _TemporaryFolder:
    """A folder that goes when nothing refers to this any more, at the latest with the program."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="keepworld-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
