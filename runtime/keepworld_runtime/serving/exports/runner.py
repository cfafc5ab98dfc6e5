"""Runs operations: captures one after the other, exports as many at once as may be, each in a task that outlives its call."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
from collections.abc import Awaitable, Sequence
from concurrent.futures import Executor
from dataclasses import replace

from keepworld.errors import CaptureError

from keepworld_runtime.engine.engine import Engine
from keepworld_runtime.engine.errors import RequestError
from keepworld_runtime.engine.remake import Walked
from keepworld_runtime.engine.session import Session
from keepworld_runtime.engine.snapshot import Start
from keepworld_runtime.serving.caller import CALLER
from keepworld_runtime.serving.exports import job, recapture
from keepworld_runtime.serving.exports.disk import files_in
from keepworld_runtime.serving.exports.errors import (
    CaptureFailedError,
    ExportSpaceError,
    InterruptedExportError,
    NothingToCaptureError,
)
from keepworld_runtime.serving.exports.operation import Kind, Operation, Progress, State
from keepworld_runtime.serving.exports.store import OperationStore
from keepworld_runtime.serving.quotas import QuotaError

logger = logging.getLogger(__name__)

SWEEP_S = 10.0
_MAX_TRIES = 2  # of one export, when the server was stopped in the middle of it
_CAPTURE_SHARE = 0.3  # of an export that waits for its capture


class Exports:
    """Captures and exports of one server.

    Args:
        engine: draws what is captured.
        store: keeps what comes of it.
        threads: they write frames.
    """

    def __init__(self, engine: Engine, store: OperationStore, threads: Executor) -> None:
        self.store = store
        self._engine = engine
        self._threads = threads
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._capturing = asyncio.Semaphore(1)
        self._exporting = asyncio.Semaphore(store.limits.max_running)
        self._is_stopping = False

    async def run(self) -> None:
        """Go on with what an earlier server was in the middle of, and forget what is over, until cancelled."""
        for operation in self.store:
            if not operation.state.has_ended:
                self._take_up(operation)
        while True:
            self.store.expire()
            await asyncio.sleep(SWEEP_S)

    async def capture(self, source: Session | Start) -> Operation:
        """Begin to capture a session's line, or what led to a snapshot.

        Raises:
            NothingToCaptureError: no chunk is whole yet.
            TooManyOperationsError, ExportSpaceError: there is no room.
        """
        walked = await self._engine.walked(source)
        if not walked.works:
            raise NothingToCaptureError("no chunk is whole yet: there is nothing to capture")
        operation = self.store.add(Kind.CAPTURE, room_bytes=recapture.room_bytes(walked))
        self._begin(operation, self._capture(operation.id, walked))
        return operation

    def export(self, capture_id: str, arguments: Sequence[str]) -> Operation:
        """Begin to export a capture, once it is there.

        Args:
            capture_id: its operation's.
            arguments: of `keepworld-export`, without where it reads.

        Raises:
            ExportersMissingError: there are no exporters here.
            OperationNotFoundError, CaptureFailedError: there is no such capture, or it came to nothing.
            TooManyOperationsError, ExportSpaceError: there is no room.
        """
        job.check_installed()
        self._captured(self.store.get(capture_id))
        operation = self.store.add(
            Kind.EXPORT, room_bytes=self.store.limits.export_bytes, capture_id=capture_id, arguments=tuple(arguments)
        )
        self._begin(operation, self._export(operation.id))
        return operation

    async def cancel(self, operation_id: str) -> Operation:
        """End an operation, if it has not ended.

        Raises:
            OperationNotFoundError: there is none of this id.
        """
        self.store.get(operation_id)
        if task := self._tasks.get(operation_id):
            task.cancel()
            await asyncio.wait((task,))
        return self.store.get(operation_id)

    async def delete(self, operation_id: str) -> None:
        """Forget an operation and its files.

        Raises:
            OperationNotFoundError: there is none of this id.
        """
        await self.cancel(operation_id)
        await asyncio.to_thread(self.store.remove, operation_id)

    async def stop(self) -> None:
        """End everything; what a later server can go on with, it will."""
        self._is_stopping = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.store.close()

    def _begin(self, operation: Operation, work: Awaitable[None]) -> None:
        task = asyncio.create_task(self._to_its_end(operation.id, work))
        self._tasks[operation.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(operation.id, None))

    def _take_up(self, operation: Operation) -> None:
        if operation.kind is Kind.EXPORT and operation.tries < _MAX_TRIES and not job.missing():
            logger.info("operation taken up operation=%s", operation.id)
            self._begin(operation, self._export(operation.id))
            return
        self._fail(operation.id, InterruptedExportError("the server was stopped in the middle of it; ask for it again"))

    async def _to_its_end(self, operation_id: str, work: Awaitable[None]) -> None:
        """Do the work, and say how it ended."""
        try:
            await work
        except asyncio.CancelledError:
            if not self._is_stopping:
                await self._clean(operation_id)
                self.store.put(self.store.get(operation_id).but(state=State.CANCELLED))
        except RequestError as error:
            await self._clean(operation_id)
            self._fail(operation_id, error)
        except (OSError, CaptureError) as error:
            logger.error("operation failed operation=%s: %s", operation_id, error)
            await self._clean(operation_id)
            said = error.strerror if isinstance(error, OSError) else "a frame did not fit"
            self._fail(operation_id, ExportSpaceError(f"the server could not write it: {said}"))
        except Exception:
            logger.exception("operation failed operation=%s", operation_id)
            await self._clean(operation_id)
            self._fail(operation_id, RequestError("internal error; the server's log says more"))

    def _fail(self, operation_id: str, error: RequestError) -> None:
        failed = self.store.get(operation_id).but(state=State.FAILED, reason=error.reason, message=error.message)
        self.store.put(failed)

    async def _clean(self, operation_id: str) -> None:
        """Leave nothing half made."""
        for name in ("walk", "out"):
            await asyncio.to_thread(shutil.rmtree, self.store.where(operation_id) / name, True)
        self.store.weigh(operation_id)

    async def _capture(self, operation_id: str, walked: Walked) -> None:
        store, caller = self.store, CALLER.get()
        began_s = 0.0

        def tell(frames: int, draw_s: float) -> None:
            share = frames / walked.num_frames
            spent_s = asyncio.get_running_loop().time() - began_s
            progress = Progress(stage="frames", share=share, left_s=spent_s * (1 - share) / share)
            store.put(store.get(operation_id).but(progress=progress, frames=frames), keep=False)
            if caller:
                try:
                    caller.draw(draw_s)
                except QuotaError:
                    if frames < walked.num_frames:
                        raise

        async with self._capturing:
            await self._engine.ready.wait()
            began_s = asyncio.get_running_loop().time()
            store.put(store.get(operation_id).but(state=State.RUNNING))
            session_id = secrets.token_hex(16)
            if caller:
                caller.own(session_id)
            remade = self._engine.remake(walked, session_id)
            folder = store.where(operation_id) / "walk"
            different = await recapture.recapture(self._engine, remade, folder, self._threads, on_chunk=tell)
        await asyncio.to_thread(store.weigh, operation_id)
        store.put(
            store.get(operation_id).but(
                state=State.DONE,
                progress=Progress(stage="done", share=1.0),
                frames=walked.num_frames,
                different_frames=different,
            )
        )

    async def _export(self, operation_id: str) -> None:
        store = self.store
        share_before = await self._wait_for_capture(operation_id)

        def tell(progress: Progress) -> None:
            share = share_before + (1 - share_before) * progress.share
            store.put(store.get(operation_id).but(progress=replace(progress, share=share)), keep=False)

        async with self._exporting:
            operation = store.get(operation_id)
            operation = operation.but(state=State.RUNNING, tries=operation.tries + 1)
            store.put(operation)
            folder = store.where(operation_id)
            (folder / "out").mkdir(exist_ok=True)  # what an interrupted try has left there is gone on with
            arguments = [f"../{operation.capture_id}/walk", *operation.arguments]
            metrics = await job.run(
                arguments, folder, store.limits, on_progress=tell, goes_on=lambda: self._is_stopping
            )
            files = await asyncio.to_thread(files_in, folder / "out")
            await asyncio.to_thread(store.weigh, operation_id)
        done = Progress(stage="done", share=1.0)
        store.put(store.get(operation_id).but(state=State.DONE, progress=done, files=files, metrics=metrics))

    async def _wait_for_capture(self, operation_id: str) -> float:
        """Wait until an export's capture is there; gives the share of the work that was."""
        store, share = self.store, 0.0
        async for capture in store.follow(store.get(operation_id).capture_id):
            if not self._captured(capture):
                share = _CAPTURE_SHARE
                progress = Progress(stage="capture", share=share * capture.progress.share)
                store.put(store.get(operation_id).but(progress=progress), keep=False)
        return share

    def _captured(self, capture: Operation) -> bool:
        """Whether a capture is there, or still to come.

        Raises:
            CaptureFailedError: neither.
        """
        if capture.kind is not Kind.CAPTURE:
            raise CaptureFailedError("this operation is no capture", field="capture_id")
        if capture.state.has_ended and capture.state is not State.DONE:
            said = capture.message or "it was cancelled"
            raise CaptureFailedError(f"the capture came to nothing: {said}", field="capture_id")
        return capture.state is State.DONE
