"""What can go wrong with a request, each with the gRPC status and the stable reason it is answered with.

Raised where it happens; `serving/interceptors.py` alone turns one into an answer. Messages are for callers: what came, what
was wanted, and never a path or a traceback of this machine.
"""

from __future__ import annotations

from typing import ClassVar


class RequestError(Exception):
    """A request that cannot be fulfilled.

    Attributes:
        status: name of the gRPC status.
        reason: a stable word for programs to compare.
        field: path of the field at fault, or "".
        retry_s: after how long asking again may help, or None.
        facts: further words for programs, told as ErrorInfo.metadata.
    """

    status: ClassVar[str] = "INTERNAL"
    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, field: str = "", retry_s: float | None = None, **facts: str) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_s = retry_s
        self.facts = facts


class InvalidFieldError(RequestError):
    """A field outside its bounds."""

    status = "INVALID_ARGUMENT"
    reason = "INVALID_FIELD"


class EncodingNotSupportedError(RequestError):
    """Frames cannot be had in this form: not of this server, or not of this size."""

    status = "INVALID_ARGUMENT"
    reason = "ENCODING_NOT_SUPPORTED"


class AxisNotSupportedError(RequestError):
    """A control asks for an axis that the session's mode does not honour."""

    status = "INVALID_ARGUMENT"
    reason = "AXIS_NOT_SUPPORTED"


class PathsNotSupportedError(RequestError):
    """The family takes no cameras one by one."""

    status = "INVALID_ARGUMENT"
    reason = "PATHS_NOT_SUPPORTED"


class EventNotUnderstoodError(RequestError):
    """The family cannot bring this event about."""

    status = "INVALID_ARGUMENT"
    reason = "EVENT_NOT_UNDERSTOOD"


class EventPastError(RequestError):
    """The event's chunk or time has begun already."""

    status = "OUT_OF_RANGE"
    reason = "EVENT_PAST"


class EventNotFoundError(RequestError):
    """No such event waits."""

    status = "NOT_FOUND"
    reason = "EVENT_NOT_FOUND"


class QueueFullError(RequestError):
    """Too many frames or events are waiting."""

    status = "RESOURCE_EXHAUSTED"
    reason = "QUEUE_FULL"


class UnknownFamilyError(RequestError):
    """No family of that name is served."""

    status = "NOT_FOUND"
    reason = "UNKNOWN_FAMILY"


class SessionNotFoundError(RequestError):
    """No such session, or the token is not its own: a caller cannot tell which."""

    status = "NOT_FOUND"
    reason = "SESSION_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("no session has this id and token", field="session_id")


class InputNotSupportedError(RequestError):
    """The family begins with no picture, or goes on from no frames."""

    status = "INVALID_ARGUMENT"
    reason = "INPUT_NOT_SUPPORTED"


class WorldNotBegunError(RequestError):
    """Frames to go on from, for a world of which nothing has been made."""

    status = "FAILED_PRECONDITION"
    reason = "WORLD_NOT_BEGUN"


class AssetNotFoundError(RequestError):
    """No such asset, or it has gone."""

    status = "NOT_FOUND"
    reason = "ASSET_NOT_FOUND"


class TooManyAssetsError(RequestError):
    """The server holds as many assets as it may."""

    status = "RESOURCE_EXHAUSTED"
    reason = "TOO_MANY_ASSETS"


class UploadNotFoundError(RequestError):
    """No such upload, or it has been forgotten."""

    status = "NOT_FOUND"
    reason = "UPLOAD_NOT_FOUND"


class UploadBrokenOffError(InvalidFieldError):
    """What was due did not come; what came before is good."""


class UploadReplacedError(RequestError):
    """Another call has gone on with the upload."""

    status = "ABORTED"
    reason = "UPLOAD_REPLACED"


class OffsetError(RequestError):
    """Another number of pieces has come than the sender thought."""

    status = "OUT_OF_RANGE"
    reason = "UPLOAD_OFFSET"


class SnapshotNotFoundError(RequestError):
    """No such snapshot, or it has gone."""

    status = "NOT_FOUND"
    reason = "SNAPSHOT_NOT_FOUND"


class ChunkNotMadeError(RequestError):
    """A line, a chunk or a frame that the session does not have."""

    status = "OUT_OF_RANGE"
    reason = "CHUNK_NOT_MADE"


class FamilyChangedError(RequestError):
    """A world of another version of its family, or of a family that is not served here."""

    status = "FAILED_PRECONDITION"
    reason = "FAMILY_CHANGED"


class JournalInvalidError(RequestError):
    """A file that is no whole journal."""

    status = "INVALID_ARGUMENT"
    reason = "JOURNAL_INVALID"


class JournalFailedError(RequestError):
    """The server could not keep what happened: its disk is full, or cannot be written."""

    status = "INTERNAL"
    reason = "JOURNAL_FAILED"


class SessionRewoundError(RequestError):
    """The session has been put on another line."""

    status = "ABORTED"
    reason = "SESSION_REWOUND"


class SessionClosedError(RequestError):
    """The session has ended."""

    status = "FAILED_PRECONDITION"
    reason = "SESSION_CLOSED"


class StreamReplacedError(RequestError):
    """Another stream attached to the session."""

    status = "ABORTED"
    reason = "STREAM_REPLACED"


class TooManySessionsError(RequestError):
    """The server holds as many sessions as it may."""

    status = "RESOURCE_EXHAUSTED"
    reason = "TOO_MANY_SESSIONS"


class RealtimeCapacityError(RequestError):
    """This machine cannot also keep this session to the clock."""

    status = "RESOURCE_EXHAUSTED"
    reason = "REALTIME_CAPACITY"


class WarmingError(RequestError):
    """The families are still being loaded."""

    status = "UNAVAILABLE"
    reason = "WARMING"


class DrainingError(RequestError):
    """The server is stopping."""

    status = "UNAVAILABLE"
    reason = "DRAINING"


class WorkerFailedError(RequestError):
    """The session's world could not be brought back."""

    status = "INTERNAL"
    reason = "WORKER_FAILED"


class ChunkBrokenError(RequestError):
    """A chunk came out as nothing that can be shown, and would again."""

    status = "INTERNAL"
    reason = "CHUNK_BROKEN"


class RequestIdReusedError(RequestError):
    """A request id came again with another body."""

    status = "ALREADY_EXISTS"
    reason = "REQUEST_ID_REUSED"
