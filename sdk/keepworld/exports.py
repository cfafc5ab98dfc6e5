"""Exports that a server makes: asked for, watched, and fetched, also by another program than the one that asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Unpack

from keepworld import wire_export
from keepworld.capabilities import Snapshot
from keepworld.connection import Connection
from keepworld.download import download
from keepworld.errors import ExportError, NotFoundError, StreamStalledError, UnavailableError, from_grpc
from keepworld.exported import Exported
from keepworld.feed import new_id
from keepworld.host import Host
from keepworld.patience import Patience
from keepworld.progress import ProgressLine
from keepworld.v1 import export_service_pb2
from keepworld.wire_export import ExportStatus, ServerExportOptions, export_options
from keepworld.wire_world import MAX_LISTED

_SILENT_S = 20.0  # a server says something every five


class AsyncExport:
    """An export on a server. It goes on whether or not anybody watches, and its `id` is all it takes to find it again.

    Attributes:
        id: what the server calls it; secret.
    """

    def __init__(self, host: Host, export_id: str) -> None:
        self.id = export_id
        self._host = host

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    async def status(self) -> ExportStatus:
        """How it stands.

        Raises:
            NotFoundError: the server has forgotten it, or it is not yours.
        """
        connection = await self._host.connected()
        request = export_service_pb2.GetOperationRequest(operation_id=self.id)
        response = await connection.repeat(connection.exports.GetOperation, request)
        return wire_export.status(response.operation)

    async def watch(self) -> AsyncGenerator[ExportStatus, None]:
        """How it stands, now and whenever it has got further, until it has ended; over a line that breaks too.

        Raises:
            NotFoundError: the server has forgotten it, or it is not yours.
            SessionLostError: the server could not be reached for too long.
        """
        patience = Patience(self._host.resume_s)
        while True:
            connection = await self._host.connected()
            try:
                async with contextlib.aclosing(_watched(connection, self.id)) as statuses:
                    async for status in statuses:
                        patience.renew()
                        yield status
                        if status.has_ended:
                            return
                raise UnavailableError("the server ended the answer before the export had")
            except StreamStalledError as error:
                await connection.renew(connection.worlds)
                await asyncio.sleep(patience.next_pause_s(error))
            except UnavailableError as error:
                await asyncio.sleep(patience.next_pause_s(error))

    async def result(self, *, progress: bool = False) -> ExportStatus:
        """Wait until it is done.

        Args:
            progress: show one line on a terminal.

        Raises:
            ExportError: it failed, or was cancelled; says why.
            ServerError: as for `watch`.
        """
        line = ProgressLine(wanted=progress)
        try:
            async with contextlib.aclosing(self.watch()) as statuses:
                async for status in statuses:
                    line.show(f"export: {status}")
        finally:
            line.end()
        if status.state != "done":
            raise ExportError(status.message or "the export was cancelled", code=status.reason or "EXPORT_CANCELLED")
        return status

    async def cancel(self) -> ExportStatus:
        """End it, leaving nothing half made, and the capture that it is made of; what has ended stays as it is."""
        connection = await self._host.connected()
        request = export_service_pb2.CancelOperationRequest(operation_id=self.id)
        response = await connection.repeat(connection.exports.CancelOperation, request)
        status = wire_export.status(response.operation)
        if status.capture_id:
            request = export_service_pb2.CancelOperationRequest(operation_id=status.capture_id)
            with contextlib.suppress(NotFoundError):
                await connection.repeat(connection.exports.CancelOperation, request)
        return status

    async def download(self, folder: str | Path, *, progress: bool = False) -> Exported:
        """Wait until it is done, and fetch its files; a line that breaks costs nothing that has come.

        Args:
            folder: where to; made if it is not there. Files of the same names are replaced, each when it is whole.
            progress: show one line on a terminal.

        Raises:
            ExportError: it failed, or was cancelled.
            ServerError: as for `watch`; or what came is not what was made.
            OSError: it could not be written.
        """
        status = await self.result(progress=progress)
        folder, line = Path(folder), ProgressLine(wanted=progress)
        try:
            for file in status.files:
                await download(self._host, self.id, file, folder, on_share=lambda file, share: line.show(
                    f"fetching {file.name}: {share:4.0%} of {file.size / 1e6:.1f} MB"
                ))  # fmt: skip
        finally:
            line.end()
        page = folder / "report.html" if any(file.name == "report.html" for file in status.files) else None
        return Exported.of([folder / file.name for file in status.files], status.metrics, page)

    async def delete(self) -> None:
        """Have the server forget it, with all its files and its capture; one that has not ended is cancelled.

        Raises:
            NotFoundError: it has forgotten it already, or it is not yours.
        """
        capture_id = (await self.status()).capture_id
        connection = await self._host.connected()
        for operation_id in filter(None, (self.id, capture_id)):
            request = export_service_pb2.DeleteOperationRequest(operation_id=operation_id)
            with contextlib.suppress(NotFoundError) if operation_id == capture_id else contextlib.nullcontext():
                await connection.once(connection.exports.DeleteOperation, request)


class AsyncExports:
    """Exports on a client's server."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def start(
        self,
        snapshot: Snapshot | str,
        *files: str,
        **options: Unpack[ServerExportOptions],
    ) -> AsyncExport:
        """Have what led to a snapshot made into 3D files; the rest as for `AsyncSession.start_export`."""
        source = export_service_pb2.CreateCaptureRequest(
            snapshot_id=snapshot if isinstance(snapshot, str) else snapshot.id
        )
        return await start(self._host, source, files, options)

    def get(self, export_id: str) -> AsyncExport:
        """An export that this or another program has started, by its id."""
        return AsyncExport(self._host, export_id)

    async def list(self) -> list[ExportStatus]:
        """The exports and captures that the server keeps and that are yours to see, the newest first.

        Raises:
            ServerError: it did not answer.
        """
        connection = await self._host.connected()
        response = await connection.repeat(
            connection.exports.ListOperations, export_service_pb2.ListOperationsRequest()
        )
        return [wire_export.status(operation) for operation in response.operations[:MAX_LISTED]]


async def start(
    host: Host,
    source: export_service_pb2.CreateCaptureRequest,
    files: tuple[str, ...],
    options: ServerExportOptions,
) -> AsyncExport:
    """Have a walk captured, and files made of that."""
    connection = await host.connected()
    source.request_id = new_id()
    captured = await connection.repeat(connection.exports.CreateCapture, source, request_id=source.request_id)
    request = export_service_pb2.StartExportRequest(
        request_id=new_id(), capture_id=captured.operation.operation_id, files=files, options=export_options(options)
    )
    try:
        started = await connection.repeat(connection.exports.StartExport, request, request_id=request.request_id)
    except BaseException:
        # Nobody else knows of the capture. What else goes wrong now is not worth telling.
        forget = export_service_pb2.DeleteOperationRequest(operation_id=request.capture_id)
        with contextlib.suppress(Exception):
            await asyncio.shield(connection.once(connection.exports.DeleteOperation, forget))
        raise
    return AsyncExport(host, wire_export.status(started.operation).id)


async def _watched(connection: Connection, export_id: str) -> AsyncGenerator[ExportStatus, None]:
    call = connection.exports.WatchOperation(export_service_pb2.WatchOperationRequest(operation_id=export_id))
    try:
        while True:
            try:
                with from_grpc():
                    async with asyncio.timeout(_SILENT_S):
                        response = await call.read()
            except TimeoutError:
                raise StreamStalledError(f"the server has said nothing for {_SILENT_S:g} s") from None
            if not isinstance(response, export_service_pb2.WatchOperationResponse):  # the end
                return
            yield wire_export.status(response.operation)
    finally:
        call.cancel()
