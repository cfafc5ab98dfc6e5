"""Uploads that have begun, and can be gone on with when a connection broke."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keepworld.v1 import asset_service_pb2

from keepworld_runtime.engine.errors import (
    OffsetError,
    RequestError,
    TooManyAssetsError,
    UploadNotFoundError,
    UploadReplacedError,
)
from keepworld_runtime.serving.arriving import Arriving


@dataclass(slots=True, eq=False)
class Upload:
    """One upload.

    Attributes:
        arriving: what has come.
        used_s: when something last came.
        calls: how many have gone on with it; the newest has it.
        is_busy: whether one has it now.
        asset: what became of it.
        refused: why nothing will.
    """

    arriving: Arriving[Any]
    used_s: float
    calls: int = 0
    is_busy: bool = False
    asset: asset_service_pb2.UploadAssetResponse | None = None
    refused: RequestError | None = None

    def check_mine(self, call: int) -> None:
        """See that no later call has gone on with it.

        Raises:
            UploadReplacedError: one has.
        """
        if call != self.calls:
            raise UploadReplacedError("another call has gone on with this upload")


class Unfinished:
    """Uploads by their ids.

    Args:
        kept_s: after so long without anything coming one is forgotten.
        most: how many are kept; one that is not being gone on with makes room for a new one.
        clock: monotonic seconds.
    """

    def __init__(self, kept_s: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept_s, self._most, self._clock = kept_s, most, clock
        self._uploads: dict[str, Upload] = {}

    def __len__(self) -> int:
        return len(self._uploads)

    def begin(self, arriving: Arriving[Any]) -> str:
        """Keep one that has begun; gives its id.

        Raises:
            TooManyAssetsError: all that are kept are being gone on with.
        """
        if len(self._uploads) >= self._most:
            idle = [name for name, upload in self._uploads.items() if not upload.is_busy]
            if not idle:
                raise TooManyAssetsError(f"{self._most} uploads are coming in already", retry_s=self._kept_s / 10)
            self.drop(min(idle, key=lambda name: self._uploads[name].used_s))
        upload_id = secrets.token_hex(16)
        self._uploads[upload_id] = Upload(arriving, self._clock())
        asyncio.get_running_loop().call_later(self._kept_s, self._expire, upload_id)
        return upload_id

    def get(self, upload_id: str, field: str) -> Upload:
        """Find one.

        Raises:
            UploadNotFoundError: there is none, or it has been forgotten.
            RequestError: it was refused, for this reason.
        """
        upload = self._uploads.get(upload_id)
        if upload is None:
            raise UploadNotFoundError(f"no upload has this id; one is kept for {self._kept_s:g} s", field=field)
        if upload.refused:
            raise upload.refused.with_traceback(None)
        return upload

    def resume(self, request: asset_service_pb2.UploadResume) -> tuple[Upload, int]:
        """Go on with one, which an older call loses; gives the number of the call that has it from here on.

        Raises:
            UploadNotFoundError: there is none.
            OffsetError: something else has come than was thought.
        """
        upload = self.get(request.upload_id, "resume.upload_id")
        upload.calls += 1
        upload.is_busy = False
        received = upload.arriving.received
        if request.offset != received:
            raise OffsetError(f"{received} have come", field="resume.offset", received=str(received))
        self.touch(upload)
        upload.is_busy = True
        return upload, upload.calls

    def touch(self, upload: Upload) -> None:
        """Something has come."""
        upload.used_s = self._clock()

    def drop(self, upload_id: str) -> None:
        """Forget one, and what it holds."""
        upload = self._uploads.pop(upload_id, None)
        if upload:
            upload.calls += 1  # whoever has it has it no more
            upload.arriving.close()

    def _expire(self, upload_id: str) -> None:
        upload = self._uploads.get(upload_id)
        if upload is None:
            return
        left_s = upload.used_s + self._kept_s - self._clock()
        if left_s > 0:
            asyncio.get_running_loop().call_later(left_s, self._expire, upload_id)
        else:
            self.drop(upload_id)
