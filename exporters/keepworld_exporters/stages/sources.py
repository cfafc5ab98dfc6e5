"""Where depth comes from: the session itself, a sweep through its pictures, or files that something else predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from keepworld.capture import CapturedFrame
from keepworld.errors import ExportError
from keepworld.frames import Label
from numpy.typing import NDArray

Own = Literal["session", "sweep"]  # depth that needs no file: as it came with the frames, or found from their pictures
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


class FoundDepth:
    """Depth that was worked out beforehand, by frame number."""

    def __init__(self, maps: Mapping[int, DepthMap]) -> None:
        self._maps = maps

    def of(self, frame: CapturedFrame) -> DepthMap:
        """Look it up."""
        if frame.number not in self._maps:
            raise ExportError(f"no depth was found for frame {frame.number} of {frame.folder}")
        return self._maps[frame.number]


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
