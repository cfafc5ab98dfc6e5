"""Turns the messages of calls that are no stream into the SDK's types and back: see `wire`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from keepworld.capabilities import (
    Capabilities,
    ExportLimits,
    FamilyCapabilities,
    Limits,
    Reading,
    SessionInfo,
    Snapshot,
    WaitingEvent,
)
from keepworld.errors import ProtocolError, printable
from keepworld.frames import Encoding
from keepworld.uploads import Asset, Part, Piece, Upload
from keepworld.v1 import asset_service_pb2, frame_pb2, world_service_pb2
from keepworld.wire import (
    ENCODINGS,
    MAX_CHUNK_FRAMES,
    MAX_WORDS,
    POSE_SOURCES,
    UNITS,
    believing,
    transform_message,
    words,
)

_MAX_FAMILIES = 64
_EVERY_SERVERS = {ENCODINGS[name] for name in (Encoding.RAW, Encoding.PNG, Encoding.JPEG)}
MAX_LISTED = 10_000
MAX_SIDE = 16_384

_STATES = {
    world_service_pb2.SESSION_STATE_IDLE: "idle",
    world_service_pb2.SESSION_STATE_STREAMING: "streaming",
    world_service_pb2.SESSION_STATE_CLOSED: "closed",
    world_service_pb2.SESSION_STATE_FAILED: "failed",
}

_ASSET_KINDS = {
    "image": asset_service_pb2.ASSET_KIND_IMAGE,
    "clip": asset_service_pb2.ASSET_KIND_CLIP,
    "video": asset_service_pb2.ASSET_KIND_VIDEO,
}


def reading(response: world_service_pb2.CreateSessionResponse) -> Reading:
    """Read how a prompt was understood."""
    return Reading(used=words(response.used), ignored=words(response.ignored))


def capabilities(message: world_service_pb2.GetCapabilitiesResponse) -> Capabilities:
    """Read what a server can do."""
    with believing("list of capabilities"):
        there = message.limits
        limits = Limits(
            max_sessions=there.max_sessions,
            max_steps=there.max_steps,
            max_queued_frames=there.max_queued_frames,
            max_pending_events=there.max_pending_events,
            dead_man_s=there.dead_man_s,
            idle_s=there.idle_s,
            max_snapshots=there.max_snapshots,
            max_asset_frames=there.max_asset_frames,
            max_asset_pixels=there.max_asset_pixels,
            max_asset_bytes=there.max_asset_bytes,
            asset_s=there.asset_s,
        )
        if not (limits.max_steps and limits.max_queued_frames):
            raise ValueError("limits of 0")
        return Capabilities(
            server_version=printable(message.server_version, 200),
            families=tuple(_family(family) for family in message.families[:_MAX_FAMILIES]),
            limits=limits,
            encodings=_encodings(message),
            exports=_exports(message.exports) if message.HasField("exports") else None,
        )


def _exports(there: world_service_pb2.ExportLimits) -> ExportLimits:
    return ExportLimits(
        max_operations=there.max_operations,
        max_bytes=there.max_bytes,
        kept_s=there.kept_s,
        max_files=there.max_files,
    )


def _encodings(message: world_service_pb2.GetCapabilitiesResponse) -> tuple[str, ...]:
    there = set(message.encodings[:MAX_WORDS]) or _EVERY_SERVERS
    return tuple(str(name) for name, number in ENCODINGS.items() if number in there)


def _family(there: world_service_pb2.FamilyCapabilities) -> FamilyCapabilities:
    positive = (there.move_rate, there.turn_rate, there.fps, there.fov_x)
    if not all(math.isfinite(value) and value > 0 for value in positive):
        raise ValueError("rates, fps and field of view must be positive")
    if not all(0 < frames <= MAX_CHUNK_FRAMES for frames in (there.first_chunk_frames, there.chunk_frames)):
        raise ValueError(f"chunks of {there.first_chunk_frames} and {there.chunk_frames} frames")
    return FamilyCapabilities(
        name=printable(there.name, 200),
        version=printable(there.version, 200),
        summary=printable(there.summary),
        licence=printable(there.licence),
        units=UNITS[there.units],
        pose_source=POSE_SOURCES[there.pose_source],
        modes={printable(mode.name, 200): words(mode.axes) for mode in there.modes[:_MAX_FAMILIES]},
        accepts_paths=there.accepts_paths,
        move_rate=there.move_rate,
        turn_rate=there.turn_rate,
        sizes=tuple((size.width, size.height) for size in there.sizes[:MAX_WORDS]),
        min_side=there.min_side,
        max_pixels=there.max_pixels,
        size_multiple=there.size_multiple,
        fov_x=there.fov_x,
        fps=there.fps,
        first_chunk_frames=there.first_chunk_frames,
        chunk_frames=there.chunk_frames,
        max_prompt_chars=there.max_prompt_chars,
        has_depth=there.has_depth,
        takes_image=there.takes_image,
        takes_clip=there.takes_clip,
        min_clip_frames=there.min_clip_frames,
        takes_recording=there.takes_recording,
        weights=printable(there.weights, 200),
        prompt_words=_vocabulary(there.prompt_words),
        event_phrases=_vocabulary(there.event_phrases),
        chunk_s=there.chunk_s if there.chunk_s > 0 else None,
    )


def session_info(message: world_service_pb2.Session) -> SessionInfo:
    """Read a session as the server knows it."""
    return SessionInfo(
        id=printable(message.session_id, 200),
        model=printable(message.family, 200),
        version=printable(message.family_version, 200),
        seed=message.seed,
        size=(message.size.width, message.size.height),
        mode=printable(message.mode, 200),
        state=_STATES.get(message.state, "unknown"),
        chunks=message.chunks,
        frames=message.frames,
    )


def snapshot(message: world_service_pb2.Snapshot) -> Snapshot:
    """Read what a server keeps."""
    with believing("snapshot"):
        if not (math.isfinite(message.created_s) and message.created_s >= 0):
            raise ValueError(f"it was made {message.created_s} seconds after 1970")
        return Snapshot(
            id=printable(message.snapshot_id, 200),
            chunks=message.chunks,
            frames=message.frames,
            model=printable(message.family, 200),
            prompt="",
            seed=message.seed,
            size=(message.size.width, message.size.height),
            mode=printable(message.mode, 200),
            name=printable(message.name, 200),
            created_s=message.created_s,
        )


def waiting_events(response: world_service_pb2.ListEventsResponse) -> list[WaitingEvent]:
    """Read what is still to happen."""
    found = []
    for waiting in response.events[:MAX_LISTED]:
        event = waiting.event
        duration = event.duration_s if event.HasField("duration_s") else None
        found.append(
            WaitingEvent(
                id=printable(event.request_id, 200),
                chunk=waiting.chunk,
                text=printable(event.text),
                ramp=event.ramp_s,
                duration=duration,
            )
        )
    return found


def own_capabilities(session: world_service_pb2.Session, family: FamilyCapabilities) -> FamilyCapabilities:
    """What a session's family can do, with the length of the session's own chunk 0.

    Raises:
        ProtocolError: it cannot be so long.
    """
    with believing("session"):
        frames = session.first_chunk_frames or family.first_chunk_frames
        if frames > MAX_CHUNK_FRAMES:
            raise ValueError(f"its first chunk has {frames} frames")
        return replace(family, first_chunk_frames=frames)


def check_size(session: world_service_pb2.Session, asked: tuple[int, int] | None) -> None:
    """A server must not make frames larger than asked for.

    Raises:
        ProtocolError: it does.
    """
    size = (session.size.width, session.size.height)
    if size != (asked or size) or not all(0 < side <= MAX_SIDE for side in size):
        raise ProtocolError(f"a world of {asked} was asked for, the server made one of {size}")


def header(there: Upload) -> asset_service_pb2.AssetHeader:
    """What is going to be sent."""
    return asset_service_pb2.AssetHeader(
        kind=_ASSET_KINDS[there.kind], frames=there.num_pieces, has_cameras=there.has_cameras
    )


def resumed(upload_id: str, offset: int) -> asset_service_pb2.UploadAssetRequest:
    """That an upload goes on behind so many pieces."""
    resume = asset_service_pb2.UploadResume(upload_id=upload_id, offset=offset)
    return asset_service_pb2.UploadAssetRequest(resume=resume)


def asset(there: asset_service_pb2.UploadAssetResponse) -> Asset:
    """Read what became of an upload."""
    return Asset(id=printable(there.asset_id, 200), frames=there.frames, size=(there.width, there.height))


def piece(there: Piece) -> asset_service_pb2.UploadAssetRequest:
    """A picture, or a part of a video."""
    if isinstance(there, Part):
        return asset_service_pb2.UploadAssetRequest(part=there.data)
    image = frame_pb2.Image(encoding=ENCODINGS[there.encoding], data=there.data)
    camera = None if there.c2w is None else transform_message(there.c2w)
    return asset_service_pb2.UploadAssetRequest(
        frame=asset_service_pb2.AssetFrame(image=image, world_from_camera=camera)
    )


def _vocabulary(entries: Sequence[world_service_pb2.Vocabulary]) -> Mapping[str, tuple[str, ...]]:
    return {printable(entry.heading, 200): words(entry.words) for entry in entries[:MAX_WORDS]}
