"""What the engine knows, as messages of `keepworld.v1`. The other direction is `validate.py`."""

from __future__ import annotations

import time
from collections.abc import Mapping

from keepworld.camera import PoseSource, Units, quat_from_rotation
from keepworld.motion import Control
from keepworld.v1 import control_pb2, frame_pb2, geometry_pb2, session_pb2, world_service_pb2

from keepworld_runtime.engine.errors import RequestError
from keepworld_runtime.engine.limits import Limits
from keepworld_runtime.engine.outbox import MadeChunk, MadeFrame, Notice, NoticeKind
from keepworld_runtime.engine.session import Session, SessionStatus
from keepworld_runtime.engine.snapshot import Listed
from keepworld_runtime.families.family import Capabilities, FrameData, Reading
from keepworld_runtime.journal.record import Asked
from keepworld_runtime.journal.tree import Line, Waiting
from keepworld_runtime.serving import h264
from keepworld_runtime.serving.assets import AssetLimits
from keepworld_runtime.serving.exports.limits import ExportLimits
from keepworld_runtime.serving.pictures import Encoded, Encoding

HEARTBEAT_S = 1.0

_UNITS = {Units.METRES: geometry_pb2.UNITS_METRES, Units.MODEL: geometry_pb2.UNITS_MODEL}
_POSE_SOURCES = {
    PoseSource.COMMANDED: geometry_pb2.POSE_SOURCE_COMMANDED,
    PoseSource.RENDERED: geometry_pb2.POSE_SOURCE_RENDERED,
    PoseSource.REFINED: geometry_pb2.POSE_SOURCE_REFINED,
}
_ENCODINGS = {
    Encoding.RAW: frame_pb2.IMAGE_ENCODING_RAW_RGB8,
    Encoding.PNG: frame_pb2.IMAGE_ENCODING_PNG,
    Encoding.JPEG: frame_pb2.IMAGE_ENCODING_JPEG,
    Encoding.H264: frame_pb2.IMAGE_ENCODING_H264,
}
_NOTICES = {
    NoticeKind.WORKER_RESTARTED: session_pb2.NOTICE_KIND_WORKER_RESTARTED,
    NoticeKind.DRAINING: session_pb2.NOTICE_KIND_DRAINING,
    NoticeKind.SCRIPT_DONE: session_pb2.NOTICE_KIND_SCRIPT_DONE,
}

Response = world_service_pb2.StreamSessionResponse


def microseconds(seconds: float) -> int:
    """Seconds as whole microseconds, never negative."""
    return max(0, round(seconds * 1e6))


def capabilities(family: Capabilities, chunk_s: float) -> world_service_pb2.FamilyCapabilities:
    """What a family can do, and how fast it does it here."""
    return world_service_pb2.FamilyCapabilities(
        name=family.name,
        version=family.version,
        summary=family.summary,
        licence=family.licence,
        units=_UNITS[family.units],
        pose_source=_POSE_SOURCES[family.pose_source],
        modes=[world_service_pb2.Mode(name=name, axes=axes) for name, axes in family.modes.items()],
        accepts_paths=family.accepts_paths,
        move_rate=family.rates.move,
        turn_rate=family.rates.turn,
        sizes=[world_service_pb2.Size(width=width, height=height) for width, height in family.sizes],
        min_side=family.min_side,
        max_pixels=family.max_pixels,
        size_multiple=family.size_multiple,
        fov_x=family.fov_x,
        fps=family.fps,
        first_chunk_frames=family.first_chunk_frames,
        chunk_frames=family.chunk_frames,
        group_frames=family.group_frames,
        max_prompt_chars=family.max_prompt_chars,
        has_depth=family.has_depth,
        prompt_words=_vocabulary(family.vocabulary),
        event_phrases=_vocabulary(family.events),
        chunk_s=chunk_s,
        takes_image=family.takes_image,
        takes_clip=family.takes_clip,
        min_clip_frames=family.min_clip_frames,
        takes_recording=family.takes_recording,
        weights=family.weights,
    )


def encodings() -> list[frame_pb2.ImageEncoding.ValueType]:
    """Those that this installation has."""
    return [number for encoding, number in _ENCODINGS.items() if encoding is not Encoding.H264 or h264.is_available()]


def limits(values: Limits, assets: AssetLimits) -> world_service_pb2.Limits:
    """The bounds of the engine, and of what can be uploaded."""
    return world_service_pb2.Limits(
        max_sessions=values.max_sessions,
        max_steps=values.max_steps,
        max_queued_frames=values.max_queued_frames,
        max_pending_events=values.max_pending_events,
        dead_man_s=values.dead_man_s,
        idle_s=values.idle_s,
        max_snapshots=values.max_snapshots,
        max_asset_frames=assets.max_frames,
        max_asset_pixels=assets.max_pixels,
        max_asset_bytes=assets.max_bytes,
        asset_s=assets.kept_s,
        max_lines=values.max_lines,
        max_journal_bytes=values.max_journal_bytes,
    )


def export_limits(values: ExportLimits) -> world_service_pb2.ExportLimits:
    """The bounds of exports."""
    return world_service_pb2.ExportLimits(
        max_operations=values.max_operations,
        max_bytes=values.max_bytes,
        kept_s=values.kept_s,
        max_files=values.max_files,
    )


def session(values: Session) -> world_service_pb2.Session:
    """A session, without its token."""
    family, spec = values.family.capabilities, values.spec
    return world_service_pb2.Session(
        session_id=values.id,
        family=family.name,
        family_version=family.version,
        seed=spec.seed,
        size=world_service_pb2.Size(width=spec.width, height=spec.height),
        mode=spec.mode,
        state=_state(values),
        chunks=values.chunks,
        frames=values.frames,
        first_chunk_frames=values.capabilities.first_chunk_frames,
        line=values.line,
    )


def snapshot(values: Listed) -> world_service_pb2.Snapshot:
    """A snapshot."""
    kept, start = values.snapshot, values.start
    family, spec = start.family.capabilities.of(start.spec), start.spec
    return world_service_pb2.Snapshot(
        snapshot_id=kept.id,
        chunks=kept.point.chunks,
        frames=family.first_frame_of(kept.point.chunks),
        name=kept.name,
        family=family.name,
        seed=spec.seed,
        size=world_service_pb2.Size(width=spec.width, height=spec.height),
        mode=spec.mode,
        created_s=kept.created_s,
    )


def line(values: Line, family: Capabilities) -> session_pb2.Line:
    """A session's line."""
    chunks = values.point.chunks
    return session_pb2.Line(
        line=values.number,
        chunks=chunks,
        frames=family.first_frame_of(chunks),
        parent=values.parent,
        shared_chunks=values.shared,
    )


def waiting(values: Waiting) -> control_pb2.WaitingEvent:
    """An event that waits."""
    return control_pb2.WaitingEvent(event=_event(values.asked, values.chunk), chunk=values.chunk)


def attached(epoch: int, values: Session) -> Response:
    """The first answer of a stream."""
    return Response(
        attached=session_pb2.Attached(
            epoch=epoch,
            next_seq=values.next_seq,
            heartbeat_s=HEARTBEAT_S,
            line=values.line,
            queued_frames=values.num_queued,
            next_chunk=values.begun,
        )
    )


def frame(made: MadeFrame, encoded: Encoded, family: Capabilities) -> Response:
    """A frame that leaves now."""
    height, width = made.data.image.shape[:2]
    # Filled in place: a message that is put into another is copied, pixels and all.
    response = Response(
        frame=frame_pb2.Frame(
            seq=made.seq,
            chunk=made.chunk,
            index=made.data.index,
            time_s=made.time_s,
            camera=_camera(made.data, width, height, family),
            timing=frame_pb2.FrameTiming(drawn_us=microseconds(made.drawn_s), sent_us=microseconds(time.monotonic())),
        )
    )
    message = response.frame
    message.image.encoding = _ENCODINGS[encoded.encoding]
    message.image.data = encoded.image
    if encoded.depth or encoded.labels or encoded.confidence:
        message.pixels.depth = encoded.depth
        message.pixels.labels = encoded.labels
        message.pixels.confidence = encoded.confidence
    return response


def chunk_end(made: MadeChunk, timing: frame_pb2.ChunkTiming) -> Response:
    """The end of a chunk that has been kept: what it was made from, what it cost."""
    begun = made.begun
    message = frame_pb2.ChunkEnd(
        chunk=begun.number,
        frames=len(begun.controls),
        controls=[_control(control) for control in begun.controls],
        events=[_event(asked, begun.number) for asked in begun.events],
        timing=timing,
        line=made.line,
        digest=made.digest.result(),
        extend_request_id=begun.given.request_id if begun.given else None,
    )
    if made.touch:
        message.client_time_us = made.touch.client_time_us
    return Response(chunk_end=message)


def notice(values: Notice) -> Response:
    """Something a reader should know."""
    return Response(notice=session_pb2.Notice(kind=_NOTICES[values.kind], message=values.message))


def receipt(request_id: str, chunk: int, reading: Reading | None = None) -> Response:
    """When something asked for takes effect, and for an event how its text was understood."""
    message = session_pb2.Receipt(request_id=request_id, applies_to_chunk=chunk)
    if reading:
        message.used.extend(reading.used)
        message.ignored.extend(reading.ignored)
    return Response(receipt=message)


def refusal(request_id: str, error: RequestError) -> Response:
    """A request of a stream that was refused."""
    return Response(
        refusal=session_pb2.Refusal(
            request_id=request_id, reason=error.reason, field=error.field, message=error.message
        )
    )


def heartbeat() -> Response:
    """The session is alive."""
    return Response(heartbeat=session_pb2.Heartbeat(server_time_us=microseconds(time.monotonic())))


def _vocabulary(words: Mapping[str, tuple[str, ...]]) -> list[world_service_pb2.Vocabulary]:
    return [world_service_pb2.Vocabulary(heading=heading, words=listed) for heading, listed in words.items()]


def _state(values: Session) -> world_service_pb2.SessionState.ValueType:
    if values.status is SessionStatus.CLOSED:
        return world_service_pb2.SESSION_STATE_CLOSED
    if values.status is SessionStatus.FAILED:
        return world_service_pb2.SESSION_STATE_FAILED
    return world_service_pb2.SESSION_STATE_STREAMING if values.attachment else world_service_pb2.SESSION_STATE_IDLE


def _camera(data: FrameData, width: int, height: int, family: Capabilities) -> geometry_pb2.Camera:
    w, x, y, z = quat_from_rotation(data.c2w[:3, :3]).tolist()
    right, down, forward = data.c2w[:3, 3].tolist()
    return geometry_pb2.Camera(
        world_from_camera=geometry_pb2.RigidTransform(
            rotation=geometry_pb2.Quaternion(w=w, x=x, y=y, z=z),
            translation=geometry_pb2.Vector3(x=right, y=down, z=forward),
        ),
        intrinsics=geometry_pb2.Intrinsics(
            fx=data.K[0, 0], fy=data.K[1, 1], cx=data.K[0, 2], cy=data.K[1, 2], width=width, height=height
        ),
        units=_UNITS[family.units],
        pose_source=_POSE_SOURCES[family.pose_source],
    )


def _control(control: Control) -> control_pb2.Control:
    right, down, forward = control.move
    yaw, pitch, roll = control.turn
    return control_pb2.Control(
        move=control_pb2.Control.Move(right=right, down=down, forward=forward),
        turn=control_pb2.Control.Turn(yaw=yaw, pitch=pitch, roll=roll),
        speed=control.speed,
        buttons=control.buttons,
    )


def _event(asked: Asked, chunk: int) -> control_pb2.Event:
    return control_pb2.Event(
        request_id=asked.request_id,
        text=asked.event.text,
        chunk=chunk,
        ramp_s=asked.event.ramp_s,
        duration_s=asked.event.duration_s,
    )
