"""The contract's own rules: what every engine in every language relies on."""

from google.protobuf.descriptor import EnumDescriptor, FileDescriptor
from keepworld.v1 import (
    asset_service_pb2,
    control_pb2,
    export_service_pb2,
    frame_pb2,
    geometry_pb2,
    session_pb2,
    status_pb2,
    world_service_pb2,
)

MODULES = (
    asset_service_pb2,
    control_pb2,
    export_service_pb2,
    frame_pb2,
    geometry_pb2,
    session_pb2,
    status_pb2,
    world_service_pb2,
)
FILES: list[FileDescriptor] = [module.DESCRIPTOR for module in MODULES]


def all_enums() -> list[EnumDescriptor]:
    return [enum for file in FILES for enum in file.enum_types_by_name.values()]


def test_every_enum_starts_with_an_unspecified_zero() -> None:
    assert all_enums()
    for enum in all_enums():
        assert enum.values_by_number[0].name.endswith("_UNSPECIFIED")


def test_every_call_has_a_request_and_a_response_of_its_own() -> None:
    services = [service for file in FILES for service in file.services_by_name.values()]
    assert {service.name for service in services} == {"WorldService", "AssetService", "ExportService"}
    for service in services:
        for method in service.methods:
            assert method.input_type.name == f"{method.name}Request"
            assert method.output_type.name == f"{method.name}Response"


def test_field_numbers_are_those_released() -> None:
    """Numbers never change inside v1: this table only grows."""
    released = {
        "Frame": {"seq": 1, "chunk": 2, "index": 3, "time_s": 4, "camera": 5, "image": 6, "pixels": 7, "timing": 8},
        "ChunkEnd": {
            "chunk": 1, "frames": 2, "controls": 3, "events": 4, "timing": 5, "client_time_us": 6, "line": 7, "digest": 8,
            "extend_request_id": 9,
        },
        "Camera": {"world_from_camera": 1, "intrinsics": 2, "units": 3, "pose_source": 4},
        "Control": {"move": 1, "turn": 2, "speed": 3, "buttons": 4},
        "Event": {"request_id": 1, "text": 2, "chunk": 3, "seconds": 4, "ramp_s": 5, "duration_s": 6},
        "Attach": {"session_id": 1, "token": 2, "config": 3, "pace": 4, "last_seq": 5, "line": 6},
        "CreateSessionRequest": {
            "request_id": 1, "family": 2, "prompt": 3, "seed": 4, "size": 5, "mode": 6, "image_asset_id": 7,
            "clip_asset_id": 8, "snapshot_id": 9, "events": 10,
        },
        "AssetHeader": {"kind": 1, "frames": 2, "width": 3, "height": 4, "has_cameras": 5},
        "AssetFrame": {"image": 1, "world_from_camera": 2},
        "Snapshot": {
            "snapshot_id": 1, "chunks": 2, "frames": 3, "name": 4, "family": 5, "seed": 6, "size": 7, "mode": 8, "created_s": 9,
        },
        "Attached": {"epoch": 1, "next_seq": 2, "heartbeat_s": 3, "line": 4, "queued_frames": 5, "next_chunk": 6},
        "Line": {"line": 1, "chunks": 2, "frames": 3, "parent": 4, "shared_chunks": 5},
        "CancelEvent": {"request_id": 1, "event_request_id": 2},
        "Extend": {"request_id": 1, "clip_asset_id": 2, "recording": 3, "world_from_camera": 4, "from_here": 5},
        "Recording": {
            "family": 1, "family_version": 2, "prompt": 3, "seed": 4, "mode": 5, "frames": 6, "events": 7,
        },
        "RecordedFrame": {"control": 1, "world_from_camera": 2},
        "RecordedEvent": {"chunk": 1, "text": 2, "ramp_s": 3, "duration_s": 4},
        "BranchSessionRequest": {"request_id": 1, "session_id": 2, "token": 3, "chunks": 4, "line": 5},
        "RewindSessionRequest": {"request_id": 1, "session_id": 2, "token": 3, "chunks": 4, "line": 5},
        "GetJournalRequest": {"session_id": 1, "token": 2, "snapshot_id": 3},
        "GetJournalResponse": {"data": 1},
        "ImportJournalRequest": {"data": 1, "name": 2},
        "CreateCaptureRequest": {"request_id": 1, "session_id": 2, "token": 3, "snapshot_id": 4},
        "StartExportRequest": {"request_id": 1, "capture_id": 2, "files": 3, "options": 4},
        "ExportOptions": {"preset": 1, "profile": 2, "holdout": 3, "voxel": 4, "max_depth": 5, "texture": 6},
        "Operation": {
            "operation_id": 1, "kind": 2, "state": 3, "progress": 4, "reason": 5, "message": 6, "files": 7, "metrics": 8,
            "capture_id": 9, "frames": 10, "different_frames": 11, "created_s": 12, "expires_s": 13,
        },
        "OperationProgress": {"stage": 1, "share": 2, "left_s": 3, "memory_bytes": 4, "ahead": 5},
        "OperationFile": {"name": 1, "size": 2, "sha256": 3},
        "DownloadAssetRequest": {"operation_id": 1, "name": 2, "offset": 3},
        "DownloadAssetResponse": {"size": 1, "sha256": 2, "data": 3},
    }  # fmt: skip
    messages = {name: message for file in FILES for name, message in file.message_types_by_name.items()}
    for name, numbers in released.items():
        assert {field.name: field.number for field in messages[name].fields} == numbers


def test_error_messages_read_what_google_rpc_writes() -> None:
    from google.rpc import error_details_pb2
    from google.rpc import status_pb2 as google_status_pb2

    status = google_status_pb2.Status(code=3, message="no")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="BAD", domain="keepworld", metadata={"a": "b"}))
    violation = error_details_pb2.BadRequest.FieldViolation(field="size.width", description="must be positive")
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    status.details.add().Pack(retry)

    ours = status_pb2.ErrorStatus.FromString(status.SerializeToString())
    assert (ours.code, ours.message) == (3, "no")
    reason = status_pb2.ErrorReason.FromString(ours.details[0].value)
    assert (reason.reason, reason.domain, dict(reason.metadata)) == ("BAD", "keepworld", {"a": "b"})
    field = status_pb2.FieldViolations.FromString(ours.details[1].value).field_violations[0]
    assert (field.field, field.description) == ("size.width", "must be positive")
    assert status_pb2.RetryDelay.FromString(ours.details[2].value).retry_delay.ToMilliseconds() == 1500
