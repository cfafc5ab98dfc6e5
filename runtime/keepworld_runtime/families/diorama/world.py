"""One session's world: chunks of frames, and the few bytes from which they can be made again.

Frame n of a session shows the instant n / fps, until the session goes on from a recording: then the instants that follow that.
Its camera is the one before, moved by the frame's control; the very first frame shows the scene's own first camera, and its
control moves nothing. A pose that is given is used as it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import tee
from typing import Any

import numpy as np
from keepworld.camera import check_rigid, intrinsics
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.cast import Cast, Stage
from keepworld_runtime.families.diorama.particles import falling
from keepworld_runtime.families.diorama.recorded import Reached, snapped, start_of, walked_again
from keepworld_runtime.families.diorama.render import Picture, Renderer, Shot
from keepworld_runtime.families.diorama.scene import Scene
from keepworld_runtime.families.diorama.shown import Light, Shown
from keepworld_runtime.families.diorama.spec import Conditions, Moment
from keepworld_runtime.families.diorama.streaks import paint
from keepworld_runtime.families.diorama.timeline import Timeline
from keepworld_runtime.families.diorama.walk import advanced
from keepworld_runtime.families.family import (
    Capabilities,
    ChunkRequest,
    Continuation,
    Event,
    FrameData,
    Label,
    Recording,
    Surface,
    WorldSpec,
    WorldState,
)

Floats = NDArray[np.float64]

MAX_LIGHTS = 16
_LET_OUT_S = (
    0.012  # no core is drawn on for so long after a frame that somebody waits for: others are to bring it to them
)
_NOTICEABLE = 0.25  # how much of a pixel is painted over before it counts as something moving


class DioramaWorld:
    """A `keepworld_runtime.families.family.World`.

    Args:
        spec: what the session asked for.
        scene: built from the spec's prompt and seed; may be shared, is never changed.
        opening: the conditions it begins under.
        capabilities: of the family: frames in a chunk, frames a second, the field of view.
        num_threads: to draw with.
    """

    def __init__(
        self, spec: WorldSpec, scene: Scene, opening: Conditions, capabilities: Capabilities, num_threads: int
    ) -> None:
        if spec.mode not in capabilities.modes:
            raise ValueError(f"mode must be one of {', '.join(capabilities.modes)}, got {spec.mode!r}")
        self._spec, self._scene, self._capabilities = spec, scene, capabilities
        self._renderer = Renderer(scene, spec.width, spec.height, num_threads)
        self._K = intrinsics(spec.width, spec.height, capabilities.fov_x)
        self._start = start_of(scene, spec.mode)
        self._cast = Cast(Stage(scene), spec.seed)
        self._chunks = 0
        self._ahead = 0  # frames that the world has had more than the session
        self._c2w: Floats | None = None  # of the last frame drawn
        self._timeline = Timeline(opening)

    def prepare(self, event: Event) -> None:
        """Nothing: what an event brings is made as fast as it is drawn."""

    def next_chunk(self, request: ChunkRequest) -> Iterator[FrameData]:
        """Draw a chunk; see `World`.

        Raises:
            ValueError: it is not the next chunk, has too few or too many controls, asks for an axis that the mode does
                not honour or for an event that is not known, a pose is not rigid, or what it shall go on from is no recording.
        """
        self._check(request)
        c2w, timeline, ahead = self._c2w, self._timeline, self._ahead
        if request.continuation:
            reached = self._walked(request.continuation)
            c2w, timeline = reached.c2w, reached.timeline
            ahead = reached.frames - self._capabilities.first_frame_of(request.chunk)
        for event in request.events:
            timeline = timeline.with_event(
                event, self._time_of(request.chunk, ahead), self._start if c2w is None else c2w
            )
        cameras = self._cameras(request, c2w)
        drawn = [c2w if pose is not None else snapped(c2w) for c2w, pose in zip(cameras, request.poses, strict=True)]
        return self._draw(timeline, drawn, last=cameras[-1], ahead=ahead, is_live=request.is_live)

    def _walked(self, continuation: Continuation) -> Reached:
        if not isinstance(continuation, Recording):
            raise ValueError("a diorama goes on from recordings of walks through it, not from frames")
        return walked_again(continuation, self._scene, self._timeline.opening, self._capabilities)

    def _check(self, request: ChunkRequest) -> None:
        wanted = self._capabilities.frames_in(self._chunks)
        if request.chunk != self._chunks:
            raise ValueError(f"the next chunk is {self._chunks}, got {request.chunk}")
        if not len(request.controls) == len(request.poses) == wanted:
            came = f"{len(request.controls)} and {len(request.poses)}"
            raise ValueError(f"controls and poses must be {wanted} each in chunk {request.chunk}, got {came}")

    def _cameras(self, request: ChunkRequest, c2w: Floats | None) -> list[Floats]:
        """Of each frame of a chunk, the one before it being `c2w`."""
        cameras: list[Floats] = []
        for control, pose in zip(request.controls, request.poses, strict=True):
            if pose is not None:
                check_rigid("pose", pose)
                c2w = np.array(pose, np.float64)
            elif c2w is None:
                c2w = self._start.copy()
            else:
                c2w = advanced(c2w, control, self._scene, self._spec.mode, 1.0 / self._capabilities.fps)
            cameras.append(c2w)
        return cameras

    def _draw(
        self, timeline: Timeline, cameras: list[Floats], *, last: Floats, ahead: int, is_live: bool
    ) -> Iterator[FrameData]:
        begun_s, first_frame = time.monotonic(), self._capabilities.first_frame_of(self._chunks) + ahead
        instants, again = tee(
            self._instant(timeline, (first_frame + index) / self._capabilities.fps, c2w)
            for index, c2w in enumerate(cameras)
        )
        with closing(self._renderer.render_all(map(self._shot, instants), ahead=not is_live)) as pictures:
            for index, (picture, instant) in enumerate(zip(pictures, again, strict=True)):
                took_s = time.monotonic() - begun_s
                yield self._frame(index, picture, instant)
                if is_live and index == 0:
                    time.sleep(min(_LET_OUT_S, took_s / 2))
        self._chunks += 1
        self._c2w, self._ahead = last, ahead
        self._timeline = timeline

    def _instant(self, timeline: Timeline, time_s: float, c2w: Floats) -> _Instant:
        return _Instant(time_s, c2w, timeline.conditions_at(time_s), self._cast.shown_at(timeline, time_s))

    def _shot(self, instant: _Instant) -> Shot:
        return Shot(c2w=instant.c2w, K=self._K, moment=instant.moment())

    def _frame(self, index: int, picture: Picture, instant: _Instant) -> FrameData:
        """What has been rendered, with what falls and flies before it."""
        c2w, image, labels, confidence = instant.c2w, picture.image, picture.labels, picture.confidence
        brightness = float(image[::8, ::8].mean())
        fallen = falling(instant.conditions, self._spec.seed, instant.time_s, c2w[:3, 3], brightness)
        layers = [*instant.shown.sparks, *fallen]
        if layers:
            image = image.copy()
            cover = paint(image, picture.depth, layers, c2w, self._K)
            labels = np.where(cover > _NOTICEABLE, labels | np.uint8(Label.MOVING), labels).astype(np.uint8)
            confidence = (confidence * (1.0 - cover)).astype(np.uint8)
        return FrameData(
            index=index, c2w=c2w.copy(), K=self._K.copy(), image=image, depth=picture.depth, labels=labels, confidence=confidence
        )  # fmt: skip

    def _time_of(self, chunk: int, ahead: int) -> float:
        return (self._capabilities.first_frame_of(chunk) + ahead) / self._capabilities.fps

    def state(self) -> WorldState:
        """The number of chunks, the camera and the events: all else follows from the spec."""
        events = [
            {
                "start_s": entry.start_s,
                "text": entry.event.text,
                "ramp_s": entry.event.ramp_s,
                "duration_s": entry.event.duration_s,
                "c2w": entry.c2w.ravel().tolist(),
            }
            for entry in self._timeline.entries
        ]
        c2w = None if self._c2w is None else self._c2w.ravel().tolist()
        told = {"chunks": self._chunks, "c2w": c2w, "events": events}
        if self._ahead:
            told["ahead"] = self._ahead
        return WorldState(head=json.dumps(told, separators=(",", ":")).encode())

    def restore(self, state: WorldState) -> None:
        """Go back, or on, to where `state` was taken; see `World`.

        Raises:
            ValueError: the bytes are not the state of such a world.
        """
        try:
            told = json.loads(state.head)
            chunks, ahead = int(told["chunks"]), int(told.get("ahead", 0))
            c2w = None if told["c2w"] is None else _matrix(told["c2w"])
            timeline = Timeline(self._timeline.opening)
            for row in told["events"]:
                event = Event(text=str(row["text"]), ramp_s=row["ramp_s"], duration_s=row["duration_s"])
                timeline = timeline.with_event(event, float(row["start_s"]), _matrix(row["c2w"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not the state of a diorama world: {error}") from error
        late = timeline.entries and timeline.entries[-1].start_s >= self._time_of(max(chunks, 0), ahead)
        if chunks < 0 or (chunks == 0) != (c2w is None) or late:
            raise ValueError("not the state of a diorama world: its chunks, camera and events do not fit together")
        self._chunks, self._ahead, self._c2w, self._timeline = chunks, ahead, c2w, timeline

    def surface(self) -> Surface:
        """The scene's triangles, and those of things that events have brought to stay."""
        whole = self._scene.surface()
        last_s = max(self._time_of(self._chunks, self._ahead) - 1.0 / self._capabilities.fps, 0.0)
        for part in self._cast.shown_at(self._timeline, last_s).lasting:
            faces = (part.faces + len(whole.vertices)).astype(np.int32)
            whole = Surface(
                vertices=np.concatenate([whole.vertices, part.vertices.astype(np.float64)]),
                faces=np.concatenate([whole.faces, faces]),
            )
        return whole


@dataclass(frozen=True, slots=True, eq=False)
class _Instant:
    """What there is at a time, and the camera [4, 4] that sees it."""

    time_s: float
    c2w: Floats
    conditions: Conditions
    shown: Shown

    def moment(self) -> Moment:
        """All of it that rays can hit, and the lights that count most."""
        eye = self.c2w[:3, 3]

        def brightness(light: Light) -> float:
            x, y, z, red, green, blue, _ = light
            return (red + green + blue) / (1.0 + float(((np.array((x, y, z)) - eye) ** 2).sum()))

        lights = sorted(self.shown.lights, key=brightness, reverse=True)[:MAX_LIGHTS]
        return Moment(
            time_s=self.time_s,
            conditions=self.conditions,
            lasting=tuple(self.shown.lasting),
            moving=tuple(self.shown.moving),
            lights=np.array(lights, np.float32) if lights else None,
        )


def _matrix(numbers: Any) -> Floats:
    """A camera [4, 4] out of a state's list of 16 numbers."""
    matrix = np.array(numbers, np.float64).reshape(4, 4)
    check_rigid("c2w", matrix)
    return matrix
