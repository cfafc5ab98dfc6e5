"""ExportService: each call checked, handed on, and answered."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator
from typing import Any

import grpc
from keepworld.v1 import export_service_pb2, export_service_pb2_grpc

from keepworld_runtime.engine.engine import Engine
from keepworld_runtime.engine.errors import InvalidFieldError
from keepworld_runtime.serving.exports.operation import Kind, Operation, State
from keepworld_runtime.serving.exports.runner import Exports
from keepworld_runtime.serving.idempotency import Once
from keepworld_runtime.serving.sources import source_of

PRESETS = ("preview", "standard", "final")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.[A-Za-z0-9_-]{1,16}){1,3}")
_WORD = re.compile(r"[a-z0-9-]{0,32}")
_MAX_HOLDOUT = 1000
_TEXELS = (64, 8192)
_MAX_LENGTH = 1e6
_KINDS = {
    Kind.CAPTURE: export_service_pb2.OPERATION_KIND_CAPTURE,
    Kind.EXPORT: export_service_pb2.OPERATION_KIND_EXPORT,
}
_STATES = {
    State.WAITING: export_service_pb2.OPERATION_STATE_WAITING,
    State.RUNNING: export_service_pb2.OPERATION_STATE_RUNNING,
    State.DONE: export_service_pb2.OPERATION_STATE_DONE,
    State.FAILED: export_service_pb2.OPERATION_STATE_FAILED,
    State.CANCELLED: export_service_pb2.OPERATION_STATE_CANCELLED,
}
_Context = grpc.aio.ServicerContext[Any, Any]


class ExportServicer(export_service_pb2_grpc.ExportServiceServicer):
    """Serves exports of an engine's walks."""

    def __init__(self, engine: Engine, exports: Exports) -> None:
        self._engine = engine
        self._exports = exports
        self._captures: Once[export_service_pb2.CreateCaptureResponse] = Once()
        self._started: Once[export_service_pb2.StartExportResponse] = Once()

    async def CreateCapture(  # noqa: N802 - gRPC's names
        self, request: export_service_pb2.CreateCaptureRequest, context: _Context
    ) -> export_service_pb2.CreateCaptureResponse:
        """Makes a capture of what a session, or a snapshot, has come to."""

        async def create() -> export_service_pb2.CreateCaptureResponse:
            operation = await self._exports.capture(await source_of(self._engine, request))
            return export_service_pb2.CreateCaptureResponse(operation=self._told(operation))

        return await self._captures.once(request, create)

    async def StartExport(  # noqa: N802
        self, request: export_service_pb2.StartExportRequest, context: _Context
    ) -> export_service_pb2.StartExportResponse:
        """Makes files of a capture."""

        async def start() -> export_service_pb2.StartExportResponse:
            words = arguments(request, self._exports.store.limits.max_files)
            operation = self._exports.export(request.capture_id, words)
            return export_service_pb2.StartExportResponse(operation=self._told(operation))

        return await self._started.once(request, start)

    async def GetOperation(  # noqa: N802
        self, request: export_service_pb2.GetOperationRequest, context: _Context
    ) -> export_service_pb2.GetOperationResponse:
        """An operation as it is."""
        operation = self._exports.store.get(request.operation_id)
        return export_service_pb2.GetOperationResponse(operation=self._told(operation))

    async def ListOperations(  # noqa: N802
        self, request: export_service_pb2.ListOperationsRequest, context: _Context
    ) -> export_service_pb2.ListOperationsResponse:
        """Every operation that is kept, the newest first."""
        newest_first = sorted(self._exports.store, key=lambda each: -each.created_s)
        return export_service_pb2.ListOperationsResponse(operations=[self._told(each) for each in newest_first])

    async def WatchOperation(  # noqa: N802
        self, request: export_service_pb2.WatchOperationRequest, context: _Context
    ) -> AsyncIterator[export_service_pb2.WatchOperationResponse]:
        """An operation as it gets further."""
        async for operation in self._exports.store.follow(request.operation_id):
            yield export_service_pb2.WatchOperationResponse(operation=self._told(operation))

    async def CancelOperation(  # noqa: N802
        self, request: export_service_pb2.CancelOperationRequest, context: _Context
    ) -> export_service_pb2.CancelOperationResponse:
        """Ends an operation."""
        operation = await self._exports.cancel(request.operation_id)
        return export_service_pb2.CancelOperationResponse(operation=self._told(operation))

    async def DeleteOperation(  # noqa: N802
        self, request: export_service_pb2.DeleteOperationRequest, context: _Context
    ) -> export_service_pb2.DeleteOperationResponse:
        """Forgets an operation and its files."""
        await self._exports.delete(request.operation_id)
        return export_service_pb2.DeleteOperationResponse()

    def _told(self, operation: Operation) -> export_service_pb2.Operation:
        store, progress = self._exports.store, operation.progress
        waiting = operation.state is State.WAITING
        ahead = sum(
            each.kind is operation.kind and not each.state.has_ended and each.created_s < operation.created_s
            for each in store
        )
        return export_service_pb2.Operation(
            operation_id=operation.id,
            kind=_KINDS[operation.kind],
            state=_STATES[operation.state],
            progress=export_service_pb2.OperationProgress(
                stage=progress.stage,
                share=progress.share,
                left_s=progress.left_s,
                memory_bytes=progress.memory_bytes,
                ahead=ahead if waiting else 0,
            ),
            reason=operation.reason,
            message=operation.message,
            files=[
                export_service_pb2.OperationFile(name=file.name, size=file.size, sha256=file.sha256)
                for file in operation.files
            ],
            metrics=operation.metrics,
            capture_id=operation.capture_id,
            frames=operation.frames,
            different_frames=operation.different_frames,
            created_s=operation.created_s,
            expires_s=operation.ended_s + store.limits.kept_s if operation.state.has_ended else 0.0,
        )


def arguments(request: export_service_pb2.StartExportRequest, max_files: int) -> list[str]:
    """What the exporters are told, beside where they read: every word of a form that can be nothing else."""
    if len(request.files) > max_files:
        raise InvalidFieldError(f"at most {max_files}, got {len(request.files)}", field="files")
    for i, name in enumerate(request.files):
        if not _NAME.fullmatch(name):
            raise InvalidFieldError(
                "a name is letters, digits, - and _, and suffixes, as in world.glb", field=f"files[{i}]"
            )
    if len(set(request.files)) != len(request.files):
        raise InvalidFieldError("every file needs a name of its own", field="files")
    options = request.options
    if options.preset not in ("", *PRESETS):
        raise InvalidFieldError(f"must be one of {', '.join(PRESETS)}", field="options.preset")
    if not _WORD.fullmatch(options.profile):
        raise InvalidFieldError("a profile is a word, as in unity", field="options.profile")
    given: dict[str, object] = {"--preset": options.preset, "--profile": options.profile}
    if options.HasField("holdout"):
        if options.holdout == 1 or options.holdout > _MAX_HOLDOUT:
            raise InvalidFieldError(
                f"must be 0, or 2 to {_MAX_HOLDOUT}, got {options.holdout}", field="options.holdout"
            )
        given["--holdout"] = str(options.holdout)
    for name, is_given, value in (
        ("voxel", options.HasField("voxel"), options.voxel),
        ("max_depth", options.HasField("max_depth"), options.max_depth),
    ):
        if is_given:
            if not (math.isfinite(value) and 0 < value <= _MAX_LENGTH):
                raise InvalidFieldError(f"must be in (0, {_MAX_LENGTH:g}], got {value}", field=f"options.{name}")
            given[f"--{name.replace('_', '-')}"] = repr(value)
    if options.texture:
        if not _TEXELS[0] <= options.texture <= _TEXELS[1]:
            raise InvalidFieldError(f"must be 0, or {_TEXELS[0]} to {_TEXELS[1]}", field="options.texture")
        given["--texture"] = str(options.texture)
    outs = [f"out/{name}" for name in request.files] or ["out/"]
    report = ["--report", "out"] if request.files else []
    return [*outs, *report, *(word for flag, value in given.items() if value for word in (flag, str(value)))]
