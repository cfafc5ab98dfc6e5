"""Walks known beforehand, cut into portions that a server takes in one message each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from keepworld import paths, wire
from keepworld.capabilities import Limits
from keepworld.motion import Segment
from keepworld.v1 import world_service_pb2

_MAX_PORTION_FRAMES = 10_000  # a camera is about 70 bytes on the wire, a message at most 4 MB


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of a plan: how many frames it is, and the message that asks for it, given a request id."""

    frames: int
    request: Callable[[str], world_service_pb2.StreamSessionRequest]


def script(segments: Sequence[Segment], limits: Limits) -> list[Portion]:
    """Cut a scripted walk into portions."""
    most = _portion_frames(limits)
    portions: list[list[Segment]] = [[]]
    room = most
    for piece in _pieces(segments, most):
        if piece.frames > room or len(portions[-1]) >= limits.max_steps:
            portions.append([])
            room = most
        portions[-1].append(piece)
        room -= piece.frames
    return [
        Portion(sum(piece.frames for piece in pieces), partial(wire.script, segments=pieces)) for pieces in portions
    ]


def path(c2ws: NDArray[np.float64], limits: Limits) -> list[Portion]:
    """Cut a path [N, 4, 4] into portions.

    Raises:
        ValueError: it is not a path of rigid motions.
    """
    checked = paths.check(c2ws)
    most = min(_portion_frames(limits), limits.max_steps)
    parts = [checked[start : start + most] for start in range(0, len(checked), most)]
    return [Portion(len(part), partial(wire.camera_path, c2ws=part)) for part in parts]


def _portion_frames(limits: Limits) -> int:
    """At least two portions fit the server's queue, so that the next is there before the one before runs out."""
    return max(1, min(_MAX_PORTION_FRAMES, limits.max_queued_frames // 2))


def _pieces(segments: Iterable[Segment], most: int) -> Iterator[Segment]:
    for segment in segments:
        for start in range(0, segment.frames, most):
            yield replace(segment, frames=min(most, segment.frames - start))
