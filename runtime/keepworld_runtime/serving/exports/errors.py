"""What can go wrong with an export, beside what can with any request."""

from __future__ import annotations

from keepworld_runtime.engine.errors import RequestError


class OperationNotFoundError(RequestError):
    """No such operation, or it has been forgotten."""

    status = "NOT_FOUND"
    reason = "OPERATION_NOT_FOUND"


class FileNotFoundInOperationError(RequestError):
    """The operation has no file of this name."""

    status = "NOT_FOUND"
    reason = "FILE_NOT_FOUND"


class ExportersMissingError(RequestError):
    """The exporters are not installed here."""

    status = "FAILED_PRECONDITION"
    reason = "EXPORTERS_MISSING"


class TooManyOperationsError(RequestError):
    """The server keeps as many operations as it may."""

    status = "RESOURCE_EXHAUSTED"
    reason = "TOO_MANY_OPERATIONS"


class ExportSpaceError(RequestError):
    """There is no room for what would come of it."""

    status = "RESOURCE_EXHAUSTED"
    reason = "EXPORT_SPACE"


class NothingToCaptureError(RequestError):
    """No chunk is whole yet."""

    status = "FAILED_PRECONDITION"
    reason = "NOTHING_TO_CAPTURE"


class CaptureFailedError(RequestError):
    """The capture that an export waited for did not come about."""

    status = "FAILED_PRECONDITION"
    reason = "CAPTURE_FAILED"


class OperationError(RequestError):
    """Ends no call, but an operation: its status tells."""


class ExportFailedError(OperationError):
    """The exporters said no, or died."""

    reason = "EXPORT_FAILED"


class ExportMemoryError(OperationError):
    """It took more memory than an export may."""

    reason = "EXPORT_MEMORY"


class ExportTimeError(OperationError):
    """It took longer than an export may."""

    reason = "EXPORT_TIME"


class InterruptedExportError(OperationError):
    """The server was stopped while it ran."""

    reason = "INTERRUPTED"
