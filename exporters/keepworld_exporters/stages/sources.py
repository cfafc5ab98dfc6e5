"""Where depth comes from: the session itself, a sweep through its pictures, or files that something else predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, get_args

import numpy as np
from keepworld.capture import CapturedFrame
from keepworld.errors import ExportError
from keepworld.frames import Label
from numpy.typing import NDArray

S = TypeVar("S", bound=np.generic)
Own = Literal[
    "session", "sweep", "hybrid"
]  # depth that needs no file: as it came, found from the pictures, or that and trained splats where nothing was found
OWN: tuple[Own, ...] = get_args(Own)
FREE = np.float32(np.inf)  # depth of the sky: nothing stands in the way


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DepthMap:
    """What is known of a frame's depth.

    Attributes:
        depth: [H, W] float32 along +z, the capture's units; 0 where nothing is known, inf for sky.
        confidence: [H, W] float32 in [0, 1], or None where all of it is as sure as can be.
        moving: [H, W] bool, what is not of the lasting world as far as the source can tell, or None if it cannot.
    """

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32] | None
    moving: NDArray[np.bool_] | None = None


class DepthSource(Protocol):
    """Anything that knows the depth of a frame."""

    def of(self, frame: CapturedFrame) -> DepthMap:
        """Give a frame's depth, sky and moving things still in it as the source has them.

        Raises:
            ExportError: this source has none for this frame.
        """
        ...


class SessionDepth:
    """The depth that came with the frames."""

    def of(self, frame: CapturedFrame) -> DepthMap:
        """Read what the session gave."""
        depth = frame.depth()
        if depth is None:
            raise ExportError(
                f"frame {frame.number} of {frame.folder} has no depth, and this export needs it; "
                "capture a family that gives depth (`keepworld models` lists them), with depth asked for"
            )
        confidence = frame.confidence()
        return DepthMap(
            depth=np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0)),
            confidence=None if confidence is None else confidence.astype(np.float32) / np.float32(255),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FoundDepth:
    """Depth that was worked out beforehand, of frames of one size.

    Attributes:
        numbers: [N] int64 of the frames.
        depth: [N, H, W] float32, as `DepthMap` has it.
        confidence: [N, H, W] float32, likewise, or None.
        moving: [N, H, W] bool, likewise, or None.
    """

    numbers: NDArray[np.int64]
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32] | None = None
    moving: NDArray[np.bool_] | None = None

    @classmethod
    def of_maps(cls, maps: Mapping[int, DepthMap]) -> FoundDepth:
        """Gather maps, by frame number, all of which say how sure they are and what moves, or none."""
        every = list(maps.values())
        return cls(
            numbers=np.array(list(maps), np.int64),
            depth=np.stack([found.depth for found in every]),
            confidence=_stacked([found.confidence for found in every]),
            moving=_stacked([found.moving for found in every]),
        )

    def of(self, frame: CapturedFrame) -> DepthMap:
        """Look it up."""
        at = np.flatnonzero(self.numbers == frame.number)
        if not at.size:
            raise ExportError(f"no depth was found for frame {frame.number} of {frame.folder}")
        k = int(at[0])
        confidence = None if self.confidence is None else self.confidence[k]
        return DepthMap(
            depth=self.depth[k], confidence=confidence, moving=None if self.moving is None else self.moving[k]
        )


def _stacked(parts: Sequence[NDArray[S] | None]) -> NDArray[S] | None:
    there = [part for part in parts if part is not None]
    return np.stack(there) if there else None


def moving_in(frame: CapturedFrame, known: DepthMap) -> NDArray[np.bool_]:
    """Where a frame shows what does not last, [H, W]: by its labels, or by what its depth's source found."""
    labels = frame.labels()
    if labels is not None:
        return np.asarray((labels & Label.MOVING) != 0)
    return np.zeros(known.depth.shape, np.bool_) if known.moving is None else known.moving


def lasting_depth(frame: CapturedFrame, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depth [H, W] of the lasting world: 0 where unknown or moving, inf where the sky is, as the frame's labels say."""
    labels = frame.labels()
    if labels is None:
        return depth
    depth = depth.copy()
    depth[(labels & Label.SKY) != 0] = FREE
    depth[(labels & Label.MOVING) != 0] = 0
    return depth
