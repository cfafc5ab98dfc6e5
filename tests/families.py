"""A family for tests, `gradient`: every pixel is a closed form of seed, frame number and controls, and it misbehaves on request.

Its prompt is a list of knobs: ``slow=0.2`` takes that many seconds a frame, ``crash=2`` kills the process while drawing
chunk 2, ``hang=2`` never ends it, ``raise=2`` raises in it, ``break=2`` finds it broken, ``at=5`` says at which frame of the
chunk (0), ``rank=1`` on which rank alone (the others hang
with ``others=hang``), and ``once=/some/file`` makes it happen only once: the file is written before.
``prepared=/some/file`` gets a line for each event that is prepared, and ``awaits=2`` draws chunk 2 only when it has one.

A clip to go on from adds its last frame's red to what comes after, and puts the camera where its last one was; a recording
puts it where its controls lead. ``takes=recording`` in the memory policy: that family takes no clips.

Its state has a part for each of the last chunks. A variant is its version, a memory policy more knobs for every world; a
checkpoint must be a folder that is there.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from keepworld.camera import PoseSource, Units, intrinsics
from keepworld.motion import Rates
from keepworld_runtime.families.family import (
    BrokenChunkError,
    Capabilities,
    ChunkRequest,
    Clip,
    Event,
    Family,
    FamilyOptions,
    FrameData,
    Place,
    Reading,
    Surface,
    WorldSpec,
    WorldState,
)

WIDTH, HEIGHT = 64, 48
EVENTS = ("rain", "snow")
PARTS_KEPT = 3


class GradientFamily:
    capabilities = Capabilities(
        name="gradient",
        version="1",
        summary="a closed form",
        licence="Apache-2.0",
        units=Units.METRES,
        pose_source=PoseSource.RENDERED,
        modes={"fly": ("move_forward", "move_right", "turn_yaw", "speed"), "ride": ("move_forward",)},
        accepts_paths=True,
        rates=Rates(move=2.0, turn=1.0),
        sizes=((WIDTH, HEIGHT), (512, 288)),
        min_side=16,
        max_pixels=2_000_000,
        size_multiple=8,
        fov_x=math.radians(70),
        has_depth=True,
        takes_image=True,
        takes_clip=True,
        min_clip_frames=1,
        takes_recording=True,
        vocabulary={"knob": ("slow", "crash")},
        events={"weather": EVENTS},
    )

    def __init__(self, options: FamilyOptions) -> None:
        takes_clip = "takes=recording" not in (options.memory or "")
        self.capabilities = replace(self.capabilities, version=options.variant or "1", takes_clip=takes_clip)
        self._checkpoint = options.checkpoint
        self._knobs = options.memory or ""

    def read_prompt(self, text: str) -> Reading:
        words = text.split()
        used = tuple(word for word in words if "=" in word)
        return Reading(used=used, ignored=tuple(word for word in words if "=" not in word))

    def read_event(self, text: str) -> Reading:
        if text not in EVENTS:
            raise ValueError(f"no such event; there are {', '.join(EVENTS)}")
        return Reading(used=(f"weather: {text}",), ignored=())

    def load(self, place: Place) -> GradientModel:
        if self._checkpoint and not self._checkpoint.is_dir():
            raise ValueError(f"no weights in {self._checkpoint}")
        return GradientModel(place, self._knobs)


def family(options: FamilyOptions) -> Family:
    return GradientFamily(options)


class GradientModel:
    def __init__(self, place: Place, knobs: str) -> None:
        self._place = place
        self._knobs = knobs

    def open(self, spec: WorldSpec) -> GradientWorld:
        return GradientWorld(spec, self._place, f"{self._knobs} {spec.prompt}")


class GradientWorld:
    def __init__(self, spec: WorldSpec, place: Place, knobs: str) -> None:
        told = GradientFamily.capabilities
        self._capabilities = replace(told, first_chunk_frames=told.chunk_frames) if spec.clip else told
        self._spec, self._place = spec, place
        self._knobs = dict(word.split("=", 1) for word in knobs.split() if "=" in word)
        self._walked = 0.0  # forward deflection, summed over frames: what state has to carry
        if spec.clip and spec.clip.c2ws is not None:
            self._walked = float(spec.clip.c2ws[-1, 2, 3])
        self._events = 0
        self._red = 0  # of what it was given to go on from
        self._parts: dict[str, bytes] = {}

    def prepare(self, event: Event) -> None:
        if "prepared" in self._knobs:
            with Path(self._knobs["prepared"]).open("a") as file:
                file.write(f"{event.text}\n")
        if self._knobs.get("prepare") == "raise":
            raise RuntimeError("cannot be prepared")

    def next_chunk(self, request: ChunkRequest) -> Iterator[FrameData]:
        first = self._capabilities.first_frame_of(request.chunk)
        walked, events, red = self._walked, self._events + len(request.events), self._red
        if isinstance(request.continuation, Clip):
            clip = request.continuation
            red += int(clip.frames[-1, 0, 0, 0])
            here = walked if clip.is_from_here else 0.0
            walked = (
                walked
                if clip.c2ws is None
                else here + float(clip.c2ws[-1, 2, 3] - clip.is_from_here * clip.c2ws[0, 2, 3])
            )
        elif request.continuation:
            walked, events = sum(control.move[2] for control in request.continuation.controls), len(request.events)
            events += len(request.continuation.events)
        for index, (control, pose) in enumerate(zip(request.controls, request.poses, strict=True)):
            if index == int(self._knobs.get("at", 0)):
                self._misbehave(request.chunk)
            time.sleep(float(self._knobs.get("slow", 0)))
            walked += control.move[2]
            c2w = np.eye(4) if pose is None else pose.copy()
            if pose is None:
                c2w[2, 3] = walked
            image = picture(self._spec, first + index, float(c2w[2, 3]), events)
            image[..., 0] += np.uint8(red % 256)
            if self._place.num_ranks > 1:
                image[..., 1] = 10 * self._place.num_ranks + self._place.rank
            yield FrameData(
                index=index,
                c2w=c2w,
                K=intrinsics(self._spec.width, self._spec.height, self._capabilities.fov_x),
                image=image,
                depth=np.full((self._spec.height, self._spec.width), first + index, np.float32),
                labels=np.full((self._spec.height, self._spec.width), index % 4, np.uint8),
                confidence=None,
            )
        self._walked, self._events, self._red = walked, events, red
        parts = {**self._parts, f"chunk {request.chunk}": f"walked {walked!r}".encode()}
        self._parts = dict(list(parts.items())[-PARTS_KEPT:])

    def state(self) -> WorldState:
        return WorldState(
            head=f"{self._walked!r} {self._events}{f' {self._red}' if self._red else ''}".encode(), parts=self._parts
        )

    def restore(self, state: WorldState) -> None:
        walked, events, *red = state.head.split()
        self._walked, self._events, self._red = float(walked), int(events), int(*red)
        self._parts = dict(state.parts)
        if self._parts and list(self._parts.values())[-1] != f"walked {self._walked!r}".encode():
            raise ValueError("its parts are not those of its head")

    def surface(self) -> Surface | None:
        return None

    def _misbehave(self, chunk: int) -> None:
        if self._knobs.get("awaits") == str(chunk):
            until_s = time.monotonic() + 10
            while not Path(self._knobs["prepared"]).exists() and time.monotonic() < until_s:
                time.sleep(0.01)
        wanted = [what for what in ("crash", "hang", "raise", "break") if self._knobs.get(what) == str(chunk)]
        once = Path(self._knobs["once"]) if "once" in self._knobs else None
        is_elsewhere = self._knobs.get("rank", str(self._place.rank)) != str(self._place.rank)
        if is_elsewhere and self._knobs.get("others") == "hang" and wanted:
            wanted, is_elsewhere = ["hang"], False
        if not wanted or is_elsewhere or (once and once.exists()):
            return
        if once:
            once.touch()
        if wanted == ["crash"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if wanted == ["raise"]:
            raise RuntimeError("as asked, in /secret/place")
        if wanted == ["break"]:
            raise BrokenChunkError("not a number, in /secret/place")
        time.sleep(3600)


def picture(spec: WorldSpec, frame: int, walked: float, events: int) -> np.ndarray:
    """[H, W, 3]: the frame's number in red and green, how far it walked in blue, the seed and events over the pixels.

    What a world began with adds its first pixel's red.
    """
    began = spec.image if spec.image is not None else spec.clip.frames[-1] if spec.clip else None
    image = np.empty((spec.height, spec.width, 3), np.uint8)
    ramp = np.arange(spec.width) + spec.seed % 256 + 31 * events + (0 if began is None else int(began[0, 0, 0]))
    image[..., 0] = (frame + ramp) % 256
    image[..., 1] = frame // 256 % 256
    image[..., 2] = np.floor(walked * 16) % 256
    return image
