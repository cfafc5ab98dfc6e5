"""Who may call what: a rule for every method that this server answers; a method without one is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import Descriptor

from keepworld_runtime.serving.keys import Scope


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What a method takes.

    Attributes:
        scope: that the key must have; None: any key will do.
        is_public: whether it takes no key at all.
        makes: where its answer has the id of what now belongs to the caller's tenant.
        lists: which of its answer's lists has things of all tenants.
        opens: whether it opens a session.
        streams: whether its stream has chunks drawn.
        uploads: whether what it takes is counted as uploaded.
        draws: whether it begins something that has chunks drawn.
        exports: whether it is counted as an export.
    """

    scope: Scope | None = None
    is_public: bool = False
    makes: tuple[str, ...] = ()
    lists: str = ""
    opens: bool = False
    streams: bool = False
    uploads: bool = False
    draws: bool = False
    exports: bool = False


_SESSION, _SNAPSHOT, _ASSET = ("session", "session_id"), ("snapshot", "snapshot_id"), ("asset_id",)
_OPERATION = ("operation", "operation_id")
_STREAM, _EXPORT = Rule(scope=Scope.STREAM), Rule(scope=Scope.EXPORT)

_WORLDS = {
    "GetCapabilities": Rule(),
    "CreateSession": Rule(scope=Scope.STREAM, makes=_SESSION, opens=True),
    "StreamSession": Rule(scope=Scope.STREAM, streams=True),
    "GetSession": _STREAM,
    "ListSessions": Rule(scope=Scope.STREAM, lists="sessions"),
    "CloseSession": _STREAM,
    "ListEvents": _STREAM,
    "CreateSnapshot": Rule(scope=Scope.STREAM, makes=_SNAPSHOT),
    "ListSnapshots": Rule(scope=Scope.STREAM, lists="snapshots"),
    "DeleteSnapshot": _STREAM,
    "BranchSession": Rule(scope=Scope.STREAM, makes=_SESSION, opens=True),
    "RewindSession": _STREAM,
    "GetJournal": _EXPORT,
    "ImportJournal": Rule(scope=Scope.STREAM, makes=_SNAPSHOT, uploads=True),
}
_ASSETS = {
    "UploadAsset": Rule(scope=Scope.STREAM, makes=_ASSET, uploads=True),
    "BeginUpload": Rule(scope=Scope.STREAM, makes=("upload_id",)),
    "GetUpload": Rule(scope=Scope.STREAM, makes=("asset", "asset_id")),  # where the answer of UploadAsset was lost
    "DownloadAsset": _EXPORT,
}
_EXPORTS = {
    "CreateCapture": Rule(scope=Scope.EXPORT, makes=_OPERATION, draws=True),
    "StartExport": Rule(scope=Scope.EXPORT, makes=_OPERATION, exports=True),
    "GetOperation": _EXPORT,
    "ListOperations": Rule(scope=Scope.EXPORT, lists="operations"),
    "WatchOperation": _EXPORT,
    "CancelOperation": _EXPORT,
    "DeleteOperation": _EXPORT,
}
_HEALTH = {name: Rule(is_public=True) for name in ("Check", "List", "Watch")}  # for who restarts servers

RULES: Mapping[str, Rule] = {
    f"/{service}/{method}": rule
    for service, methods in {
        "keepworld.v1.WorldService": _WORLDS,
        "keepworld.v1.AssetService": _ASSETS,
        "keepworld.v1.ExportService": _EXPORTS,
        "grpc.health.v1.Health": _HEALTH,
        "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": Rule()},
    }.items()
    for method, rule in methods.items()
}

OWNED = (
    "session_id",
    "snapshot_id",
    "image_asset_id",
    "clip_asset_id",
    "asset_id",
    "upload_id",
    "operation_id",
    "capture_id",
)  # fields that name a tenant's things


@cache
def owned_fields(message: Descriptor) -> tuple[tuple[str, ...], ...]:
    """The paths to those fields of a message that name a tenant's things."""
    paths: list[tuple[str, ...]] = []
    for field in message.fields:
        if field.name in OWNED:
            paths.append((field.name,))
        elif field.message_type is not None and not field.is_repeated:
            paths += [(field.name, *path) for path in owned_fields(field.message_type)]
    return tuple(paths)
