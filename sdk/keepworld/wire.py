"""Turns the messages of a stream into the SDK's types and back; `wire_world` does the other calls, and nothing else does.

Whatever a server sends is measured before memory is spent on it: what does not fit what was asked for is a `ProtocolError`.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepworld.camera import Camera, PoseSource, Units, quat_from_rotation, rotation_from_quat
from keepworld.errors import InvalidRequestError, ProtocolError, printable
from keepworld.frames import Encoding, EventRecord, Frame, Latency, Receipt, Timing
from keepworld.motion import Control, Segment
from keepworld.timeline import PlannedEvent
from keepworld.v1 import control_pb2, frame_pb2, geometry_pb2, session_pb2, world_service_pb2
from keepworld.video import Video

MAX_CHUNK_FRAMES = 256
MAX_WORDS = 2000
MAX_HEARTBEAT_S = 600.0

ENCODINGS = {
    Encoding.RAW: frame_pb2.IMAGE_ENCODING_RAW_RGB8,
    Encoding.PNG: frame_pb2.IMAGE_ENCODING_PNG,
    Encoding.JPEG: frame_pb2.IMAGE_ENCODING_JPEG,
    Encoding.H264: frame_pb2.IMAGE_ENCODING_H264,
}
_ENCODINGS_BACK = {there: here for here, there in ENCODINGS.items()}
UNITS = {geometry_pb2.UNITS_METRES: Units.METRES, geometry_pb2.UNITS_MODEL: Units.MODEL}
POSE_SOURCES = {
    geometry_pb2.POSE_SOURCE_COMMANDED: PoseSource.COMMANDED,
    geometry_pb2.POSE_SOURCE_RENDERED: PoseSource.RENDERED,
    geometry_pb2.POSE_SOURCE_REFINED: PoseSource.REFINED,
}
_PACES = {
    "realtime": session_pb2.PACE_MODE_REALTIME,
    "fast": session_pb2.PACE_MODE_AS_FAST_AS_POSSIBLE,
    "pause": session_pb2.PACE_MODE_PAUSE_ON_SLOW_READER,
}
PACES = tuple(_PACES)


@contextmanager
def believing(what: str) -> Iterator[None]:
    """Make what our types refuse in a server's message a `ProtocolError`."""
    try:
        yield
    except (ValueError, KeyError, OverflowError) as error:
        raise ProtocolError(f"the server sent a {what} that cannot be: {error}") from error


# --- to the server ---


def control_message(control: Control) -> control_pb2.Control:
    """A control for the wire."""
    (right, down, forward), (yaw, pitch, roll) = control.move, control.turn
    return control_pb2.Control(
        move=control_pb2.Control.Move(right=right, down=down, forward=forward),
        turn=control_pb2.Control.Turn(yaw=yaw, pitch=pitch, roll=roll),
        speed=control.speed,
        buttons=control.buttons,
    )


def live_control(control: Control) -> world_service_pb2.StreamSessionRequest:
    """What hands do now, stamped with this client's clock."""
    live = control_pb2.LiveControl(control=control_message(control), client_time_us=_now_us())
    return world_service_pb2.StreamSessionRequest(control=live)


def script(request_id: str, segments: Iterable[Segment]) -> world_service_pb2.StreamSessionRequest:
    """A walk known beforehand."""
    steps = [
        control_pb2.ScriptStep(control=control_message(segment.control), frames=segment.frames) for segment in segments
    ]
    return world_service_pb2.StreamSessionRequest(script=control_pb2.Script(request_id=request_id, steps=steps))


def camera_path(request_id: str, c2ws: NDArray[np.float64]) -> world_service_pb2.StreamSessionRequest:
    """Cameras known beforehand, [N, 4, 4] camera to world."""
    path = control_pb2.CameraPath(request_id=request_id, world_from_camera=[transform_message(c2w) for c2w in c2ws])
    return world_service_pb2.StreamSessionRequest(path=path)


def event_message(request_id: str, planned: PlannedEvent) -> control_pb2.Event:
    """An event for the wire."""
    message = control_pb2.Event(request_id=request_id, text=planned.text, ramp_s=planned.ramp)
    if planned.at is not None:
        message.seconds = planned.at
    elif planned.chunk is not None:
        message.chunk = planned.chunk
    if planned.duration is not None:
        message.duration_s = planned.duration
    return message


def event(request_id: str, planned: PlannedEvent) -> world_service_pb2.StreamSessionRequest:
    """Something prompted to happen, at a time of the world, with a chunk, or with the next one."""
    return world_service_pb2.StreamSessionRequest(event=event_message(request_id, planned))


def cancel_event(request_id: str, event_id: str) -> world_service_pb2.StreamSessionRequest:
    """Take an event back that waits for its chunk."""
    message = control_pb2.CancelEvent(request_id=request_id, event_request_id=event_id)
    return world_service_pb2.StreamSessionRequest(cancel_event=message)


def acknowledge(number: int) -> world_service_pb2.StreamSessionRequest:
    """Say that all frames up to and with `number` are done with."""
    return world_service_pb2.StreamSessionRequest(ack=session_pb2.Ack(seq=number))


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a stream runs: how frames travel, whether with depth, how fast chunks are made, and whether only for scripts."""

    encoding: Encoding
    depth: bool
    pace: str
    only_scripted: bool

    def pace_message(self) -> session_pb2.Pace:
        """The part of it that says how fast."""
        return session_pb2.Pace(mode=_PACES[self.pace], only_scripted=self.only_scripted)

    def config_message(self) -> session_pb2.StreamConfig:
        """The part of it that says in which form."""
        return session_pb2.StreamConfig(encoding=ENCODINGS[self.encoding], pixel_data=self.depth)


def attach(
    session_id: str, token: str, settings: Settings, *, after: int | None = None, line: int = 0
) -> world_service_pb2.StreamSessionRequest:
    """The first message of a stream: all frames after number `after` are wanted, -1: all; None: those not sent before."""
    message = session_pb2.Attach(
        session_id=session_id, token=token, config=settings.config_message(), pace=settings.pace_message(), line=line
    )
    if after is not None:
        message.last_seq = after % 2**64
    return world_service_pb2.StreamSessionRequest(attach=message)


def transform_message(c2w: NDArray[np.float64]) -> geometry_pb2.RigidTransform:
    """A camera to world matrix [4, 4] for the wire."""
    w, x, y, z = (float(value) for value in quat_from_rotation(c2w[:3, :3]))
    tx, ty, tz = (float(value) for value in c2w[:3, 3])
    return geometry_pb2.RigidTransform(
        rotation=geometry_pb2.Quaternion(w=w, x=x, y=y, z=z), translation=geometry_pb2.Vector3(x=tx, y=ty, z=tz)
    )


def _now_us() -> int:
    return time.monotonic_ns() // 1000


# --- from the server ---


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkEnd:
    """What follows the last frame of a chunk: what the chunk was made from."""

    index: int
    frames: int
    controls: tuple[Control, ...]
    events: tuple[EventRecord, ...]
    latency: Latency
    extended: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Attached:
    """How a server takes a stream.

    Attributes:
        next_number: of the next frame to come.
        heartbeat_s: how often a heartbeat comes while nothing else does.
        line: that its frames are of; 0 from servers that know no lines, nor the rest.
        queued: frames of scripts and paths that wait.
        next_chunk: the next to be begun.
    """

    next_number: int
    heartbeat_s: float
    line: int
    queued: int
    next_chunk: int


def attached(message: session_pb2.Attached) -> Attached:
    """Read how the server took the stream."""
    return Attached(
        next_number=message.next_seq,
        heartbeat_s=message.heartbeat_s if 0 < message.heartbeat_s < MAX_HEARTBEAT_S else 0.0,
        line=message.line,
        queued=message.queued_frames,
        next_chunk=message.next_chunk,
    )


def frame(message: frame_pb2.Frame, *, size: tuple[int, int], units: Units, video: Video) -> Frame:
    """Read a frame that was asked for in `size` (width, height); `video` has those before it in its stream.

    Raises:
        ProtocolError: it is of another size, or damaged.
    """
    with believing("frame"):
        camera = _camera(message.camera, size=size, units=units)
        encoding = _ENCODINGS_BACK[message.image.encoding]
        data = message.image.data
        if encoding is Encoding.RAW and len(data) != size[0] * size[1] * 3:
            raise ValueError(f"{len(data)} bytes of raw picture for {size[0]}x{size[1]}")
        if not math.isfinite(message.time_s):
            raise ValueError(f"its time is {message.time_s}")
        run = video.add(data, message.chunk) if encoding is Encoding.H264 else None
        labels, confidence = _plane(message.pixels.labels, size), _plane(message.pixels.confidence, size)
        return Frame(
            number=message.seq,
            chunk=message.chunk,
            index=message.index,
            time_s=message.time_s,
            camera=camera,
            encoding=encoding,
            data=data,
            depth=_depth(message.pixels.depth, size),
            labels=labels,
            confidence=confidence,
            timing=Timing(drawn_s=message.timing.drawn_us * 1e-6, sent_s=message.timing.sent_us * 1e-6),
            run=run,
        )


def _camera(message: geometry_pb2.Camera, *, size: tuple[int, int], units: Units) -> Camera:
    seen = message.intrinsics
    if (seen.width, seen.height) != size:
        raise ValueError(f"its camera is of {seen.width}x{seen.height}, not {size[0]}x{size[1]}")
    if UNITS[message.units] is not units:
        raise ValueError(f"its camera is in {UNITS[message.units]}, the session in {units}")
    if seen.fx <= 0 or seen.fy <= 0:
        raise ValueError("its camera has no focal length")
    return Camera(
        c2w=_c2w(message.world_from_camera),
        K=np.array([[seen.fx, 0.0, seen.cx], [0.0, seen.fy, seen.cy], [0.0, 0.0, 1.0]]),
        width=seen.width,
        height=seen.height,
        units=units,
        source=POSE_SOURCES[message.pose_source],
    )


def _c2w(message: geometry_pb2.RigidTransform) -> NDArray[np.float64]:
    quat = (message.rotation.w, message.rotation.x, message.rotation.y, message.rotation.z)
    if not abs(math.hypot(*quat) - 1) < 1e-3:  # also for NaN
        raise ValueError("its rotation is not of unit length")
    c2w = np.eye(4)
    c2w[:3, :3] = rotation_from_quat(quat)
    c2w[:3, 3] = (message.translation.x, message.translation.y, message.translation.z)
    return c2w


def _depth(data: bytes, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """Put the four byte planes of a depth map together again."""
    if not data:
        return None
    width, height = size
    planes = np.frombuffer(_inflate(data, width * height * 4), np.uint8).reshape(4, height * width)
    depth = np.ascontiguousarray(planes.T).view("<f4").reshape(height, width)
    if not (np.isfinite(depth).all() and (depth >= 0).all()):
        raise ValueError("its depth is negative or not finite")
    return depth


def _plane(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    if not data:
        return None
    width, height = size
    return np.frombuffer(_inflate(data, width * height), np.uint8).reshape(height, width)


def _inflate(data: bytes, size: int) -> bytes:
    """Unpack a zlib stream of exactly `size` bytes, never more."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, size)
        rest = inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error as error:
        raise ValueError(f"damaged pixel data: {error}") from error
    if len(plain) != size or rest or not inflater.eof or inflater.unused_data:
        raise ValueError(f"its pixel data does not unpack to {size} bytes")
    return plain


def chunk_end(message: frame_pb2.ChunkEnd) -> ChunkEnd:
    """Read what a chunk was made from."""
    with believing("chunk end"):
        if not 0 < message.frames <= MAX_CHUNK_FRAMES or len(message.controls) != message.frames:
            raise ValueError(f"{message.frames} frames and {len(message.controls)} controls")
        timing = message.timing
        round_trip_us = _now_us() - message.client_time_us if message.HasField("client_time_us") else -1
        return ChunkEnd(
            index=message.chunk,
            frames=message.frames,
            controls=tuple(_control(control) for control in message.controls),
            events=tuple(_event(event) for event in message.events[:MAX_WORDS]),
            latency=Latency(
                control_ms=timing.control_us / 1000 if timing.HasField("control_us") else None,
                draw_ms=timing.draw_us / 1000,
                chunk_ms=timing.chunk_us / 1000,
                round_trip_ms=round_trip_us / 1000 if round_trip_us >= 0 else None,
            ),
            extended=message.HasField("extend_request_id"),
        )


def _control(message: control_pb2.Control) -> Control:
    move, turn = message.move, message.turn
    return Control(
        move=(move.right, move.down, move.forward),
        turn=(turn.yaw, turn.pitch, turn.roll),
        speed=message.speed if message.HasField("speed") else 1.0,
        buttons=message.buttons,
    )


def _event(message: control_pb2.Event) -> EventRecord:
    duration = message.duration_s if message.HasField("duration_s") else None
    if not all(math.isfinite(value) and value >= 0 for value in (message.ramp_s, duration or 0.0)):
        raise ValueError("an event's times are negative or not finite")
    return EventRecord(text=printable(message.text), ramp_s=message.ramp_s, duration_s=duration)


def receipt(message: session_pb2.Receipt) -> Receipt:
    """Read when something takes effect."""
    return Receipt(
        applies_to_chunk=message.applies_to_chunk,
        id=printable(message.request_id, 200),
        used=words(message.used),
        ignored=words(message.ignored),
    )


def refusal(message: session_pb2.Refusal) -> InvalidRequestError:
    """Read why something was refused."""
    return InvalidRequestError(
        printable(message.message) or "the server refused it without a word",
        field=printable(message.field, 200) or None,
        code=printable(message.reason, 200) or None,
        request_id=printable(message.request_id, 200) or None,
    )


def words(texts: Sequence[str]) -> tuple[str, ...]:
    """Short texts of a server, as they can safely be shown."""
    return tuple(printable(text, 200) for text in texts[:MAX_WORDS])
