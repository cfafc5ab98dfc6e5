"""Walks known beforehand, cut into portions that a server takes in one message each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from keepworld import paths, wire
from keepworld.capabilities import Limits
from keepworld.motion import Segment
from keepworld.v1 import world_service_pb2

_MAX_PORTION_FRAMES = 10_000  # a camera is about 70 bytes on the wire, a message at most 4 MB


class Portion(Protocol):
    """A part of a plan."""

    @property
    def frames(self) -> int:
        """How many frames it is."""

    @property
    def opening_frames(self) -> int:
        """How many frames a world shows before it, where it opens the world."""

    def request(self, request_id: str) -> world_service_pb2.StreamSessionRequest:
        """The message that asks for it."""

    def after(self, frames: int) -> Portion:
        """What is left of it when so many frames have been walked."""


@dataclass(frozen=True, slots=True)
class ScriptPortion:
    """Steps of a script."""

    segments: tuple[Segment, ...]
    opening_frames: int = 1

    @property
    def frames(self) -> int:
        """How many frames it is."""
        return sum(segment.frames for segment in self.segments)

    def request(self, request_id: str) -> world_service_pb2.StreamSessionRequest:
        """The message that asks for it."""
        return wire.script(request_id, self.segments)

    def after(self, frames: int) -> ScriptPortion:
        """What is left of it when so many frames have been walked."""
        left: list[Segment] = []
        for segment in self.segments:
            skipped = min(frames, segment.frames)
            frames -= skipped
            if skipped < segment.frames:
                left.append(replace(segment, frames=segment.frames - skipped))
        return ScriptPortion(tuple(left))


@dataclass(frozen=True, slots=True, eq=False)
class PathPortion:
    """Cameras of a path, [N, 4, 4] camera to world."""

    c2ws: NDArray[np.float64]
    opening_frames: int = 0

    @property
    def frames(self) -> int:
        """How many frames it is."""
        return len(self.c2ws)

    def request(self, request_id: str) -> world_service_pb2.StreamSessionRequest:
        """The message that asks for it."""
        return wire.camera_path(request_id, self.c2ws)

    def after(self, frames: int) -> PathPortion:
        """What is left of it when so many frames have been walked."""
        return PathPortion(self.c2ws[frames:])


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
    return [ScriptPortion(tuple(pieces)) for pieces in portions]


def path(c2ws: NDArray[np.float64], limits: Limits) -> list[Portion]:
    """Cut a path [N, 4, 4] into portions.

    Raises:
        ValueError: it is not a path of rigid motions.
    """
    checked = paths.check(c2ws)
    most = min(_portion_frames(limits), limits.max_steps)
    return [PathPortion(checked[start : start + most]) for start in range(0, len(checked), most)]


def _portion_frames(limits: Limits) -> int:
    """At least two portions fit the server's queue, so that the next is there before the one before runs out."""
    return max(1, min(_MAX_PORTION_FRAMES, limits.max_queued_frames // 2))


def _pieces(segments: Iterable[Segment], most: int) -> Iterator[Segment]:
    for segment in segments:
        for start in range(0, segment.frames, most):
            yield replace(segment, frames=min(most, segment.frames - start))
