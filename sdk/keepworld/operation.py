"""An export that goes on by itself: the exporters in a process of their own, beside the program that asked for them."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from keepworld.errors import ExportError, KeepworldError, MissingExtraError, printable
from keepworld.exported import Exported, exported
from keepworld.progress import ProgressLine

INSTALL = "pip install 'keepworld[export]'"
_GRACE_S = 10.0  # for a step to end and be cleaned up behind
_COMPLAINTS = 20  # lines


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationStatus:
    """How an export stands.

    Attributes:
        state: "running", "done", "failed" or "cancelled".
        stage: what is being done.
        share: of all the work, 0 to 1.
        left_s: seconds to go; None while that is a guess.
        memory_bytes: that it takes now.
    """

    state: str = "running"
    stage: str = "starting"
    share: float = 0.0
    left_s: float | None = None
    memory_bytes: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state != "running"

    def __str__(self) -> str:
        """One line for people."""
        left = "" if self.left_s is None or self.has_ended else f", {self.left_s:.0f} s left"
        return f"{self.share:4.0%} {self.state if self.has_ended else self.stage}{left}"


class Operation:
    """An export that goes on by itself. It ends with the program that started it, at the latest.

    In async code ``await operation`` gives what `wait` gives, while other work goes on; `poll` never waits.
    """

    def __init__(self, words: Sequence[str], *, held: object = None) -> None:
        """Start the exporters.

        Args:
            words: of their command line.
            held: kept alive as long as it runs, such as the folder it reads.
        """
        self._temporary = tempfile.mkdtemp(prefix="keepworld-")  # which goes whatever becomes of the exporters
        self._child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "keepworld_exporters", *words, "--json", "--progress", "json"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            env=os.environ | {"TMPDIR": self._temporary}, start_new_session=True,  # Ctrl-C is for us, and we end it
        )  # fmt: skip
        self._held = held
        self._status = OperationStatus()
        self._further = threading.Condition()
        self._future: Future[Exported] = Future()
        self._future.set_running_or_notify_cancel()  # so that who no longer waits does not end it for others
        self._is_stopped = False
        self._kept: list[Path] = []
        threading.Thread(target=self._follow, name="keepworld-export", daemon=True).start()
        atexit.register(self.stop)

    def __repr__(self) -> str:
        return f"<Operation {self._child.pid}: {self.poll()}>"

    def __await__(self) -> Generator[object, None, Exported]:
        return asyncio.wrap_future(self._future).__await__()

    def poll(self) -> OperationStatus:
        """How it stands now."""
        with self._further:
            return self._status

    def watch(self) -> Iterator[OperationStatus]:
        """How it stands, now and whenever it has got further, until it has ended."""
        status = None
        while status is None or not status.has_ended:
            status = self._beyond(status, None)
            yield status

    def wait(self, timeout: float | None = None, *, progress: bool = False) -> Exported:
        """Wait until it is done.

        Args:
            timeout: seconds after which this waits no longer; None: as long as it takes.
            progress: show one line on a terminal.

        Raises:
            TimeoutError: it is not done yet. It goes on: wait again, or `cancel` it.
            ExportError: it failed, or was cancelled; says why.
            MissingExtraError: the exporters are not installed.
        """
        until = None if timeout is None else time.monotonic() + timeout
        line = ProgressLine(wanted=progress)
        try:
            while not (status := self.poll()).has_ended:
                line.show(f"export: {status}")
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"the export is not done after {timeout:g} s, and goes on: {status}")
                self._beyond(status, left)
        finally:
            line.end()
        return self._future.result()

    def cancel(self) -> None:
        """End it, and wait until it has, some ten seconds at most.

        No process of it is left, no file that is half made, and nothing to go on from. Files that were whole by then
        stay, and so does all of it if it had ended.
        """
        self.stop()
        if self.poll().state == "cancelled":
            for path in self._kept:
                path.unlink(missing_ok=True)

    def stop(self) -> None:
        """End it as Ctrl-C does: as `cancel`, but the state of a training is kept, and the same call goes on from there."""
        self._is_stopped = True
        for number, grace_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, None)):
            if not self.poll().has_ended:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._child.pid, number)
                with self._further:
                    self._further.wait_for(lambda: self._status.has_ended, grace_s)
        if self.poll().state == "cancelled":  # what a kill leaves, where it had to be one
            for folder in filter(Path.is_dir, self._kept):
                shutil.rmtree(folder, ignore_errors=True)

    def _follow(self) -> None:
        """Take note of what it says until it has ended, on a thread of its own."""
        assert self._child.stdout is not None and self._child.stderr is not None
        said: list[str] = []
        listening = threading.Thread(target=lambda: said.extend(self._child.stdout or ()), daemon=True)
        listening.start()
        complaints: deque[str] = deque(maxlen=_COMPLAINTS)
        for text in self._child.stderr:
            if not self._take(text):
                complaints.append(printable(text))
        listening.join()
        code = self._child.wait()
        for stream in (self._child.stdout, self._child.stderr):
            stream.close()
        shutil.rmtree(self._temporary, ignore_errors=True)
        atexit.unregister(self.stop)
        outcome = _outcome(code, said, [text for text in complaints if text])
        if isinstance(outcome, Exported):
            self._future.set_result(outcome)
            self._tell(replace(self._status, state="done", share=1.0))
        elif self._is_stopped:
            self._future.set_exception(ExportError("the export was cancelled", code="EXPORT_CANCELLED"))
            self._tell(replace(self._status, state="cancelled"))
        else:
            self._future.set_exception(outcome)
            self._tell(replace(self._status, state="failed"))
        self._held = None

    def _beyond(self, status: OperationStatus | None, timeout_s: float | None) -> OperationStatus:
        """How it stands when that is no longer as it was, or the time is over."""
        with self._further:
            self._further.wait_for(lambda: self._status is not status, timeout_s)
            return self._status

    def _tell(self, status: OperationStatus) -> None:
        with self._further:
            self._status = status
            self._further.notify_all()

    def _take(self, text: str) -> bool:
        """Whether a line was one of progress, which is told on."""
        try:
            content = json.loads(text)
        except ValueError:
            return False
        if isinstance(content, dict):
            self._kept += [Path(path) for path in content.get("keeps", ()) if isinstance(path, str)]
            if (status := _status(content)) is not None:
                self._tell(status)
        return True


def _status(content: Mapping[str, object]) -> OperationStatus | None:
    share, left_s, memory = content.get("share"), content.get("left_s"), content.get("memory_bytes")
    if not isinstance(share, int | float):
        return None
    return OperationStatus(
        stage=printable(str(content.get("stage", "")), 80),
        share=float(share),
        left_s=float(left_s) if isinstance(left_s, int | float) else None,
        memory_bytes=memory if isinstance(memory, int) else 0,
    )


def _outcome(code: int, said: Sequence[str], complaints: Sequence[str]) -> Exported | KeepworldError:
    if code:
        return failure(complaints)
    try:
        return exported(said)
    except ExportError as error:
        return error


def failure(complaints: Sequence[str]) -> ExportError | MissingExtraError:
    """Why exporters ended that said this last."""
    said = [text.removeprefix("keepworld-export: ") for text in complaints if text.startswith("keepworld-export: ")]
    message = said[-1] if said else (complaints[-1] if complaints else "the exporters ended without a word")
    if "No module named" in message:
        return MissingExtraError(f"exporting needs more packages ({message.partition(';')[0]})", install=INSTALL)
    return ExportError(message)
