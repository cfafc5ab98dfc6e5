"""A recorded walk walked again, without drawing it: where it ended, and what had happened by then.

A capture has the cameras that were drawn, which are rounded; walking on from one of those would in time lead to other roundings.
So every step is taken again, and a camera is taken from the recording only where no step leads to it: there a path put it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.scene import Scene
from keepworld_runtime.families.diorama.spec import Conditions
from keepworld_runtime.families.diorama.timeline import Timeline
from keepworld_runtime.families.diorama.walk import advanced, settled
from keepworld_runtime.families.family import Capabilities, Recording

Floats = NDArray[np.float64]

_DECIMALS = 9  # of a drawn camera, in metres too: more than rounding adds up to on a loop
_SAME = 1e-8  # a camera that went through a quaternion on its way is the same to less


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reached:
    """Where a walk is.

    Attributes:
        c2w: [4, 4] camera of its last frame.
        timeline: what has happened.
        frames: how many it has.
    """

    c2w: Floats
    timeline: Timeline
    frames: int


def start_of(scene: Scene, mode: str) -> Floats:
    """The camera [4, 4] of a world's first frame."""
    return settled(scene.start, scene) if mode == "walk" else scene.start


def snapped(c2w: Floats) -> Floats:
    """The camera [4, 4] that is drawn: rounded, so that whoever walks a loop comes back to the very same view."""
    return np.round(c2w, _DECIMALS) + 0.0  # no negative zeros


def walked_again(recording: Recording, scene: Scene, opening: Conditions, told: Capabilities) -> Reached:
    """Walk a recording again in its scene.

    Raises:
        ValueError: an event or an axis is not known, or events are out of order.
    """
    c2w, timeline = start_of(scene, recording.mode).copy(), Timeline(opening)
    events = list(recording.events)
    for number, (control, seen) in enumerate(zip(recording.controls, recording.c2ws, strict=True)):
        while events and told.first_frame_of(events[0][0]) <= number:
            timeline = timeline.with_event(events.pop(0)[1], number / told.fps, c2w)
        if number:
            c2w = advanced(c2w, control, scene, recording.mode, 1.0 / told.fps)
        if np.abs(snapped(c2w) - seen).max() > _SAME:
            c2w = seen.copy()
    return Reached(c2w=c2w, timeline=timeline, frames=len(recording.controls))
