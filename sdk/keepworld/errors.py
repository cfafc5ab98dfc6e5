"""The error tree. Everything the SDK raises on purpose is a `KeepworldError`, but a caller's own slip is a `ValueError`.

    KeepworldError
    ├── MissingExtraError          something optional is not installed; says how to install it
    ├── CaptureError               a capture folder is damaged or not one
    ├── ExportError                an export failed; the capture is untouched
    └── ServerError                the server said no, or nothing
        ├── InvalidRequestError    a field was refused; `field` names it          INVALID_ARGUMENT, OUT_OF_RANGE
        ├── AccessError            no key, one that is not good any more, or not for this   UNAUTHENTICATED, PERMISSION_DENIED
        ├── NotFoundError          no such session, or not yours                  NOT_FOUND
        ├── CapacityError          full; `retry_after_s` says when to come back   RESOURCE_EXHAUSTED
        ├── FencedError            another client attached to this session        ABORTED
        ├── WorkerError            the worker failed and the session could not be brought back   INTERNAL, DATA_LOSS
        ├── BrokenChunkError       a chunk came out as nothing that can be shown; the session is over    INTERNAL
        ├── UnavailableError       no server there, or it is stopping             UNAVAILABLE, DEADLINE_EXCEEDED
        ├── StreamStalledError     a stream fell silent: not even heartbeats came
        ├── SessionLostError       a broken stream could not be taken up again in time, or with all its frames
        └── ProtocolError          client and server do not speak the same version    UNIMPLEMENTED, UNKNOWN, …

Each carries `code` (a stable word), `retryable`, and `request_id` where there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError, Message

if TYPE_CHECKING:
    import grpc.aio

_MAX_DETAIL_BYTES = 64 * 2**10
_MAX_DETAILS = 16
_MAX_MESSAGE_CHARS = 2000
_MAX_WORD_CHARS = 200


class KeepworldError(Exception):
    """Anything keepworld raises on purpose.

    Attributes:
        code: a stable word for programs to compare, as in "WORLD_CAPACITY".
        retryable: whether the same call may succeed later.
        request_id: of the call, where it had one.
    """

    code = "KEEPWORLD"
    retryable = False

    def __init__(self, message: str, *, code: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.request_id = request_id


class MissingExtraError(KeepworldError):
    """Something optional is not installed."""

    code = "MISSING_EXTRA"

    def __init__(self, message: str, *, install: str) -> None:
        super().__init__(f"{message}: {install}")
        self.install = install


class CaptureError(KeepworldError):
    """A capture folder is damaged, or is not one."""

    code = "CAPTURE"


class ExportError(KeepworldError):
    """An export failed; the capture is untouched."""

    code = "EXPORT"


class ServerError(KeepworldError):
    """The server said no, or nothing; `retry_after_s` is when it asks to be tried again, None if it did not say."""

    code = "SERVER"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code, request_id=request_id)
        self.retry_after_s = retry_after_s


class InvalidRequestError(ServerError):
    """The server refused a request; `field` is the path of the field at fault, where there is one."""

    code = "INVALID_REQUEST"

    def __init__(
        self, message: str, *, field: str | None = None, code: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(f"{field}: {message}" if field else message, code=code, request_id=request_id)
        self.field = field


class AccessError(ServerError):
    """The server wants a key, and there is none, its time is over, or it is not good for this."""

    code = "ACCESS"


class NotFoundError(ServerError):
    """No such session, or not yours."""

    code = "NOT_FOUND"


class CapacityError(ServerError):
    """The server is full, or a quota is used up; `retry_after_s` says when to come back."""

    code = "CAPACITY"
    retryable = True


class FencedError(ServerError):
    """Another client attached to this session, which ended this stream."""

    code = "FENCED"


class WorkerError(ServerError):
    """The worker failed, and the session could not be brought back."""

    code = "WORKER"


class BrokenChunkError(ServerError):
    """A chunk came out as nothing that can be shown, not-a-number or black; the session is over, what came before is good."""

    code = "CHUNK_BROKEN"


class UnavailableError(ServerError):
    """No server is there, it is stopping, or it did not answer in time."""

    code = "UNAVAILABLE"
    retryable = True


class StreamStalledError(ServerError):
    """A stream fell silent: not even heartbeats came."""

    code = "STREAM_STALLED"
    retryable = True


class SessionLostError(ServerError):
    """A broken stream could not be taken up again, in time or with all its frames; what came before is good."""

    code = "SESSION_LOST"


class ProtocolError(ServerError):
    """Client and server do not speak the same version, or one of them does not keep to it."""

    code = "PROTOCOL"


_BY_STATUS: dict[str, type[ServerError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "OUT_OF_RANGE": InvalidRequestError,
    "ALREADY_EXISTS": InvalidRequestError,
    "FAILED_PRECONDITION": InvalidRequestError,
    "UNAUTHENTICATED": AccessError,
    "PERMISSION_DENIED": AccessError,
    "NOT_FOUND": NotFoundError,
    "RESOURCE_EXHAUSTED": CapacityError,
    "ABORTED": FencedError,
    "INTERNAL": WorkerError,
    "DATA_LOSS": WorkerError,
    "UNAVAILABLE": UnavailableError,
    "DEADLINE_EXCEEDED": UnavailableError,
    "CANCELLED": UnavailableError,
}
_BY_REASON: dict[str | None, type[ServerError]] = {"CHUNK_BROKEN": BrokenChunkError}  # where the reason says more
# gRPC's own words, on this side: no server said them.
_TOO_LARGE = "message larger than max"
_BROKEN = ("Internal error from Core", "RST_STREAM", "Stream removed")
_CODES = {"DEADLINE_EXCEEDED": "DEADLINE", "CANCELLED": "CANCELLED"}  # where the status says more than its class


def kind_of(status: str, reason: str | None) -> type[ServerError]:
    """The class that a status and a reason of a server's become."""
    return _BY_REASON.get(reason) or _BY_STATUS.get(status, ProtocolError)


@contextmanager
def from_grpc(request_id: str | None = None) -> Iterator[None]:
    """Turn gRPC's errors into ours; works around awaits as well."""
    from grpc.aio import AioRpcError, UsageError

    try:
        yield
    except AioRpcError as error:
        raise _translate(error, request_id) from error
    except UsageError as error:
        raise UnavailableError(f"the connection is closed: {error}", request_id=request_id) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody here cancelled: gRPC says so when the other side did.
        raise UnavailableError(
            "the server cancelled the call", code=_CODES["CANCELLED"], request_id=request_id
        ) from error


@dataclass(slots=True)
class _Details:
    """What the details of a status say."""

    reason: str | None = None
    field: str | None = None
    description: str | None = None
    retry_after_s: float | None = None


def _translate(error: grpc.aio.AioRpcError, request_id: str | None) -> ServerError:
    status = error.code().name
    details = _read_details(error)
    kind = kind_of(status, details.reason)
    said = error.details() or ""
    if details.reason is None and _TOO_LARGE in said:
        kind = ProtocolError
    elif details.reason is None and any(words in said for words in _BROKEN):
        kind = UnavailableError
    message = printable(error.details() or "") or f"the server answered {status} without a word"
    if kind is InvalidRequestError:
        message = details.description or message
        return InvalidRequestError(message, field=details.field, code=details.reason, request_id=request_id)
    code = details.reason or _CODES.get(status)
    return kind(message, retry_after_s=details.retry_after_s, code=code, request_id=request_id)


def _read_details(error: grpc.aio.AioRpcError) -> _Details:
    """Read google.rpc.Status out of the trailing metadata; whatever is damaged or too large says nothing."""
    from keepworld.v1 import status_pb2

    found = _Details()
    trailer = next((value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"), b"")
    if not isinstance(trailer, bytes) or len(trailer) > _MAX_DETAIL_BYTES:
        return found
    status = status_pb2.ErrorStatus()
    if not _parsed(status, trailer):
        return found
    for detail in status.details[:_MAX_DETAILS]:
        kind = detail.type_url.rpartition("/")[2]
        if kind == "google.rpc.ErrorInfo" and _parsed(info := status_pb2.ErrorReason(), detail.value):
            found.reason = printable(info.reason, _MAX_WORD_CHARS) or None
        elif kind == "google.rpc.BadRequest" and _parsed(bad := status_pb2.FieldViolations(), detail.value):
            for violation in bad.field_violations[:1]:
                found.field = printable(violation.field, _MAX_WORD_CHARS) or None
                found.description = printable(violation.description) or None
        elif kind == "google.rpc.RetryInfo" and _parsed(retry := status_pb2.RetryDelay(), detail.value):
            delay = retry.retry_delay.seconds + retry.retry_delay.nanos * 1e-9
            found.retry_after_s = min(max(delay, 0.0), 86_400.0)
    return found


def _parsed(message: Message, data: bytes) -> bool:
    try:
        message.ParseFromString(data)
    except DecodeError:
        return False
    return True


def printable(text: str, limit: int = _MAX_MESSAGE_CHARS) -> str:
    """Text from elsewhere as it can safely be shown: no control characters, no more than `limit` characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:limit]).strip()
