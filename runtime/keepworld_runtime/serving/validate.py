"""Messages of `keepworld.v1` as what the engine takes, every bound checked before anything is spent on it."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence

import numpy as np
from keepworld.camera import rotation_from_quat
from keepworld.motion import MAX_SPEED, Control, Segment
from keepworld.v1 import control_pb2, frame_pb2, geometry_pb2, session_pb2, world_service_pb2
from numpy.typing import NDArray

from keepworld_runtime.engine.errors import (
    AxisNotSupportedError,
    EncodingNotSupportedError,
    EventNotUnderstoodError,
    InputNotSupportedError,
    InvalidFieldError,
    PathsNotSupportedError,
)
from keepworld_runtime.engine.limits import Limits
from keepworld_runtime.engine.pace import Pace, PaceMode
from keepworld_runtime.engine.snapshot import Start
from keepworld_runtime.families.family import Capabilities, Event, Family, Reading, WorldSpec
from keepworld_runtime.journal.record import Asked
from keepworld_runtime.serving import h264
from keepworld_runtime.serving.assets import AssetStore
from keepworld_runtime.serving.pictures import Encoding, PictureFormat

MAX_EVENT_CHARS = 500
MAX_REQUEST_ID_CHARS = 64
MAX_NAME_CHARS = 64
MAX_RAMP_S = 600.0
MAX_SECONDS = 1e6  # of world time, or of an event's duration: eleven days
MAX_DISTANCE = 1e6  # of a camera from the world's origin, in its units
_UNIT_LENGTH_TOLERANCE = 1e-3

_PACES = {
    session_pb2.PACE_MODE_REALTIME: PaceMode.REALTIME,
    session_pb2.PACE_MODE_AS_FAST_AS_POSSIBLE: PaceMode.AS_FAST_AS_POSSIBLE,
    session_pb2.PACE_MODE_PAUSE_ON_SLOW_READER: PaceMode.PAUSE_ON_SLOW_READER,
}
_ENCODINGS = {
    frame_pb2.IMAGE_ENCODING_RAW_RGB8: Encoding.RAW,
    frame_pb2.IMAGE_ENCODING_PNG: Encoding.PNG,
    frame_pb2.IMAGE_ENCODING_JPEG: Encoding.JPEG,
    frame_pb2.IMAGE_ENCODING_H264: Encoding.H264,
}


def world_spec(request: world_service_pb2.CreateSessionRequest, family: Capabilities, assets: AssetStore) -> WorldSpec:
    """What world a CreateSessionRequest asks for."""
    if len(request.prompt) > family.max_prompt_chars:
        raise InvalidFieldError(
            f"a prompt has at most {family.max_prompt_chars} characters, got {len(request.prompt)}", field="prompt"
        )
    if "\0" in request.prompt:
        raise InvalidFieldError("a prompt cannot hold NUL characters", field="prompt")
    mode = request.mode or next(iter(family.modes))
    if mode not in family.modes:
        raise InvalidFieldError(f"unknown mode {mode[:64]!r}; known: {', '.join(family.modes)}", field="mode")
    width, height = _size(request.size, family) if request.HasField("size") else family.sizes[0]
    for kind, is_taken in (("image", family.takes_image), ("clip", family.takes_clip)):
        if getattr(request, f"{kind}_asset_id") and not is_taken:
            raise InputNotSupportedError(f"{family.name} takes no {kind}", field=f"{kind}_asset_id")
    if request.image_asset_id and request.clip_asset_id:
        raise InvalidFieldError("a world begins with an image or goes on from a clip, not both", field="clip_asset_id")
    image = assets.image(request.image_asset_id, "image_asset_id") if request.image_asset_id else None
    clip = assets.clip(request.clip_asset_id, "clip_asset_id") if request.clip_asset_id else None
    if clip and len(clip.frames) < family.min_clip_frames:
        raise InvalidFieldError(
            f"{family.name} goes on from at least {family.min_clip_frames} frames, got {len(clip.frames)}",
            field="clip_asset_id",
        )
    return WorldSpec(
        prompt=request.prompt, seed=request.seed, width=width, height=height, mode=mode, image=image, clip=clip
    )


def same_world(request: world_service_pb2.CreateSessionRequest, snapshot: Start) -> None:
    """See that what a CreateSessionRequest says beside its snapshot is what the snapshot's world was opened with."""
    spec = snapshot.spec
    for name, said, known in (
        ("family", request.family, snapshot.family.capabilities.name),
        ("prompt", request.prompt, spec.prompt),
        ("seed", request.seed, spec.seed),
        ("mode", request.mode, spec.mode),
    ):
        if said and said != known:
            raise InvalidFieldError(f"the snapshot's is {known!r}; leave it out, or say the same", field=name)
    if request.HasField("size") and (request.size.width, request.size.height) != (spec.width, spec.height):
        raise InvalidFieldError(
            f"the snapshot's is {spec.width}x{spec.height}; leave it out, or say the same", field="size"
        )
    for name in ("image_asset_id", "clip_asset_id"):
        if getattr(request, name):
            raise InvalidFieldError("a snapshot goes on from what it has", field=name)


def request_id(value: str) -> str:
    """A request id of a call: a UUID, or empty for none."""
    if value:
        try:
            uuid.UUID(value)
        except ValueError:
            raise InvalidFieldError("a request id is a UUID", field="request_id") from None
    return value


def pace(message: session_pb2.Pace, field: str) -> Pace:
    """A pace."""
    if message.mode not in _PACES:
        raise InvalidFieldError(
            "choose a pace: realtime, as fast as possible or pause on slow reader", field=f"{field}.mode"
        )
    return Pace(mode=_PACES[message.mode], only_scripted=message.only_scripted)


def picture_format(message: session_pb2.StreamConfig, spec: WorldSpec, field: str) -> PictureFormat:
    """How a reader wants the frames of a session."""
    if message.encoding not in _ENCODINGS:
        raise InvalidFieldError("choose an encoding: raw, PNG, JPEG or H.264", field=f"{field}.encoding")
    if message.encoding == frame_pb2.IMAGE_ENCODING_H264:
        if not h264.is_available():
            raise EncodingNotSupportedError(
                "this server has no H.264: install 'keepworld[video]' where it runs, or choose raw, PNG or JPEG",
                field=f"{field}.encoding",
            )
        if spec.width % 2 or spec.height % 2:
            raise EncodingNotSupportedError(
                f"H.264 takes even sides, the session has {spec.width}x{spec.height}; choose raw, PNG or JPEG",
                field=f"{field}.encoding",
            )
    if message.quality > 100:
        raise InvalidFieldError(f"quality is 1 to 100, or 0 for 90, got {message.quality}", field=f"{field}.quality")
    return PictureFormat(
        encoding=_ENCODINGS[message.encoding], quality=message.quality or 90, pixel_data=message.pixel_data
    )


def control(message: control_pb2.Control, family: Capabilities, mode: str, field: str) -> Control:
    """A control, of which the mode honours every axis."""
    move, turn = message.move, message.turn
    values = {
        "move.right": move.right,
        "move.down": move.down,
        "move.forward": move.forward,
        "turn.yaw": turn.yaw,
        "turn.pitch": turn.pitch,
        "turn.roll": turn.roll,
    }
    for name, value in values.items():
        if not -1 <= value <= 1:
            raise InvalidFieldError(f"must be in [-1, 1], got {value}", field=f"{field}.{name}")
    speed = message.speed if message.HasField("speed") else 1.0
    if not 0 <= speed <= MAX_SPEED:
        raise InvalidFieldError(f"must be in [0, {MAX_SPEED:g}], got {speed}", field=f"{field}.speed")
    asked = Control(
        move=(move.right, move.down, move.forward),
        turn=(turn.yaw, turn.pitch, turn.roll),
        speed=speed,
        buttons=message.buttons,
    )
    _check_axes(asked, family, mode, field)
    return asked


def script(message: control_pb2.Script, family: Capabilities, mode: str, limits: Limits) -> list[Segment]:
    """A scripted walk."""
    stream_request_id(message.request_id, "script")
    _check_count(len(message.steps), limits.max_steps, "script.steps")
    segments = []
    for i, step in enumerate(message.steps):
        if not 0 < step.frames <= limits.max_queued_frames:
            raise InvalidFieldError(
                f"must be in [1, {limits.max_queued_frames}], got {step.frames}", field=f"script.steps[{i}].frames"
            )
        segments.append(Segment(control(step.control, family, mode, f"script.steps[{i}].control"), step.frames))
    return segments


def camera_path(message: control_pb2.CameraPath, family: Capabilities, limits: Limits) -> list[NDArray[np.float64]]:
    """Cameras one by one: c2w matrices [4, 4]."""
    stream_request_id(message.request_id, "path")
    if not family.accepts_paths:
        raise PathsNotSupportedError(f"{family.name} takes controls, not cameras one by one", field="path")
    _check_count(len(message.world_from_camera), limits.max_steps, "path.world_from_camera")
    return [pose(transform, f"path.world_from_camera[{i}]") for i, transform in enumerate(message.world_from_camera)]


def pose(transform: geometry_pb2.RigidTransform, field: str) -> NDArray[np.float64]:
    """A camera: c2w [4, 4]."""
    rotation, translation = transform.rotation, transform.translation
    quat = (rotation.w, rotation.x, rotation.y, rotation.z)
    if not abs(math.hypot(*quat) - 1) <= _UNIT_LENGTH_TOLERANCE:  # so written, NaN is refused too
        raise InvalidFieldError("must be a quaternion of unit length", field=f"{field}.rotation")
    position = (translation.x, translation.y, translation.z)
    if not all(abs(value) <= MAX_DISTANCE for value in position):
        raise InvalidFieldError(f"must be within {MAX_DISTANCE:g} of the origin", field=f"{field}.translation")
    c2w = np.eye(4)
    c2w[:3, :3] = rotation_from_quat(quat)
    c2w[:3, 3] = position
    return c2w


def event(message: control_pb2.Event, family: Family, field: str = "event") -> tuple[Asked, Reading]:
    """An event, and how its text was understood."""
    stream_request_id(message.request_id, field)
    if not message.text.strip() or len(message.text) > MAX_EVENT_CHARS:
        raise InvalidFieldError(f"must have 1 to {MAX_EVENT_CHARS} characters", field=f"{field}.text")
    _check_range(message.ramp_s, MAX_RAMP_S, f"{field}.ramp_s")
    duration_s = message.duration_s if message.HasField("duration_s") else None
    if duration_s is not None:
        _check_range(duration_s, MAX_SECONDS, f"{field}.duration_s")
    when = message.WhichOneof("when")
    if when == "seconds":
        _check_range(message.seconds, MAX_SECONDS, f"{field}.seconds")
    try:
        reading = family.read_event(message.text)
    except ValueError as error:
        raise EventNotUnderstoodError(str(error), field=f"{field}.text") from None
    asked = Asked(
        request_id=message.request_id,
        event=Event(text=message.text, ramp_s=message.ramp_s, duration_s=duration_s),
        chunk=message.chunk if when == "chunk" else None,
        seconds=message.seconds if when == "seconds" else None,
    )
    return asked, reading


def events(messages: Sequence[control_pb2.Event], family: Family, limits: Limits) -> list[Asked]:
    """The events of a CreateSessionRequest."""
    if len(messages) > limits.max_pending_events:
        raise InvalidFieldError(f"at most {limits.max_pending_events}, got {len(messages)}", field="events")
    return [event(message, family, f"events[{i}]")[0] for i, message in enumerate(messages)]


def cancel_event(message: control_pb2.CancelEvent) -> str:
    """The request id of the event to take back."""
    stream_request_id(message.request_id, "cancel_event")
    if not 0 < len(message.event_request_id) <= MAX_REQUEST_ID_CHARS:
        raise InvalidFieldError(
            f"must have 1 to {MAX_REQUEST_ID_CHARS} characters", field="cancel_event.event_request_id"
        )
    return message.event_request_id


def name(value: str) -> str:
    """A snapshot's name."""
    if len(value) > MAX_NAME_CHARS or not value.isprintable():
        raise InvalidFieldError(f"has at most {MAX_NAME_CHARS} characters, all printable", field="name")
    return value


def stream_request_id(value: str, field: str) -> None:
    """A request id within a stream: any short text, echoed in the receipt."""
    if len(value) > MAX_REQUEST_ID_CHARS:
        raise InvalidFieldError(f"has at most {MAX_REQUEST_ID_CHARS} characters", field=f"{field}.request_id")


def _size(message: world_service_pb2.Size, family: Capabilities) -> tuple[int, int]:
    for side in ("width", "height"):
        value = getattr(message, side)
        if value < family.min_side:
            raise InvalidFieldError(f"must be at least {family.min_side}, got {value}", field=f"size.{side}")
        if value % family.size_multiple:
            raise InvalidFieldError(f"must be a multiple of {family.size_multiple}, got {value}", field=f"size.{side}")
    if message.width * message.height > family.max_pixels:
        side = "width" if message.width >= message.height else "height"
        raise InvalidFieldError(
            f"{message.width}x{message.height} is more than {family.max_pixels} pixels", field=f"size.{side}"
        )
    return message.width, message.height


def _check_axes(asked: Control, family: Capabilities, mode: str, field: str) -> None:
    refused = sorted(asked.used_axes() - set(family.modes[mode]))
    if refused:
        axes = ", ".join(family.modes[mode])
        raise AxisNotSupportedError(
            f"mode {mode!r} does not honour {', '.join(refused)}; it honours {axes}",
            field=f"{field}.{refused[0].replace('_', '.')}",
            axis=refused[0],
            mode=mode,
            honoured=axes,
        )


def _check_count(count: int, limit: int, field: str) -> None:
    if not 0 < count <= limit:
        raise InvalidFieldError(f"must have 1 to {limit} entries, got {count}", field=field)


def _check_range(value: float, limit: float, field: str) -> None:
    if not 0 <= value <= limit:
        raise InvalidFieldError(f"must be in [0, {limit:g}], got {value}", field=field)
