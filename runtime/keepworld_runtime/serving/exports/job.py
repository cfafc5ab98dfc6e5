"""One export: the exporters as a process group of their own, watched while they run and gone when they are not wanted."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import math
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from keepworld_runtime.serving.exports.disk import size_of
from keepworld_runtime.serving.exports.errors import (
    ExportersMissingError,
    ExportFailedError,
    ExportMemoryError,
    ExportSpaceError,
    ExportTimeError,
)
from keepworld_runtime.serving.exports.limits import ExportLimits
from keepworld_runtime.serving.exports.operation import Progress

INSTALL = "pip install 'keepworld[export]'"
_CHILD = Path(__file__).with_name("child.py")
_NEEDED = ("keepworld_exporters", "open3d", "av", "scipy", "fast_simplification")
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR")
_PREFIXES = (
    "NUMBA_",
    "OMP_",
    "OPENBLAS_",
    "CUDA_",
    "TORCH",
)  # nothing else of the server's: there are secrets among it
_LOOKS_EVERY_S = 0.5
_TERM_S = 5.0
_ENDED_S = 0.02
_MAX_LINE_BYTES = 64 << 10
_MAX_SUMMARY_BYTES = 16 << 20
_MAX_CHARS = 500


def missing() -> list[str]:
    """What would have to be installed to export."""
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def check_installed() -> None:
    """See that there are exporters.

    Raises:
        ExportersMissingError: there are none; says the way out.
    """
    if absent := missing():
        raise ExportersMissingError(
            f"this server cannot export, it lacks {', '.join(absent)}: {INSTALL} where it runs, or capture the walk and "
            "export it on your side",
            missing=",".join(absent),
        )


async def run(
    arguments: Sequence[str],
    folder: Path,
    limits: ExportLimits,
    *,
    on_progress: Callable[[Progress], None],
    goes_on: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Run the exporters; gives the figures they measured. Cancelled, it leaves no process.

    Args:
        arguments: of `keepworld-export`.
        folder: in which they run; they are told relative paths, so that none of this machine's gets into a report.
        limits: memory and time that they may take.
        on_progress: told how far they are.
        goes_on: asked when it is cancelled: whether they are to go on later from what they have done, in the same folder.

    Raises:
        ExportFailedError, ExportMemoryError, ExportTimeError: they did not get to the end.
    """
    bounds = (os.getpid(), math.ceil(limits.time_s) * (os.cpu_count() or 1), limits.export_bytes)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(_CHILD),
        *map(str, bounds),
        *arguments,
        "--json",
        "--progress",
        "json",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=_environment(),
        start_new_session=True,
        limit=_MAX_LINE_BYTES,
    )
    watch = _Watch(process, folder, limits, on_progress)
    try:
        async with asyncio.timeout(limits.time_s), asyncio.TaskGroup() as tasks:
            said, summary = tasks.create_task(watch.listen()), tasks.create_task(_read(process.stdout))
            await watch.look()
            _signal(process, signal.SIGKILL)  # what it has left behind would keep its pipes open
    except TimeoutError:
        raise ExportTimeError(f"the export was not done within {limits.time_s:g} s; choose a smaller preset") from None
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        if goes_on():  # asked to end, they would throw away what they have done
            _signal(process, signal.SIGKILL)
        await end(process)
    if process.returncode:
        raise _failure(process.returncode, said.result())
    return _metrics(summary.result())


class _Watch:
    """What is seen of a job from outside."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        folder: Path,
        limits: ExportLimits,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._process, self._folder, self._limits, self._tell = process, folder, limits, on_progress
        self._progress = Progress(stage="starting")

    async def listen(self) -> list[str]:
        """Pass progress on; gives the last lines that were something else."""
        complaints: deque[str] = deque(maxlen=20)
        stream = self._process.stderr
        assert stream
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than any line of ours
                continue
            if not line:
                return list(complaints)
            text = line.decode(errors="replace").strip()
            progress = _progress(text)
            if progress is None:
                complaints.append(text)
            else:
                self._progress = replace(progress, memory_bytes=self._progress.memory_bytes)
                self._tell(self._progress)

    async def look(self) -> None:
        """Measure its memory, and what it has written, until it has ended.

        Raises:
            ExportMemoryError, ExportSpaceError: it takes more than it may.
        """
        while self._process.returncode is None:  # asyncio's wait() would wait for its pipes, which others may hold
            taken = group_memory(self._process.pid)
            if taken > self._limits.memory_bytes:
                raise ExportMemoryError(
                    f"the export took more than {self._limits.memory_bytes / 2**30:.1f} GiB of memory; choose a larger "
                    "voxel, a smaller texture or a shorter walk"
                )
            if await asyncio.to_thread(size_of, self._folder) > self._limits.export_bytes:
                raise ExportSpaceError(f"the export wrote more than {self._limits.export_bytes / 1e9:.1f} GB")
            if taken != self._progress.memory_bytes:
                self._progress = replace(self._progress, memory_bytes=taken)
                self._tell(self._progress)
            await asyncio.sleep(_LOOKS_EVERY_S)


async def end(process: asyncio.subprocess.Process) -> None:
    """End a job with all its processes, and wait until it is gone."""
    _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(_TERM_S):
            while process.returncode is None:  # noqa: ASYNC110 - see above
                await asyncio.sleep(_ENDED_S)
    except TimeoutError:
        pass
    finally:
        _signal(process, signal.SIGKILL)
    while process.returncode is None:  # noqa: ASYNC110
        await asyncio.sleep(_ENDED_S)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def group_memory(group: int) -> int:
    """Bytes of memory that the processes of a group have in use."""
    pages = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(stat[2]) == group:
                pages += int(stat[21])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    assert stream
    data = bytearray()
    while part := await stream.read(_MAX_LINE_BYTES):
        if len(data) < _MAX_SUMMARY_BYTES:
            data += part
    return bytes(data)


def _progress(text: str) -> Progress | None:
    try:
        content: Any = json.loads(text)
        left_s = content["left_s"]
        return Progress(
            stage=str(content["stage"])[:80],
            share=min(1.0, max(0.0, float(content["share"]))),
            left_s=None if left_s is None else float(left_s),
        )
    except (ValueError, LookupError, TypeError):
        return None


def _metrics(said: bytes) -> dict[str, float]:
    try:
        content: Any = json.loads(said.strip().splitlines()[-1])
        return {
            str(name): float(value)
            for name, value in content["metrics"].items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ExportFailedError("the exporters ended without saying what they wrote") from None


def _failure(status: int, said: Sequence[str]) -> ExportFailedError:
    own = [text.removeprefix("keepworld-export: ") for text in said if text.startswith("keepworld-export: ")]
    if own:
        return ExportFailedError(own[-1][:_MAX_CHARS])
    how = f"by signal {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    return ExportFailedError(f"the exporters ended {how}, without a word")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in _ENVIRONMENT or name.startswith(_PREFIXES)}
