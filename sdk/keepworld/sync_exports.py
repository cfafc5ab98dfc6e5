"""Exports on a server, without async: see `sync`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

from keepworld.capabilities import Snapshot
from keepworld.exported import Exported
from keepworld.exports import AsyncExport, AsyncExports
from keepworld.loop import Loop
from keepworld.wire_export import ExportStatus, ServerExportOptions


class Export:
    """As `AsyncExport`."""

    def __init__(self, export: AsyncExport, loop: Loop) -> None:
        self._export = export
        self._loop = loop

    def __repr__(self) -> str:
        return repr(self._export).replace("AsyncExport", "Export", 1)

    @property
    def id(self) -> str:
        """What the server calls it; secret."""
        return self._export.id

    def status(self) -> ExportStatus:
        """As `AsyncExport.status`."""
        return self._loop.run(self._export.status())

    def watch(self) -> Iterator[ExportStatus]:
        """As `AsyncExport.watch`."""
        return self._loop.iterate(self._export.watch())

    def result(self, *, progress: bool = False) -> ExportStatus:
        """As `AsyncExport.result`."""
        return self._loop.run(self._export.result(progress=progress))

    def cancel(self) -> ExportStatus:
        """As `AsyncExport.cancel`."""
        return self._loop.run(self._export.cancel())

    def download(self, folder: str | Path, *, progress: bool = False) -> Exported:
        """As `AsyncExport.download`."""
        return self._loop.run(self._export.download(folder, progress=progress))

    def delete(self) -> None:
        """As `AsyncExport.delete`."""
        self._loop.run(self._export.delete())


class Exports:
    """As `AsyncExports`."""

    def __init__(self, exports: AsyncExports, loop: Loop) -> None:
        self._exports = exports
        self._loop = loop

    def start(
        self,
        snapshot: Snapshot | str,
        *files: str,
        **options: Unpack[ServerExportOptions],
    ) -> Export:
        """As `AsyncExports.start`."""
        starting = self._exports.start(
            snapshot,
            *files,
            **options,
        )
        return Export(self._loop.run(starting), self._loop)

    def get(self, export_id: str) -> Export:
        """As `AsyncExports.get`."""
        return Export(self._exports.get(export_id), self._loop)

    def list(self) -> list[ExportStatus]:
        """As `AsyncExports.list`."""
        return self._loop.run(self._exports.list())
