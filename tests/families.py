"""A family for tests, `gradient`: every pixel is a closed form of seed, frame number and controls, and it misbehaves on request.

Its prompt is a list of knobs: ``slow=0.2`` takes that many seconds a frame, ``crash=2`` kills the process while drawing
chunk 2, ``hang=2`` never ends it, ``raise=2`` raises in it, ``at=5`` says at which frame of the chunk (0), and
``once=/some/file`` makes it happen only once: the file is written before.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from keepworld.camera import PoseSource, Units, intrinsics
from keepworld.motion import Rates
from keepworld_runtime.families.family import (
    Capabilities,
    ChunkRequest,
    FrameData,
    Reading,
    Surface,
    WorldSpec,
)

WIDTH, HEIGHT = 64, 48
EVENTS = ("rain", "snow")


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
        vocabulary={"knob": ("slow", "crash")},
        events={"weather": EVENTS},
    )

    def read_prompt(self, text: str) -> Reading:
        words = text.split()
        used = tuple(word for word in words if "=" in word)
        return Reading(used=used, ignored=tuple(word for word in words if "=" not in word))

    def read_event(self, text: str) -> Reading:
        if text not in EVENTS:
            raise ValueError(f"no such event; there are {', '.join(EVENTS)}")
        return Reading(used=(f"weather: {text}",), ignored=())

    def load(self, *, num_threads: int) -> GradientModel:
        return GradientModel()


class GradientModel:
    def open(self, spec: WorldSpec) -> GradientWorld:
        return GradientWorld(spec)


class GradientWorld:
    def __init__(self, spec: WorldSpec) -> None:
        self._spec = spec
        self._knobs = dict(word.split("=", 1) for word in spec.prompt.split() if "=" in word)
        self._walked = 0.0  # forward deflection, summed over frames: what state has to carry
        self._events = 0

    def next_chunk(self, request: ChunkRequest) -> Iterator[FrameData]:
        first = GradientFamily.capabilities.first_frame_of(request.chunk)
        walked, events = self._walked, self._events + len(request.events)
        for index, (control, pose) in enumerate(zip(request.controls, request.poses, strict=True)):
            if index == int(self._knobs.get("at", 0)):
                self._misbehave(request.chunk)
            time.sleep(float(self._knobs.get("slow", 0)))
            walked += control.move[2]
            c2w = np.eye(4) if pose is None else pose.copy()
            if pose is None:
                c2w[2, 3] = walked
            yield FrameData(
                index=index,
                c2w=c2w,
                K=intrinsics(self._spec.width, self._spec.height, GradientFamily.capabilities.fov_x),
                image=picture(self._spec, first + index, float(c2w[2, 3]), events),
                depth=np.full((self._spec.height, self._spec.width), first + index, np.float32),
                labels=np.full((self._spec.height, self._spec.width), index % 4, np.uint8),
                confidence=None,
            )
        self._walked, self._events = walked, events

    def state(self) -> bytes:
        return f"{self._walked!r} {self._events}".encode()

    def restore(self, state: bytes) -> None:
        walked, events = state.split()
        self._walked, self._events = float(walked), int(events)

    def surface(self) -> Surface | None:
        return None

    def _misbehave(self, chunk: int) -> None:
        wanted = [what for what in ("crash", "hang", "raise") if self._knobs.get(what) == str(chunk)]
        once = Path(self._knobs["once"]) if "once" in self._knobs else None
        if not wanted or (once and once.exists()):
            return
        if once:
            once.touch()
        if wanted == ["crash"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if wanted == ["raise"]:
            raise RuntimeError("as asked, in /secret/place")
        time.sleep(3600)


def picture(spec: WorldSpec, frame: int, walked: float, events: int) -> np.ndarray:
    """[H, W, 3]: the frame's number in red and green, how far it walked in blue, the seed and events over the pixels."""
    image = np.empty((spec.height, spec.width, 3), np.uint8)
    ramp = np.arange(spec.width) + spec.seed + 31 * events
    image[..., 0] = (frame + ramp) % 256
    image[..., 1] = frame // 256 % 256
    image[..., 2] = np.floor(walked * 16) % 256
    return image


FAMILY = GradientFamily()
