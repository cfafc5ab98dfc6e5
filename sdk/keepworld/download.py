"""Files of a server's, fetched whole or not at all: gone on with where a line broke, and compared with what they should be."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

from keepworld.errors import ProtocolError, StreamStalledError, UnavailableError, from_grpc
from keepworld.files import whole_file
from keepworld.host import Host
from keepworld.patience import Patience
from keepworld.v1 import asset_service_pb2
from keepworld.wire_export import ExportedFile

_SILENT_S = 20.0

Tell = Callable[[ExportedFile, float], None]


async def download(host: Host, operation_id: str, file: ExportedFile, folder: Path, *, on_share: Tell) -> None:
    """Fetch a file of an operation into a folder.

    Raises:
        ProtocolError: what came is not the file that the operation said.
        ServerError: the server has it no more, or could not be reached for too long.
        OSError: it could not be written.
    """
    target = folder / file.name
    await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
    patience, coming = Patience(host.resume_s), _Coming(file)
    with whole_file(target) as unfinished, unfinished.open("wb") as out:
        while coming.size < file.size:
            connection = await host.connected()
            request = asset_service_pb2.DownloadAssetRequest(
                operation_id=operation_id, name=file.name, offset=coming.size
            )
            call = connection.assets.DownloadAsset(request)
            try:
                while True:
                    with from_grpc():
                        async with asyncio.timeout(_SILENT_S):
                            part = await call.read()
                    if not isinstance(part, asset_service_pb2.DownloadAssetResponse):  # the end
                        break
                    coming.take(part)
                    await asyncio.to_thread(out.write, part.data)
                    patience.renew()
                    on_share(file, coming.size / file.size)
                if coming.size < file.size:
                    raise UnavailableError(f"{file.name} ended after {coming.size} of {file.size} bytes")
            except TimeoutError:
                await connection.renew(connection.worlds)
                await asyncio.sleep(patience.next_pause_s(StreamStalledError("the server has fallen silent")))
            except UnavailableError as error:
                await asyncio.sleep(patience.next_pause_s(error))
            finally:
                call.cancel()
        coming.check_whole()


class _Coming:
    """A file as far as it has come."""

    def __init__(self, file: ExportedFile) -> None:
        self._file = file
        self._hasher = hashlib.sha256()
        self.size = 0

    def take(self, part: asset_service_pb2.DownloadAssetResponse) -> None:
        """Count a part.

        Raises:
            ProtocolError: it is of another file, or too much.
        """
        file = self._file
        if part.sha256 and (part.sha256, part.size) != (file.sha256, file.size):
            raise ProtocolError(f"{file.name} is another file now")
        self.size += len(part.data)
        if self.size > file.size:
            raise ProtocolError(f"more of {file.name} came than its {file.size} bytes")
        self._hasher.update(part.data)

    def check_whole(self) -> None:
        """See that it is the file.

        Raises:
            ProtocolError: it is not.
        """
        if self._hasher.hexdigest() != self._file.sha256:
            raise ProtocolError(f"{self._file.name} came damaged: its SHA-256 is another")
