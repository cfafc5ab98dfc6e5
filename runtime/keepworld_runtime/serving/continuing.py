"""Extend, as what a session goes on from: frames that were uploaded, or a recording of a walk through its own world."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from keepworld.v1 import control_pb2, geometry_pb2
from numpy.typing import NDArray

from keepworld_runtime.engine.continuation import check_fits
from keepworld_runtime.engine.errors import EventNotUnderstoodError, InputNotSupportedError, InvalidFieldError
from keepworld_runtime.engine.session import Session
from keepworld_runtime.families.family import Clip, Continuation, Event, Family, Recording
from keepworld_runtime.journal.continuations import MAX_RECORDED
from keepworld_runtime.serving import validate
from keepworld_runtime.serving.assets import AssetStore


def hashed(message: control_pb2.Extend) -> str:
    """What tells a request from another, in hex."""
    return hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()


def read(message: control_pb2.Extend, session: Session, assets: AssetStore) -> Continuation:
    """What to go on from.

    Raises:
        InputNotSupportedError: the session's family does not go on from such a thing.
        AssetNotFoundError: the frames are not there.
        InvalidFieldError, EventNotUnderstoodError: it does not fit, or is not of this session's world.
    """
    family, source = session.family, message.WhichOneof("source")
    if source is None:
        raise InvalidFieldError("name a clip, or give a recording", field="extend.source")
    if source == "clip_asset_id":
        found: Continuation = _clip(message, family, assets)
    else:
        if message.world_from_camera or message.from_here:
            raise InvalidFieldError("a recording has cameras of its own", field="extend.world_from_camera")
        found = _recording(message.recording, session)
    try:
        check_fits(found, family.capabilities)
    except ValueError as error:
        raise InvalidFieldError(str(error), field=f"extend.{source}") from None
    return found


def _clip(message: control_pb2.Extend, family: Family, assets: AssetStore) -> Clip:
    told = family.capabilities
    if not told.takes_clip:
        instead = "; from a recording of a walk through the session's own world it does" if told.takes_recording else ""
        raise InputNotSupportedError(f"{told.name} goes on from no frames{instead}", field="extend.clip_asset_id")
    clip = assets.clip(message.clip_asset_id, "extend.clip_asset_id")
    c2ws = clip.c2ws
    if message.world_from_camera:
        given, frames = len(message.world_from_camera), len(clip.frames)
        if given != frames:
            raise InvalidFieldError(f"one a frame, {frames}, got {given}", field="extend.world_from_camera")
        c2ws = _cameras(message.world_from_camera, "extend.world_from_camera")
    return replace(clip, c2ws=c2ws, is_from_here=message.from_here)


def _recording(message: control_pb2.Recording, session: Session) -> Recording:
    family, spec = session.family, session.spec
    told = family.capabilities
    if not told.takes_recording:
        raise InputNotSupportedError(f"{told.name} goes on from no recordings", field="extend.recording")
    for name, said, known in (
        ("family", message.family, told.name),
        ("family_version", message.family_version, told.version),
        ("prompt", message.prompt, spec.prompt),
        ("seed", message.seed, spec.seed),
    ):
        if said != known:
            raise InvalidFieldError(
                f"a walk through another world: its {name} is {str(said)[:80]!r}, this session's {str(known)[:80]!r}",
                field=f"extend.recording.{name}",
            )
    if message.mode not in told.modes:
        raise InvalidFieldError(f"one of {', '.join(told.modes)}", field="extend.recording.mode")
    if not 1 <= len(message.frames) <= MAX_RECORDED:
        raise InvalidFieldError(
            f"must have 1 to {MAX_RECORDED} entries, got {len(message.frames)}", field="extend.recording.frames"
        )
    fields = [f"extend.recording.frames[{i}]" for i in range(len(message.frames))]
    return Recording(
        mode=message.mode,
        controls=tuple(
            validate.control(frame.control, told, message.mode, f"{field}.control")
            for frame, field in zip(message.frames, fields, strict=True)
        ),
        c2ws=_cameras([frame.world_from_camera for frame in message.frames], "extend.recording.frames"),
        events=tuple(_event(event, family, f"extend.recording.events[{i}]") for i, event in enumerate(message.events)),
    )


def _event(message: control_pb2.RecordedEvent, family: Family, field: str) -> tuple[int, Event]:
    if len(message.text) > validate.MAX_EVENT_CHARS:
        raise InvalidFieldError(f"must have 1 to {validate.MAX_EVENT_CHARS} characters", field=f"{field}.text")
    try:
        family.read_event(message.text)
    except ValueError as error:
        raise EventNotUnderstoodError(str(error), field=f"{field}.text") from None
    duration_s = message.duration_s if message.HasField("duration_s") else None
    return message.chunk, Event(text=message.text, ramp_s=message.ramp_s, duration_s=duration_s)


def _cameras(transforms: Sequence[geometry_pb2.RigidTransform], field: str) -> NDArray[np.float64]:
    return np.stack([validate.pose(each, f"{field}[{i}]") for i, each in enumerate(transforms)])
