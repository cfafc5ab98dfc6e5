"""The error tree. Everything the SDK raises on purpose is a `KeepworldError`, but a caller's own slip is a `ValueError`.

    KeepworldError
    ├── MissingExtraError          something optional is not installed; says how to install it
    ├── CaptureError               a capture folder is damaged or not one
    ├── ExportError                an export failed; the capture is untouched
    └── ServerError                the server said no, or nothing
        ├── InvalidRequestError    a field was refused; `field` names it          INVALID_ARGUMENT, OUT_OF_RANGE
        ├── NotFoundError          no such session, or not yours                  NOT_FOUND
        ├── CapacityError          full; `retry_after_s` says when to come back   RESOURCE_EXHAUSTED
        ├── FencedError            another client attached to this session        ABORTED
        ├── WorkerError            the worker failed and the session could not be brought back   INTERNAL, DATA_LOSS
        ├── UnavailableError       no server there, or it is stopping             UNAVAILABLE, DEADLINE_EXCEEDED
        └── ProtocolError          client and server do not speak the same version    UNIMPLEMENTED, UNKNOWN, …

Each carries `code` (a stable word), `retryable`, and `request_id` where there is one.
"""

from __future__ import annotations


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
